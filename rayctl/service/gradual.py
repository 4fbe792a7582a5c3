"""How capacity and traffic move step by step from one side to the other: monotone, never more than there is room for.

The same moves in both directions: a switch that is taken back mirrors its roles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rayctl.service.record import Split

__all__ = ["Gradual", "Next", "next_split"]


@dataclass(frozen=True)
class Gradual:
    """How fast. Percent and seconds.

    Args:
        step: How much traffic moves at a time.
        interval_s: The shortest time between two moves.
        surge: How much capacity may be there besides the 100 % that are needed.
    """

    step: int
    interval_s: float
    surge: int


@dataclass(frozen=True)
class Next:
    """What comes next: a split that differs from the given one, or a time to wait for, or (neither) it is through."""

    split: Split
    message: str = ""
    wait_until: float | None = None

    @property
    def through(self) -> bool:
        """Whether all traffic and all capacity is where it is to be."""
        return not self.message


def next_split(split: Split, rules: Gradual, now: float, back: bool = False) -> Next:
    """Return the next move, given that both sides have the capacity, and the routes the weights, that `split` says.

    Capacity of the side that takes over grows by ``surge`` whenever both together have at most 100 %; then traffic
    follows in steps, each an interval after the last, up to that capacity; then the other side shrinks by ``surge``.
    ``back``: traffic moves from the target to the source.
    """
    if back:
        mirrored = Split(split.target_capacity, split.source_capacity, 100 - split.traffic, split.moved_at)
        found = next_split(mirrored, rules, now)
        turned = found.split
        return replace(
            found,
            split=Split(turned.target_capacity, turned.source_capacity, 100 - turned.traffic, turned.moved_at),
        )
    if split.traffic < split.target_capacity:
        due_at = split.moved_at + rules.interval_s
        if now < due_at:
            return Next(split, f"{split.traffic} % of the traffic has moved", due_at)
        traffic = min(split.target_capacity, split.traffic + rules.step)
        return Next(replace(split, traffic=traffic, moved_at=now), f"traffic {traffic} %")
    if split.source_capacity + split.target_capacity > 100 or (split.target_capacity == 100 and split.source_capacity):
        capacity = max(0, split.source_capacity - rules.surge)
        return Next(replace(split, source_capacity=capacity), f"old side's capacity {capacity} %")
    if split.target_capacity < 100:
        capacity = min(100, split.target_capacity + rules.surge)
        return Next(replace(split, target_capacity=capacity), f"new side's capacity {capacity} %")
    return Next(split)
