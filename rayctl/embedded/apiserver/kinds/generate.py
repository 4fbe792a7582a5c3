"""Make ``schemas.json`` from the models of the `kubernetes` package. Run by hand when that package is upgraded:

    python -m rayctl.embedded.apiserver.kinds.generate

The package says which fields there are and of what type. How lists merge is not in it; that is written down here.
"""

from __future__ import annotations

import datetime
import json
import types
import typing
from pathlib import Path
from typing import Any

from rayctl.embedded.apiserver.kinds.catalogue import BUILT_IN

__all__ = ["main", "schemas"]

BY_KEY: dict[tuple[str, str], tuple[str, ...]] = {
    ("V1PodSpec", "containers"): ("name",),
    ("V1PodSpec", "ephemeralContainers"): ("name",),
    ("V1PodSpec", "hostAliases"): ("ip",),
    ("V1PodSpec", "imagePullSecrets"): ("name",),
    ("V1PodSpec", "initContainers"): ("name",),
    ("V1PodSpec", "resourceClaims"): ("name",),
    ("V1PodSpec", "schedulingGates"): ("name",),
    ("V1PodSpec", "topologySpreadConstraints"): ("topologyKey", "whenUnsatisfiable"),
    ("V1PodSpec", "volumes"): ("name",),
    ("V1Container", "env"): ("name",),
    ("V1Container", "ports"): ("containerPort", "protocol"),
    ("V1Container", "volumeDevices"): ("devicePath",),
    ("V1Container", "volumeMounts"): ("mountPath",),
    ("V1ResourceRequirements", "claims"): ("name",),
    ("V1PodStatus", "podIPs"): ("ip",),
    ("V1ServiceSpec", "ports"): ("port", "protocol"),
    ("V1ServiceAccount", "secrets"): ("name",),
    ("V1NodeStatus", "addresses"): ("type",),
}
"""(model, field) → the keys of its elements. The first one is also the key of strategic merge patches."""

CONDITIONS = ("type",)
"""Lists named ``conditions`` in a status merge by type."""

ATOMIC = frozenset(
    {
        *("V1LabelSelector", "V1ObjectReference", "V1LocalObjectReference", "V1SecretKeySelector", "V1NodeSelector"),
        *("V1ConfigMapKeySelector", "V1ObjectFieldSelector", "V1ResourceFieldSelector", "V1RoleRef", "V1Subject"),
        *(
            "V1TypedLocalObjectReference",
            "V1SecretReference",
            "V1NodeSelectorTerm",
            "V1ScopedResourceSelectorRequirement",
        ),
        *("V1FileKeySelector", "V1ServiceBackendPort", "V1ScopeSelector"),
    }
)
"""Models whose values change as a whole."""

ATOMIC_MAPS = frozenset({("V1PodSpec", "nodeSelector"), ("V1ServiceSpec", "selector")})
QUANTITIES = frozenset(
    {
        *("limits", "requests", "capacity", "allocatable", "hard", "used", "sizeLimit", "divisor", "overhead"),
        *("allocatedResources", "default", "defaultRequest", "max", "min", "maxLimitRequestRatio"),
    }
)
PROTOCOLS = frozenset({("V1ContainerPort", "protocol"), ("V1ServicePort", "protocol")})
"""A key of its list that has a default."""
MICRO = frozenset(
    {
        *(("V1LeaseSpec", "acquireTime"), ("V1LeaseSpec", "renewTime")),
        *(("EventsV1Event", "eventTime"), ("EventsV1EventSeries", "lastObservedTime")),
        *(("CoreV1Event", "eventTime"), ("CoreV1EventSeries", "lastObservedTime")),
    }
)
FREE = frozenset({"V1JSONSchemaProps", "V1CustomResourceValidation", "V1FieldsV1"})
"""Models that are kept as they come."""


def schemas() -> dict[str, Any]:
    """Return model → schema for everything that the built-in kinds need."""
    from kubernetes.client import models

    found: dict[str, Any] = {}
    waiting = [built_in.model for built_in in BUILT_IN]
    while waiting:
        name = waiting.pop()
        if name in found or name in ("V1ObjectMeta", "V1ListMeta"):
            continue
        if name in FREE:
            found[name] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
            continue
        found[name] = _model(name, getattr(models, name), waiting)
    return dict(sorted(found.items()))


def _model(name: str, model: Any, waiting: list[str]) -> dict[str, Any]:
    properties = {}
    required = []
    hints = typing.get_type_hints(model)
    for field, info in model.model_fields.items():
        # Python's own words (exec, from, except) begin with an underscore there.
        label = (info.alias or model.attribute_map[field]).lstrip("_")
        properties[label] = _field(name, label, hints.get(field, info.annotation), waiting)
        if info.is_required():
            required.append(label)
    schema: dict[str, Any] = {"type": "object", "properties": dict(sorted(properties.items()))}
    if required:
        schema["required"] = sorted(required)
    if name in ATOMIC:
        schema["x-kubernetes-map-type"] = "atomic"
    return schema


def _field(model: str, field: str, annotation: Any, waiting: list[str]) -> dict[str, Any]:
    schema = _type(annotation, waiting)
    if field in QUANTITIES and schema.get("type") == "object" and "additionalProperties" in schema:
        schema["additionalProperties"] = {"type": "string", "format": "quantity"}
    elif field in QUANTITIES and schema.get("type") == "string":
        schema = {"type": "string", "format": "quantity"}
    if (model, field) in PROTOCOLS:
        schema["default"] = "TCP"
    if (model, field) in MICRO:
        schema["format"] = "micro-time"
    if (model, field) in ATOMIC_MAPS:
        schema["x-kubernetes-map-type"] = "atomic"
    keys = BY_KEY.get((model, field))
    if keys is None and model.endswith("EphemeralContainer"):
        keys = BY_KEY.get(("V1Container", field))
    if field == "conditions" and model.endswith("Status"):
        keys = CONDITIONS
    if keys is not None:
        schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}
        schema |= {"x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": keys[0]}
    if (model, field) == ("V1NodeSpec", "podCIDRs"):
        schema |= {"x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge"}
    return schema


def _type(annotation: Any, waiting: list[str]) -> dict[str, Any]:
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(arguments[0], waiting)
    if origin in (typing.Union, types.UnionType):
        kinds = [argument for argument in arguments if argument is not type(None)]
        plain = {typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind for kind in kinds}
        if plain == {int, str}:
            return {"x-kubernetes-int-or-string": True}
        if plain == {bytes, str}:
            return {"type": "string", "format": "byte"}
        if plain == {int, float}:
            return {"type": "number"}
        return _type(kinds[0], waiting)
    if origin is list:
        return {"type": "array", "items": _type(arguments[0], waiting)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(arguments[1], waiting)}
    if annotation is datetime.datetime:
        return {"type": "string", "format": "date-time"}
    simple = {str: "string", bool: "boolean", int: "integer", float: "number"}.get(annotation)
    if simple is not None:
        return {"type": simple}
    if annotation in (object, Any):
        return {"x-kubernetes-preserve-unknown-fields": True}
    name = annotation.__name__
    waiting.append(name)
    return {"$ref": name}


def main() -> None:
    """Write the file."""
    path = Path(__file__).with_name("schemas.json")
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(schema)}" for name, schema in schemas().items())
    path.write_text(f"{{\n{lines}\n}}\n")
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
