"""Sizes when a fleet is scaled, in the middle of a rollout or not: each set keeps its share."""

from __future__ import annotations

from rayctl.fleet.arithmetic import proportional
from rayctl.fleet.strategies.move import Situation

__all__ = ["is_scaling", "scale"]


def is_scaling(situation: Situation) -> bool:
    """Whether a set in use was sized for another number of replicas."""
    wanted = situation.limits.replicas
    return any(view.replicas > 0 and view.size.desired_before not in (None, wanted) for view in situation.sets)


def scale(situation: Situation) -> dict[str, int]:
    """Return new sizes by name. Growth stops where clusters that are still going would make it too much."""
    spec, replicas = situation.seen.spec, situation.limits.replicas
    if spec.strategy == "BlueGreen":
        # Two colours, each of them whole; what the new one is to have, its strategy knows.
        old = [view for view in situation.old if view.replicas > 0]
        return {view.name: replicas for view in (old or [*([situation.new] if situation.new else [])])}
    active = [view for view in situation.sets if view.replicas > 0]
    if spec.strategy == "Recreate" and len(active) > 1:
        return {}
    new = situation.new.size if situation.new else None
    sizes = proportional(
        situation.limits, new, [view.size for view in situation.old], int(situation.seen.status.get("replicas") or 0)
    )
    return _capped(situation, sizes)


def _capped(situation: Situation, sizes: dict[str, int]) -> dict[str, int]:
    views = {view.name: view for view in situation.sets}
    found = dict(sizes)
    total = sum(max(found.get(name, view.replicas), view.existing + view.terminating) for name, view in views.items())
    excess = total - situation.limits.most
    fits = situation.room.grow
    growth = sum(max(0, size - views[name].replicas) for name, size in found.items())
    if fits is not None:
        excess = max(excess, growth - fits)
    for name, size in sorted(found.items(), key=lambda item: item[1]):
        grown = size - views[name].replicas
        if grown > 0 and excess > 0:
            taken = min(grown, excess)
            found[name] = size - taken
            excess -= taken
    return found
