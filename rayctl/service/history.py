"""Every valid specification of a service, numbered and kept: to go on with when an invalid one comes, and to return to.

Kept as ConfigMaps, one each, named by content: what is there twice was asked for twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rayctl.service.children import Owner
from rayctl.service.fingerprint import digest

__all__ = [
    "KEPT",
    "NUMBER",
    "SERVICE",
    "Revision",
    "parse_revisions",
    "recorded",
    "revision_document",
    "same_content",
    "surplus",
]

SERVICE = "rayctl.io/service"
"""Label of the ConfigMaps: the service's name."""
NUMBER = "rayctl.io/revision"
"""Annotation: the revision's number; a specification that comes again gets a new one."""
KEPT = 10
_WITHOUT = ("suspend", "managedBy")


@dataclass(frozen=True)
class Revision:
    """One specification. ``document``: the ConfigMap that keeps it."""

    number: int
    name: str
    spec: Mapping[str, Any]
    generation: int
    document: Mapping[str, Any]


def _content(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name not in _WITHOUT}


def same_content(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two specifications are the same revision."""
    return digest(_content(one)) == digest(_content(other))


def _name(owner: Owner, spec: Mapping[str, Any]) -> str:
    return f"{owner.name}-rev-{digest(_content(spec))}"


def parse_revisions(owner: Owner, documents: Iterable[Mapping[str, Any]]) -> tuple[Revision, ...]:
    """Return the revisions of a service, newest first. What is damaged or another's is passed over."""
    found = []
    for document in documents:
        if not owner.owns(document):
            continue
        metadata = document["metadata"]
        try:
            spec = json.loads((document.get("data") or {})["spec.json"])
            number = int((metadata.get("annotations") or {})[NUMBER])
            generation = int((document.get("data") or {}).get("generation", 0))
        except (KeyError, TypeError, ValueError):
            continue
        if isinstance(spec, dict):
            found.append(Revision(number, metadata["name"], spec, generation, document))
    return tuple(sorted(found, key=lambda revision: -revision.number))


def revision_document(owner: Owner, spec: Mapping[str, Any], number: int, generation: int) -> dict[str, Any]:
    """Return the ConfigMap that keeps a specification."""
    metadata = owner.metadata(_name(owner, spec))
    metadata["labels"][SERVICE] = owner.name
    metadata["annotations"] = {NUMBER: str(number)}
    text = json.dumps(_content(spec), sort_keys=True, ensure_ascii=False)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "immutable": True,
        "data": {"spec.json": text, "generation": str(generation)},
    }


def recorded(owner: Owner, revisions: Sequence[Revision], spec: Mapping[str, Any]) -> Revision | None:
    """Return the revision that keeps this specification, or None."""
    name = _name(owner, spec)
    return next((revision for revision in revisions if revision.name == name), None)


def surplus(revisions: Sequence[Revision], needed: Iterable[str]) -> tuple[Revision, ...]:
    """Return the revisions that may go: beyond the newest `KEPT`, and not needed by a cluster that is there (names)."""
    keep = set(needed)
    return tuple(revision for revision in revisions[KEPT:] if revision.name not in keep)
