"""Sizes when a fleet is scaled, in the middle of a rollout or not: each set keeps its share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rayctl.fleet.arithmetic import proportional
from rayctl.fleet.strategies.move import Situation

__all__ = ["Scaled", "is_scaling", "scale"]


@dataclass(frozen=True)
class Scaled:
    """New sizes by name, and the sets whose growth has to wait: they do not note the fleet's size yet."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    withheld: frozenset[str] = frozenset()


def is_scaling(situation: Situation) -> bool:
    """Whether a set in use was sized for another number of replicas."""
    wanted = situation.limits.replicas
    active = [view for view in situation.sets if view.replicas > 0]
    if situation.seen.spec.strategy == "Recreate" and len(active) > 1:
        return False  # the old ones go first, whatever their size
    return any(view.size.desired_before not in (None, wanted) for view in active)


def scale(situation: Situation) -> Scaled:
    """Return new sizes. Growth waits for clusters that are still going, and for sets that have not told of theirs."""
    spec, replicas = situation.seen.spec, situation.limits.replicas
    if spec.strategy == "BlueGreen":
        # Two colours, each of them whole; what the new one is to have, its strategy knows.
        old = [view for view in situation.old if view.replicas > 0]
        sizes = {view.name: replicas for view in (old or [*([situation.new] if situation.new else [])])}
        if situation.new is not None and situation.new.replicas > replicas:
            sizes[situation.new.name] = replicas
        return Scaled(sizes)
    new = situation.new.size if situation.new else None
    sizes = proportional(
        situation.limits, new, [view.size for view in situation.old], int(situation.seen.status.get("replicas") or 0)
    )
    return _withheld(situation, _under_ceiling(situation, sizes))


def _under_ceiling(situation: Situation, sizes: Mapping[str, int]) -> dict[str, int]:
    """Return sizes for which there is room; what has none is given up, not postponed."""
    fits = situation.room.grow
    views = {view.name: view for view in situation.sets}
    growth = sum(max(0, size - views[name].replicas) for name, size in sizes.items())
    floors = {name: view.replicas for name, view in views.items()}
    return dict(sizes) if fits is None else _less(sizes, floors, growth - fits)[0]


def _withheld(situation: Situation, sizes: Mapping[str, int]) -> Scaled:
    """A set that grows only into what is still going makes nothing new; the others wait, as far as it is too much."""
    there = {view.name: view.occupied for view in situation.sets}
    excess = sum(max(sizes.get(name, 0), number) for name, number in there.items()) - situation.limits.most
    if situation.unsettled is not None:
        excess = sum(sizes.values())  # more than they say may be there
    found, cut = _less(sizes, there, excess)
    return Scaled(found, cut)


def _less(sizes: Mapping[str, int], floors: Mapping[str, int], excess: int) -> tuple[dict[str, int], frozenset[str]]:
    """Return sizes with so much less growth above floors, the smallest first, and the sets that this is about."""
    found, cut = dict(sizes), set()
    for name, size in sorted(sizes.items(), key=lambda item: item[1]):
        taken = min(size - floors[name], excess)
        if taken > 0:
            found[name] = size - taken
            excess -= taken
            cut.add(name)
    return found, frozenset(cut)
