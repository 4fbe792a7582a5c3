"""Everything that explaining or describing an object needs: what it owns, and the events of its namespace."""

from __future__ import annotations

from typing import Any

from rayctl.cli.kubernetes import Kube, Named
from rayctl.errors import NotFound
from rayctl.kube.errors import Denied
from rayctl.kube.kinds import EVENTS
from rayctl.views.events import Happened, happened
from rayctl.views.explanation import Surroundings
from rayctl.views.family import CHILD_KINDS, Node, family

__all__ = ["events_of", "gather", "gather_node"]

_DEFAULT = (("v1", "Pod"),)
_DEEPEST = 5


def gather(kube: Kube, named: Named) -> tuple[Node, Surroundings]:
    """Return an object with all that it owns, and what else was seen. Raises ObjectNotFound."""
    node = gather_node(kube, named)
    return node, Surroundings(events_of(kube, node.document["metadata"].get("namespace", "")))


def gather_node(kube: Kube, named: Named) -> Node:
    """Return an object with all that it owns: one list per kind that may be there. Raises ObjectNotFound."""
    root = kube.get(named.served.resource, named.name)
    namespace = root["metadata"].get("namespace", "")
    others: list[dict[str, Any]] = []
    asked: set[tuple[str, str]] = set()
    level = {str(root.get("kind"))}
    for _ in range(_DEEPEST):
        wanted = {pair for kind in level for pair in CHILD_KINDS.get(kind, _DEFAULT)} - asked
        if not wanted or not namespace:
            break
        asked |= wanted
        level = set()
        for api_version, kind in sorted(wanted):
            try:
                found = kube.list(kube.kinds.of(api_version, kind).resource, namespace)
            except NotFound:
                continue  # a kind that this server does not have
            except Denied as error:
                kube.settings.note(f"{kind} objects cannot be seen: {error.message}")
                continue
            others += found
            if found:
                level.add(kind)
    return family(root, others)


def events_of(kube: Kube, namespace: str) -> list[Happened]:
    """Return the events of a namespace (empty: of all), the oldest first; none where they may not be read."""
    try:
        found = [happened(document) for document in kube.list(EVENTS, namespace)]
    except Denied as error:
        kube.settings.note(f"events cannot be seen: {error.message}")
        return []
    return sorted(found, key=lambda event: event.last_at)
