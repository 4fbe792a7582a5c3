"""What each controller may do on the API server, and nothing else: the rules of their roles. One table.

Every line is used: lists and watches are those of the controller's `watches`, writes those of its plans. Secrets are
made, and read one at a time by name, never listed; the names are those of users' clusters, so no rule can name them.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "CONTROLLERS",
    "EVENT_RULE",
    "INSTALLATION",
    "STATUS",
    "TOKEN",
    "TURN",
    "UPGRADE",
    "gateway_rules",
    "lease_rules",
    "rules_of",
    "standby_rules",
    "state_rules",
    "token_rules",
    "user_roles",
]

INSTALLATION, UPGRADE, TURN, STATUS = "rayctl-installation", "rayctl-upgrade", "rayctl-turn", "rayctl-status"
"""ConfigMaps: what was chosen, the record of moves, who has the state, what the standby sees."""
TOKEN = "rayctl-token"  # noqa: S105
"""The Secret with the HTTP API's first token."""

Rule = dict[str, Any]

_READ = ("get", "list", "watch")
_SEEN = ("list", "watch")


def _rule(group: str, resources: tuple[str, ...], verbs: tuple[str, ...], names: tuple[str, ...] = ()) -> Rule:
    found: Rule = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
    return {**found, "resourceNames": list(names)} if names else found


EVENT_RULE = _rule("events.k8s.io", ("events",), ("create", "patch"))
_AIBRIX, _RAY, _RBAC = "orchestration.aibrix.ai", "ray.io", "rbac.authorization.k8s.io"

CONTROLLERS: dict[str, tuple[Rule, ...]] = {
    "fleet-controller": (
        _rule(_AIBRIX, ("rayclusterfleets",), (*_READ, "patch")),
        _rule(_AIBRIX, ("rayclusterfleets/status",), ("update",)),
        _rule(_AIBRIX, ("rayclusterfleets/finalizers",), ("update",)),
        _rule(_AIBRIX, ("rayclusterreplicasets",), (*_SEEN, "create", "patch", "delete")),
        _rule(_RAY, ("rayclusters",), ("list",)),
        _rule("", ("pods",), ("list",)),
        _rule("", ("services",), ("get", "patch")),
        _rule("", ("secrets",), ("get",)),
    ),
    "replicaset-controller": (
        _rule(_AIBRIX, ("rayclusterreplicasets",), _READ),
        _rule(_AIBRIX, ("rayclusterreplicasets/status",), ("update",)),
        _rule(_AIBRIX, ("rayclusterreplicasets/finalizers",), ("update",)),
        _rule(_RAY, ("rayclusters",), (*_SEEN, "create", "patch", "delete")),
        # What runs on a cluster that drains: its dashboard wants its token, its pods have the metrics.
        _rule("", ("secrets",), ("get",)),
        _rule("", ("pods",), ("list",)),
    ),
    "raycluster-controller": (
        _rule(_RAY, ("rayclusters",), (*_SEEN, "get", "patch")),
        _rule(_RAY, ("rayclusters/status",), ("update",)),
        _rule(_RAY, ("rayclusters/finalizers",), ("update",)),
        _rule("", ("pods",), (*_SEEN, "get", "create", "patch", "delete")),
        # For the roles of autoscalers: nobody may give away what he does not have.
        _rule("", ("pods/resize",), ("patch",)),
        _rule("", ("services", "serviceaccounts"), (*_SEEN, "create", "patch")),
        _rule("", ("persistentvolumeclaims",), (*_SEEN, "create", "patch")),
        _rule("", ("secrets",), ("get", "create")),
        _rule(_RBAC, ("roles", "rolebindings"), (*_SEEN, "create", "patch")),
        _rule("networking.k8s.io", ("ingresses", "networkpolicies"), (*_SEEN, "create", "patch", "delete")),
        _rule("apps", ("deployments",), _SEEN),
    ),
    "rayservice-controller": (
        _rule(_RAY, ("rayservices",), (*_SEEN, "patch")),
        _rule(_RAY, ("rayservices/status",), ("update",)),
        _rule(_RAY, ("rayservices/finalizers",), ("update",)),
        _rule(_RAY, ("rayclusters",), (*_SEEN, "create", "patch", "delete")),
        _rule("", ("pods",), (*_SEEN, "patch")),
        _rule("", ("services", "configmaps"), (*_SEEN, "create", "patch", "delete")),
        _rule("", ("secrets",), ("get",)),
        _rule("apps", ("deployments",), _SEEN),
        _rule("gateway.networking.k8s.io", ("gateways",), (*_SEEN, "create", "delete")),
        _rule("gateway.networking.k8s.io", ("httproutes",), (*_SEEN, "create", "patch", "delete")),
    ),
}
"""Controller (as `Controller.name`, its Lease and its ServiceAccount are called) → rules where it works."""


def rules_of(controller: str) -> list[Rule]:
    """Return all rules of a controller, events among them. Raises KeyError."""
    return [*CONTROLLERS[controller], EVENT_RULE]


def lease_rules(controller: str) -> list[Rule]:
    """Return what a controller may do with leases: look after its own, by name. It is made when rayctl is installed."""
    return [_rule("coordination.k8s.io", ("leases",), ("get", "update"), (controller,))]


def token_rules() -> list[Rule]:
    """Return what the control plane's pods may do themselves: ask for the controllers' tokens, which end soon."""
    return [_rule("", ("serviceaccounts/token",), ("create",), tuple(CONTROLLERS))]


def state_rules() -> list[Rule]:
    """Return what the pods with the service's state do beside that: hand it over, publish the first token."""
    return [
        _rule("", ("configmaps",), ("get", "update"), (TURN,)),
        _rule("", ("secrets",), ("get", "update"), (TOKEN,)),
    ]


def standby_rules() -> list[Rule]:
    """Return what the standby does in rayctl's own namespace: make the cluster that rayctl runs on, and move rayctl."""
    return [
        _rule("", ("configmaps",), ("get",), (INSTALLATION,)),
        _rule("", ("configmaps",), ("get", "update"), (UPGRADE, TURN, STATUS)),
        _rule("", ("services",), ("get", "patch", "create")),
        _rule("", ("pods",), ("list",)),
        _rule(_RAY, ("rayclusters",), ("get", "create", "patch", "delete")),
        _rule("coordination.k8s.io", ("leases",), ("list",)),
        _rule("coordination.k8s.io", ("leases",), ("update",), tuple(CONTROLLERS)),
    ]


def gateway_rules() -> list[Rule]:
    """Return what the HTTP API does on the server, for all its callers: whom it lets do what, it decides itself."""
    write = ("get", "list", "watch", "create", "patch", "delete")
    return [
        _rule(_AIBRIX, ("rayclusterfleets", "rayclusterreplicasets"), write),
        _rule(_RAY, ("rayclusters", "rayservices"), write),
        _rule("", ("pods", "services", "configmaps"), ("list",)),
        _rule("batch", ("jobs",), ("list",)),
        _rule("events.k8s.io", ("events",), _SEEN),
        _rule("coordination.k8s.io", ("leases",), ("list",)),
    ]


def user_roles() -> dict[str, list[Rule]]:
    """Return what Kubernetes' own roles ``view`` and ``edit`` get of rayctl's kinds."""
    kinds = ((_RAY, ("rayclusters", "rayservices")), (_AIBRIX, ("rayclusterfleets", "rayclusterreplicasets")))
    read = [_rule(group, names, _READ) for group, names in kinds]
    write = [_rule(group, names, ("create", "update", "patch", "delete")) for group, names in kinds]
    scales = ("rayclusterfleets/scale", "rayclusterreplicasets/scale")
    return {"view": read, "edit": [*write, _rule(_AIBRIX, scales, ("get", "update", "patch"))]}
