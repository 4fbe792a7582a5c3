"""The kind RayCluster, field for field as KubeRay's API has it."""

from __future__ import annotations

from typing import Any

from rayctl.manifests.pods import env, env_source, network_rules, pod_template, resources, service
from rayctl.manifests.schema import (
    any_object,
    array,
    boolean,
    choice,
    column,
    conditions,
    definition,
    integer,
    list_map,
    mapping,
    moment,
    object_of,
    quantity,
    rule,
    text,
)

__all__ = ["managed_by", "ray_cluster", "spec", "status"]

Schema = dict[str, Any]
MAX_REPLICAS = 2147483647


def managed_by() -> Schema:
    """Which controller looks after an object."""
    operators = "['ray.io/kuberay-operator', 'kueue.x-k8s.io/multikueue']"
    return text(
        "Which controller looks after this object. With any value but ray.io/kuberay-operator it is left alone.",
        **{
            "x-kubernetes-validations": [
                rule("self == oldSelf", "the managedBy field is immutable"),
                rule(
                    f"self in {operators}",
                    "the managedBy field value must be either 'ray.io/kuberay-operator' or 'kueue.x-k8s.io/multikueue'",
                ),
            ]
        },
    )


def _autoscaler() -> Schema:
    return object_of(
        {
            "version": choice("v1", "v2", about="Which autoscaler; unset: what this Ray uses by itself."),
            "idleTimeoutSeconds": integer("Seconds without work after which a worker goes."),
            "upscalingMode": choice("Default", "Aggressive", "Conservative"),
            "image": text(),
            "imagePullPolicy": text(),
            "resources": resources(),
            "securityContext": any_object(),
            "env": env(),
            "envFrom": array(any_object()),
            "volumeMounts": array(any_object()),
            "command": array(text()),
            "args": array(text()),
        },
        about="The autoscaler's container beside the head.",
    )


def _credential(what: str) -> Schema:
    return object_of({"value": text(), "valueFrom": env_source()}, about=f"{what}, by value or from a Secret.")


def _fault_tolerance() -> Schema:
    same = {"x-kubernetes-validations": [rule("self == oldSelf", "gcsFaultToleranceOptions.backend is immutable")]}
    storage = object_of(
        {
            "claimName": text("A PersistentVolumeClaim of your own, instead of one that is made."),
            "size": quantity("Size of the claim that is made; 1Gi if unset."),
            "storageClassName": text(),
            "accessModes": array(text()),
            "subPath": text(),
            "deletionPolicy": choice("DeleteWithCluster", "Retain"),
        },
        about="The volume of the embedded store (backend rocksdb).",
    )
    return object_of(
        {
            "backend": choice("redis", "rocksdb", about="Where the state is kept; redis if unset.", **same),
            "redisAddress": text("host:port, redis://host:port, or rediss://host:port for TLS."),
            "redisUsername": _credential("The user's name"),
            "redisPassword": _credential("The password"),
            "externalStorageNamespace": text("Prefix of this cluster's keys; the cluster's uid if unset."),
            "storage": storage,
        },
        about="Keeps the state of the head's GCS, so that the cluster outlives its head. Being there switches it on.",
    )


def _head() -> Schema:
    tls = object_of({"hosts": array(text(), **{"x-kubernetes-list-type": "atomic"}), "secretName": text()})
    ingress = object_of(
        {
            "host": text(),
            "path": text(),
            "pathType": choice("Exact", "Prefix", "ImplementationSpecific"),
            "tls": array(tls),
        }
    )
    return object_of(
        {
            "template": pod_template("The head's pod."),
            "rayStartParams": mapping(text(), "Parameters of ray start."),
            "serviceType": text("Type of the head's service."),
            "headService": service("The head's service, as a base."),
            "enableIngress": boolean("Whether the dashboard gets an Ingress."),
            "ingressOptions": ingress,
            "resources": mapping(text(), "Ray resources of the head."),
            "labels": mapping(text(), "Ray labels of the head."),
        },
        required=("template",),
        about="The head.",
    )


def _group() -> Schema:
    return object_of(
        {
            "groupName": text(),
            "replicas": integer("Wanted replicas; each has numOfHosts pods.", default=0),
            "minReplicas": integer(default=0),
            "maxReplicas": integer(default=MAX_REPLICAS),
            "numOfHosts": integer("Pods of one replica.", default=1),
            "idleTimeoutSeconds": integer("Seconds without work after which a worker goes (autoscaler v2)."),
            "priority": integer("Which group the autoscaler prefers (v2).", default=0),
            "suspend": boolean("Whether this group has no pods for now."),
            "resources": mapping(text(), "Ray resources of each worker."),
            "labels": mapping(text(), "Ray labels of each worker."),
            "rayStartParams": mapping(text(), "Parameters of ray start."),
            "template": pod_template("The pods of this group."),
            "scaleStrategy": object_of({"workersToDelete": array(text(), "Names of pods that are to go.")}),
        },
        required=("groupName", "maxReplicas", "minReplicas", "template"),
    )


def _network() -> Schema:
    group = object_of({"groupName": text(), **network_rules()}, required=("groupName",))
    return object_of(
        {
            "mode": choice("DenyAll", "DenyAllIngress", "DenyAllEgress", default="DenyAll"),
            "head": object_of(network_rules()),
            "worker": object_of(network_rules()),
            "workerGroups": list_map(group, "groupName"),
        }
    )


def spec() -> Schema:
    """What a Ray cluster is to be."""
    collector = object_of({"image": text(), "imagePullPolicy": text(), "resources": resources(), "env": env()})
    auth = {
        "mode": choice("disabled", "token", about="Whether callers must show the cluster's token."),
        "enableK8sTokenAuth": boolean("Whether tokens of service accounts count (Ray 2.55 or newer)."),
        "secretName": text("A Secret of your own with the key auth_token."),
    }
    return object_of(
        {
            "rayVersion": text("The version of Ray in the images."),
            "suspend": boolean("Whether the cluster has no pods for now."),
            "managedBy": managed_by(),
            "upgradeStrategy": object_of(
                {"type": choice("Recreate", "None", about="What a changed template does to running pods.")}
            ),
            "authOptions": object_of(auth),
            "enableInTreeAutoscaling": boolean("Whether Ray's autoscaler sets the replicas."),
            "autoscalerOptions": _autoscaler(),
            "gcsFaultToleranceOptions": _fault_tolerance(),
            "headServiceAnnotations": mapping(text()),
            "headGroupSpec": _head(),
            "workerGroupSpecs": array(_group()),
            "networkPolicy": _network(),
            "tlsOptions": object_of({"enabled": boolean()}),
            "historyServerOptions": object_of({"collectorOptions": collector}),
        },
        required=("headGroupSpec",),
    )


def status() -> Schema:
    """What a Ray cluster was seen to be."""
    counts = ("desired", "min", "max", "available", "ready")
    amounts = ("CPU", "Memory", "GPU", "TPU")
    head = {name: text() for name in ("podIP", "podName", "serviceIP", "serviceName")}
    return object_of(
        {
            "state": text("ready, suspended, or nothing."),
            "reason": text(),
            **{f"{name}WorkerReplicas": integer() for name in counts},
            **{f"desired{name}": quantity() for name in amounts},
            "endpoints": mapping(text()),
            "head": object_of(head),
            "conditions": conditions(),
            "lastUpdateTime": moment(nullable=True),
            "stateTransitionTimes": mapping(moment()),
            "observedGeneration": integer(bits=64),
        }
    )


def ray_cluster() -> Schema:
    """Return the definition."""
    return definition(
        "ray.io",
        "v1",
        "RayCluster",
        "rayclusters",
        spec(),
        status(),
        [
            column("desired workers", "integer", ".status.desiredWorkerReplicas"),
            column("available workers", "integer", ".status.availableWorkerReplicas"),
            column("cpus", "string", ".status.desiredCPU"),
            column("memory", "string", ".status.desiredMemory"),
            column("gpus", "string", ".status.desiredGPU"),
            column("tpus", "string", ".status.desiredTPU", 1),
            column("status", "string", ".status.state"),
            column("age", "date", ".metadata.creationTimestamp"),
            column("head pod IP", "string", ".status.head.podIP", 1),
            column("head service IP", "string", ".status.head.serviceIP", 1),
        ],
    )
