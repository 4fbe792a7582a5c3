"""What the scripts make."""

from __future__ import annotations

from typing import Any


def map_body(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"app": "a"}}, "data": {"k": "v"}}


def BOATS(group: str) -> dict[str, Any]:
    crew = {"type": "integer", "minimum": 0}
    spec = {"type": "object", "properties": {"crew": crew, "flag": {"type": "string", "default": "white"}}}
    status = {"type": "object", "properties": {"crew": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"spec": spec, "status": status}}
    scale = {"specReplicasPath": ".spec.crew", "statusReplicasPath": ".status.crew"}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}, "scale": scale},
    }
    names = {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"boats.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }
