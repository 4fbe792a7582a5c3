"""What is under way: rollouts, switchovers, deletions, and how each of them ended. Pure, from documents."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayctl.core.conditions import UPGRADE_DISABLED
from rayctl.views.summary import summary

__all__ = ["Asked", "deletion", "operation_id", "parse_operation", "under_way"]

Document = Mapping[str, Any]
_WORDS = {"RayClusterFleet": "rollout", "RayService": "switchover"}
_STATES = {"ready": "done", "failed": "failed", "paused": "waiting", "suspended": "waiting"}
_ID = re.compile(r"(change|delete)~([a-z]+)~([a-z0-9-]+)~([a-z0-9.-]+)(?:~([A-Za-z0-9-]*))?")


@dataclass(frozen=True)
class Asked:
    """What an operation's id says. ``word``: the kind, as in paths; ``uid``: of what is deleted."""

    what: str
    word: str
    namespace: str
    name: str
    uid: str = ""


def operation_id(what: str, word: str, document: Document) -> str:
    """Return the id of an operation on an object: ``change`` (to what it asks for now) or ``delete``."""
    metadata = document["metadata"]
    uid = f"~{metadata.get('uid', '')}" if what == "delete" else ""
    return f"{what}~{word}~{metadata.get('namespace', '')}~{metadata['name']}{uid}"


def parse_operation(text: str) -> Asked | None:
    """Return what an id means, or None."""
    found = _ID.fullmatch(text)
    return Asked(*(part or "" for part in found.groups())) if found and len(text) <= 600 else None


def under_way(word: str, document: Document) -> dict[str, Any]:
    """Return an object's operation. ``word``: its kind, as in paths."""
    row = summary(document)
    if row["state"] == "deleting":
        return {**_common("delete", word, document, row), "kind": "deletion", "state": "running"}
    kind = _WORDS.get(row["kind"], "change")
    state = _STATES.get(row["state"], "running")
    if row["outdated"] and state == "done":
        state, row = "failed", {**row, "reason": UPGRADE_DISABLED, "message": row["outdated"]}
    return {**_common("change", word, document, row), "kind": kind, "state": state}


def _common(what: str, word: str, document: Document, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": operation_id(what, word, document),
        "object": f"{word}/{row['name']}",
        "namespace": row["namespace"],
        "reason": row["reason"],
        "message": row["message"],
        "since": row["since"],
    }


def deletion(asked: Asked, document: Document | None) -> dict[str, Any]:
    """Return how far a deletion is. ``document``: what has the name now."""
    gone = document is None or document["metadata"].get("uid") != asked.uid
    found = {
        "id": f"delete~{asked.word}~{asked.namespace}~{asked.name}~{asked.uid}",
        "object": f"{asked.word}/{asked.name}",
        "namespace": asked.namespace,
        "kind": "deletion",
        "state": "done" if gone else "running",
        "reason": "",
        "message": "",
        "since": None,
    }
    if not gone and document is not None:
        row = summary(document)
        found |= {"reason": row["reason"], "message": row["message"], "since": row["since"]}
    return found
