"""The words in which the definitions of kinds are written: structural OpenAPI schemas, as plain dicts."""

from __future__ import annotations

from typing import Any

__all__ = [
    "any_object",
    "array",
    "boolean",
    "choice",
    "column",
    "conditions",
    "definition",
    "int_or_text",
    "integer",
    "list_map",
    "mapping",
    "moment",
    "object_of",
    "quantity",
    "rule",
    "text",
]

Schema = dict[str, Any]

_QUANTITY = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
_TYPE = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
)


def object_of(properties: Schema, required: tuple[str, ...] = (), about: str = "", **more: Any) -> Schema:
    """Return an object with these fields and no others (unknown ones are pruned)."""
    found: Schema = {"type": "object"}
    if about:
        found["description"] = about
    if required:
        found["required"] = list(required)
    return {**found, **more, "properties": properties}


def any_object(about: str = "", properties: Schema | None = None, required: tuple[str, ...] = ()) -> Schema:
    """Return an object whose unknown fields are kept; the known ones are checked."""
    found: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    if about:
        found["description"] = about
    if required:
        found["required"] = list(required)
    if properties:
        found["properties"] = properties
    return found


def mapping(values: Schema, about: str = "") -> Schema:
    """Return a map from texts to values."""
    return _about({"type": "object", "additionalProperties": values}, about)


def array(items: Schema, about: str = "", **more: Any) -> Schema:
    """Return a list."""
    return _about({"type": "array", **more, "items": items}, about)


def list_map(items: Schema, *keys: str, about: str = "") -> Schema:
    """Return a list whose items are told apart by these fields, so that managers can share it."""
    return array(items, about, **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)})


def text(about: str = "", **more: Any) -> Schema:
    """Return a text."""
    return _about({"type": "string", **more}, about)


def choice(*values: str, about: str = "", **more: Any) -> Schema:
    """Return a text out of a few."""
    return _about({"type": "string", "enum": list(values), **more}, about)


def boolean(about: str = "") -> Schema:
    """Return yes or no."""
    return _about({"type": "boolean"}, about)


def integer(about: str = "", bits: int = 32, **more: Any) -> Schema:
    """Return a whole number."""
    return _about({"type": "integer", "format": f"int{bits}", **more}, about)


def moment(**more: Any) -> Schema:
    """Return a point in time."""
    return {"type": "string", "format": "date-time", **more}


def int_or_text(about: str = "") -> Schema:
    """Return a number or a text, such as a port."""
    return _about({"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}, about)


def quantity(about: str = "") -> Schema:
    """Return an amount of a resource: 2, 500m, 8Gi."""
    return {**int_or_text(about), "pattern": _QUANTITY}


def rule(expression: str, message: str) -> Schema:
    """Return a validation rule (CEL)."""
    return {"rule": expression, "message": message}


def conditions() -> Schema:
    """Return the list of an object's conditions."""
    return list_map(
        object_of(
            {
                "type": text(maxLength=316, pattern=_TYPE),
                "status": choice("True", "False", "Unknown"),
                "reason": text(minLength=1, maxLength=1024, pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
                "message": text(maxLength=32768),
                "observedGeneration": integer(bits=64, minimum=0),
                "lastTransitionTime": moment(),
            },
            required=("lastTransitionTime", "message", "reason", "status", "type"),
        ),
        "type",
    )


def column(name: str, kind: str, path: str, priority: int = 0) -> Schema:
    """Return a column of ``kubectl get``; those of priority 1 are shown by ``-o wide`` only."""
    found: Schema = {"name": name, "type": kind, "jsonPath": path}
    return {**found, "priority": priority} if priority else found


def definition(
    group: str, version: str, kind: str, plural: str, spec: Schema, status: Schema, columns: list[Schema], **more: Any
) -> Schema:
    """Return the CustomResourceDefinition of a namespaced kind with a status.

    ``more``: ``scale`` (the subresource), ``short`` (short names).
    """
    subresources: Schema = {"status": {}}
    if "scale" in more:
        subresources["scale"] = more["scale"]
    names: Schema = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    names["categories"] = ["all"]
    if "short" in more:
        names["shortNames"] = more["short"]
    schema = object_of(
        {
            "apiVersion": text(),
            "kind": text(),
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        }
    )
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": names,
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": subresources,
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def _about(schema: Schema, about: str) -> Schema:
    return {"description": about, **schema} if about else schema
