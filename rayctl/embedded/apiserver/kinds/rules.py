"""The rules of the built-in kinds, by kind."""

from __future__ import annotations

from rayctl.embedded.apiserver.kinds.catalogue import BuiltIn
from rayctl.embedded.apiserver.kinds.definitions import DefinitionRules
from rayctl.embedded.apiserver.kinds.pods import PodRules
from rayctl.embedded.apiserver.kinds.records import (
    BindingRules,
    BudgetRules,
    ClaimRules,
    ConfigMapRules,
    EventRules,
    LeaseRules,
    NamespaceRules,
    QuotaRules,
    Record,
    RoleRules,
    SecretRules,
)
from rayctl.embedded.apiserver.kinds.services import ServiceRules, SliceRules
from rayctl.embedded.apiserver.resources import Rules, field_reader
from rayctl.embedded.apiserver.selectors import Reader

__all__ = ["rules_for", "selectable_of"]

_RULES: dict[str, type[Rules]] = {
    "ConfigMap": ConfigMapRules,
    "Secret": SecretRules,
    "Namespace": NamespaceRules,
    "Pod": PodRules,
    "Service": ServiceRules,
    "EndpointSlice": SliceRules,
    "Lease": LeaseRules,
    "ResourceQuota": QuotaRules,
    "PersistentVolumeClaim": ClaimRules,
    "PodDisruptionBudget": BudgetRules,
    "Role": RoleRules,
    "ClusterRole": RoleRules,
    "RoleBinding": BindingRules,
    "ClusterRoleBinding": BindingRules,
    "CustomResourceDefinition": DefinitionRules,
}


def rules_for(kind: BuiltIn) -> Rules:
    """Return the rules of a built-in kind."""
    if kind.kind == "Event":
        return EventRules(kind.group)
    found = _RULES.get(kind.kind, Record)()
    if kind.kind in ("ServiceAccount",):
        found.returns_deleted = True
    return found


_SELECTABLE: dict[str, tuple[str, ...]] = {
    "Pod": (
        *("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork"),
        *("status.phase", "status.podIP", "status.nominatedNodeName"),
    ),
    "Secret": ("type",),
    "Namespace": ("status.phase",),
    "Node": ("spec.unschedulable",),
    "Service": ("spec.clusterIP", "spec.type"),
    "ReplicaSet": ("status.replicas",),
    "Job": ("status.successful",),
}
_OF_EVENTS = {
    "": {
        **{f"involvedObject.{name}": ("involvedObject", name) for name in ("kind", "namespace", "name", "uid")},
        **{
            f"involvedObject.{name}": ("involvedObject", name)
            for name in ("apiVersion", "resourceVersion", "fieldPath")
        },
        **{"reason": ("reason",), "type": ("type",), "reportingComponent": ("reportingComponent",)},
        **{"source": ("source", "component")},
    },
    "events.k8s.io": {
        **{f"regarding.{name}": ("regarding", name) for name in ("kind", "namespace", "name", "uid")},
        **{f"regarding.{name}": ("regarding", name) for name in ("apiVersion", "resourceVersion", "fieldPath")},
        **{"reason": ("reason",), "type": ("type",), "reportingController": ("reportingController",)},
    },
}


def selectable_of(kind: BuiltIn) -> dict[str, Reader]:
    """Return the fields of a built-in kind that selectors may name."""
    if kind.kind == "Event":
        # Events are stored in the form of the core group, whichever group they are asked for in.
        return {name: _event_reader(path) for name, path in _OF_EVENTS[kind.group].items()}
    return {path: field_reader(*path.split(".")) for path in _SELECTABLE.get(kind.kind, ())}


_CORE_NAMES = {"regarding": "involvedObject", "reportingController": "reportingComponent"}


def _event_reader(path: tuple[str, ...]) -> Reader:
    return field_reader(_CORE_NAMES.get(path[0], path[0]), *path[1:])
