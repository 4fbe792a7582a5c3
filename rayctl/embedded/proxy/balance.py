"""Which backends a connection tries, in which order, and which it may keep. Pure but for the source of chance."""

from __future__ import annotations

import random
from collections.abc import Sequence

from rayctl.embedded.proxy.table import Backend

__all__ = ["order", "stays"]


def order(backends: Sequence[Backend], turn: int, chance: random.Random) -> list[Backend]:
    """Return the backends in the order in which to try them.

    The group is drawn by weight, its members take turns; then the others in the order of further draws, those of weight
    0 last.

    Args:
        turn: Counts the connections of the frontend.
    """
    groups: dict[str, list[Backend]] = {}
    for backend in backends:
        groups.setdefault(backend.group, []).append(backend)
    found: list[Backend] = []
    left = {name: members[0].weight for name, members in groups.items()}
    while left:
        total = sum(left.values())
        name = next(iter(left)) if total <= 0 else chance.choices(list(left), weights=list(left.values()))[0]
        members = groups[name]
        start = turn % len(members)
        found += [*members[start:], *members[:start]]
        del left[name]
    return found


def stays(backend: Backend, backends: Sequence[Backend]) -> bool:
    """Tell whether a connection may stay with its backend for another request.

    It may not where the Service leads to others instead, or gives its group no weight any more. Where there is no
    other, it may: one that is not ready is better than none.
    """
    wanted = [found for found in backends if found.weight > 0]
    return not wanted or any((found.host, found.port) == (backend.host, backend.port) for found in wanted)
