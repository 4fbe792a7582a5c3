"""Schemas of pod templates and services inside other kinds: what decides is described, all else is kept as it is."""

from __future__ import annotations

from typing import Any

from rayctl.manifests.schema import (
    any_object,
    array,
    int_or_text,
    integer,
    list_map,
    mapping,
    object_of,
    quantity,
    text,
)

__all__ = ["env", "env_source", "network_rules", "pod_template", "resources", "service"]

Schema = dict[str, Any]


def env_source() -> Schema:
    """Where a value comes from: a Secret, a ConfigMap, a field."""
    return any_object()


def env() -> Schema:
    """A container's variables."""
    return list_map(
        object_of({"name": text(), "value": text(), "valueFrom": env_source()}, required=("name",)),
        "name",
    )


def resources() -> Schema:
    """What a container asks for and may use."""
    return any_object(properties={"limits": mapping(quantity()), "requests": mapping(quantity())})


def _container() -> Schema:
    port = any_object(
        properties={
            "containerPort": integer(),
            "name": text(),
            "protocol": text(default="TCP"),
        },
        required=("containerPort",),
    )
    mount = any_object(properties={"name": text(), "mountPath": text()}, required=("name", "mountPath"))
    return any_object(
        properties={
            "name": text(),
            "image": text(),
            "command": array(text()),
            "args": array(text()),
            "env": env(),
            "ports": list_map(port, "containerPort", "protocol"),
            "resources": resources(),
            "volumeMounts": list_map(mount, "mountPath"),
        },
        required=("name",),
    )


def pod_template(about: str) -> Schema:
    """A template of pods."""
    metadata = any_object(properties={"labels": mapping(text()), "annotations": mapping(text())})
    spec = any_object(
        properties={
            "containers": list_map(_container(), "name"),
            "initContainers": list_map(_container(), "name"),
            "volumes": list_map(any_object(properties={"name": text()}, required=("name",)), "name"),
            "restartPolicy": text(),
            "serviceAccountName": text(),
        },
        required=("containers",),
    )
    return any_object(about, {"metadata": metadata, "spec": spec})


def service(about: str) -> Schema:
    """A Service of the user's own making."""
    port = any_object(
        properties={
            "name": text(),
            "port": integer(),
            "protocol": text(default="TCP"),
            "targetPort": int_or_text(),
            "nodePort": integer(),
        },
        required=("port",),
    )
    metadata = any_object(properties={"labels": mapping(text()), "annotations": mapping(text())})
    spec = any_object(properties={"ports": list_map(port, "port", "protocol"), "type": text()})
    return any_object(about, {"metadata": metadata, "spec": spec, "status": any_object()})


def network_rules() -> Schema:
    """Allowed traffic, in the form of a NetworkPolicy."""
    return {"ingressRules": array(any_object()), "egressRules": array(any_object())}
