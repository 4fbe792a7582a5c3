"""The kinds RayClusterFleet and RayClusterReplicaSet: AIBrix's fields, and optional ones of our own."""

from __future__ import annotations

from typing import Any

from rayctl.manifests.ray_cluster import spec as cluster_spec
from rayctl.manifests.schema import (
    array,
    boolean,
    choice,
    column,
    conditions,
    definition,
    int_or_text,
    integer,
    mapping,
    moment,
    object_of,
    quantity,
    rule,
    text,
)

__all__ = ["fleet", "replica_set"]

Schema = dict[str, Any]
GROUP, VERSION = "orchestration.aibrix.ai", "v1alpha1"


def _selector(immutable: bool) -> Schema:
    expression = object_of({"key": text(), "operator": text(), "values": array(text())}, required=("key", "operator"))
    found = object_of(
        {"matchLabels": mapping(text()), "matchExpressions": array(expression)},
        about="Which clusters belong to it; must select the labels of the template.",
    )
    if immutable:
        found["x-kubernetes-validations"] = [rule("self == oldSelf", "the selector is immutable")]
    return found


def _template() -> Schema:
    # A later KubeRay may have fields that this definition does not know: they are kept.
    inner = {**cluster_spec(), "x-kubernetes-preserve-unknown-fields": True}
    metadata = object_of(
        {
            "labels": mapping(text()),
            "annotations": mapping(text()),
            "name": text(),
            "namespace": text(),
            "finalizers": array(text()),
        }
    )
    return object_of({"metadata": metadata, "spec": inner}, about="Of each Ray cluster.")


def _replacement() -> Schema:
    return object_of(
        {
            "policy": choice(
                "DeleteFirst", "Surge", "Never", about="Whether the broken cluster goes before the new one comes."
            ),
            "gracePeriodSeconds": integer("How long a cluster that was ready may be broken; 300.", minimum=0),
            "startupSeconds": integer("How long a new cluster may take; 0: as long as it likes.", minimum=0),
            "surge": integer("With Surge: clusters beyond the wanted number; 1.", minimum=0),
            "backoffSeconds": integer("Pause after the first replacement, doubled with each further; 30.", minimum=0),
            "maxReplacements": integer("Replacements in a row, then the broken ones are left; 5.", minimum=0),
        },
        about="What becomes of clusters that were ready and are not any more.",
    )


def _drain() -> Schema:
    return object_of(
        {
            "seconds": integer("How long a cluster that is to go may finish its work; 0: it goes at once.", minimum=0),
            "jobs": boolean("Whether running Ray jobs count; true."),
            "requests": boolean("Whether Serve requests count; true."),
        },
        about="How clusters go.",
    )


def _gate() -> Schema:
    return object_of(
        {
            "type": choice("Ready", "Serve", "Metric", "Manual"),
            "application": text("Serve: only this application."),
            "query": text("Metric: a query with one value."),
            "min": {"type": "number"},
            "max": {"type": "number"},
            "seconds": integer("After so long without passing, it has failed; 0: it waits.", minimum=0),
        },
        required=("type",),
    )


def _rollout() -> Schema:
    step = object_of(
        {
            "setWeight": integer("Percent of the members.", minimum=0, maximum=100),
            "setReplicas": integer("Members.", minimum=0),
            "pause": object_of({"seconds": integer("Unset: until it is promoted.", minimum=0)}),
            "gate": _gate(),
        },
        about="Exactly one of these.",
    )
    blue_green = object_of(
        {
            "activeService": text("A Service that is to select the revision in use."),
            "previewService": text("A Service that is to select the newest revision."),
            "autoPromote": boolean("Whether it takes over by itself; true."),
            "previewReplicas": integer("Size before it takes over; unset: all.", minimum=0),
            "scaleDownDelaySeconds": integer("How long the old revision stays afterwards; 30.", minimum=0),
            "gates": array(_gate()),
        }
    )
    capacity = object_of(
        {
            "limits": mapping(quantity(), "What all clusters together may hold, by resource."),
            "whenFull": choice("Replace", "Wait", about="What a surge without room becomes; Replace."),
        }
    )
    return object_of(
        {
            "strategy": choice("Canary", "BlueGreen", about="In place of spec.strategy."),
            "steps": array(step, "Of a canary."),
            "blueGreen": blue_green,
            "partition": integer("Members that stay with the old revision.", minimum=0),
            "inPlace": boolean("Whether sizes of worker groups and labels are changed on running clusters; true."),
            "capacity": capacity,
            "onFailure": choice("Report", "RollBack", about="What follows a missed deadline or a failed gate."),
        },
        about="rayctl's additions to the rollout.",
    )


def _counts() -> Schema:
    return {
        "replicas": integer(),
        "readyReplicas": integer(),
        "availableReplicas": integer(),
        "terminatingReplicas": integer("Clusters that are being deleted and still there."),
        "observedGeneration": integer(bits=64),
        "conditions": conditions(),
    }


def replica_set() -> Schema:
    """Return the definition of RayClusterReplicaSet."""
    spec = object_of(
        {
            "replicas": integer(default=1),
            "minReadySeconds": integer(),
            "selector": _selector(immutable=False),
            "template": _template(),
            "replacement": _replacement(),
            "drain": _drain(),
        },
    )
    unsettled = object_of({"uid": text(), "name": text(), "phase": text(), "since": moment()})
    replacement = object_of(
        {"count": integer(), "lastTime": moment(), "replacing": array(text()), "generation": integer(bits=64)}
    )
    status = object_of(
        {
            **_counts(),
            "fullyLabeledReplicas": integer(),
            "selector": text(),
            "nextOrdinal": integer("The first ordinal that no cluster has had."),
            "unsettled": array(unsettled, "Clusters whose own status does not say since when they are as they are."),
            "replacement": replacement,
        },
        required=("replicas",),
    )
    return definition(
        GROUP,
        VERSION,
        "RayClusterReplicaSet",
        "rayclusterreplicasets",
        spec,
        status,
        [
            column("wanted", "integer", ".spec.replicas"),
            column("exist", "integer", ".status.replicas"),
            column("ready", "integer", ".status.readyReplicas"),
            column("available", "integer", ".status.availableReplicas"),
            column("reason", "string", '.status.conditions[?(@.type=="Ready")].reason'),
            column("age", "date", ".metadata.creationTimestamp"),
        ],
        scale={
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
        short=["rcrs"],
    )


def fleet() -> Schema:
    """Return the definition of RayClusterFleet."""
    rolling = object_of({"maxSurge": int_or_text(), "maxUnavailable": int_or_text()})
    spec = object_of(
        {
            "replicas": integer(default=1),
            "selector": _selector(immutable=True),
            "template": _template(),
            "strategy": object_of({"type": text(), "rollingUpdate": rolling}),
            "minReadySeconds": integer(),
            "revisionHistoryLimit": integer(default=10),
            "paused": boolean(),
            "progressDeadlineSeconds": integer(
                "Unset: 600, or 300 more than the longest startup probe of the template allows."
            ),
            "rollout": _rollout(),
            "replacement": _replacement(),
            "drain": _drain(),
        },
        required=("selector", "template"),
    )
    aborted = object_of({"revision": text(), "reason": text(), "message": text()})
    rollout = object_of(
        {
            "revision": text("Hash of the revision that is rolled out."),
            "step": integer(),
            "steps": integer(),
            "stepStartedAt": moment(),
            "progressedAt": moment(),
            "stableRevision": text("Hash of the last revision that was complete."),
            "aborted": aborted,
        }
    )
    status = object_of(
        {
            **_counts(),
            "updatedReplicas": integer(),
            "unavailableReplicas": integer(),
            "collisionCount": integer(),
            "scalingTargetSelector": text("Selects one pod of each cluster, for autoscalers."),
            "revision": integer("Number of the newest revision.", bits=64),
            "rollout": rollout,
        }
    )
    return definition(
        GROUP,
        VERSION,
        "RayClusterFleet",
        "rayclusterfleets",
        spec,
        status,
        [
            column("wanted", "integer", ".spec.replicas"),
            column("ready", "integer", ".status.readyReplicas"),
            column("updated", "integer", ".status.updatedReplicas"),
            column("available", "integer", ".status.availableReplicas"),
            column("revision", "integer", ".status.revision"),
            column("reason", "string", '.status.conditions[?(@.type=="Ready")].reason'),
            column("age", "date", ".metadata.creationTimestamp"),
            column("progress", "string", '.status.conditions[?(@.type=="Progressing")].reason', 1),
            column("step", "integer", ".status.rollout.step", 1),
        ],
        scale={
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.scalingTargetSelector",
        },
        short=["rcf"],
    )
