"""Everything that explaining or showing an object needs: what it owns, and the events of its namespace."""

from __future__ import annotations

from typing import Any

from rayctl.api.kube.door import Door
from rayctl.errors import Forbidden, Unavailable
from rayctl.kube.kinds import EVENTS, RAY_CLUSTERS, REPLICA_SETS, kind_of
from rayctl.views.events import Happened, happened
from rayctl.views.explanation import Explanation, Surroundings, explain
from rayctl.views.family import CHILD_KINDS, Node, family

__all__ = ["events_in", "explained", "fleet_parts", "gather"]

_DEEPEST = 5


async def gather(door: Door, root: dict[str, Any]) -> Node:
    """Return an object with all that it owns: one list per kind that may be there."""
    namespace = root["metadata"].get("namespace", "")
    others: list[dict[str, Any]] = []
    asked: set[tuple[str, str]] = set()
    level = {str(root.get("kind"))}
    for _ in range(_DEEPEST):
        wanted = {pair for kind in level for pair in CHILD_KINDS.get(kind, ())} - asked
        if not wanted or not namespace:
            break
        asked |= wanted
        level = set()
        for pair in sorted(wanted):
            try:
                found = await door.all(kind_of(*pair), namespace)
            except Forbidden:
                continue  # this service's account may not see them: the tree ends here
            except Unavailable as error:
                if error.code != "kind-not-served":
                    raise
                continue
            others += found
            if found:
                level.add(pair[1])
    return family(root, others)


async def events_in(door: Door, namespace: str) -> list[Happened]:
    """Return the events of a namespace (empty: of all), the oldest first; none where they may not be read."""
    try:
        found = [happened(document) for document in await door.all(EVENTS, namespace)]
    except Forbidden:
        return []
    return sorted(found, key=lambda event: event.last_at)


async def explained(door: Door, root: dict[str, Any], now: float) -> Explanation:
    """Return why an object is as it is."""
    node = await gather(door, root)
    return explain(node, Surroundings(await events_in(door, root["metadata"].get("namespace", ""))), now)


async def fleet_parts(door: Door, namespace: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the replica sets and the clusters of a namespace."""
    return await door.all(REPLICA_SETS, namespace), await door.all(RAY_CLUSTERS, namespace)
