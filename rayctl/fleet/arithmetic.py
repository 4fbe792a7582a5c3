"""How large each replica set of a fleet becomes: the arithmetic of Kubernetes' Deployments, on plain numbers.

Source: the Deployment controller of Kubernetes 1.36 (rounding, fenceposts, proportional scaling, clean-up).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

__all__ = [
    "Limits",
    "Size",
    "active_or_latest",
    "canary_counts",
    "clean_unhealthy",
    "fenceposts",
    "fraction",
    "history_victims",
    "max_unavailable",
    "min_available",
    "new_size",
    "proportional",
    "resolve",
    "saturated",
    "shrink_old",
    "trim_healthy",
]

_PERCENT = re.compile(r"(\d+)%")


@dataclass(frozen=True)
class Size:
    """One replica set, as far as its size is concerned.

    Args:
        name: Its name; the order of the same age.
        replicas: Wanted clusters (spec).
        available: Clusters that can serve.
        created_at: Seconds since the epoch.
        desired_before: The fleet's replicas when this set was last sized (annotation ``desired-replicas``).
        most_before: The same with surge (annotation ``max-replicas``).
    """

    name: str
    replicas: int
    available: int = 0
    created_at: float = 0.0
    desired_before: int | None = None
    most_before: int | None = None

    @property
    def age_key(self) -> tuple[float, str]:
        """Oldest first."""
        return self.created_at, self.name


@dataclass(frozen=True)
class Limits:
    """The bounds of a rollout, in clusters: never more than replicas + surge, never fewer than replicas − unavailable.

    ``unavailable`` is already cut to ``replicas``.
    """

    replicas: int
    surge: int
    unavailable: int

    @property
    def most(self) -> int:
        """Clusters that may exist; none if none are wanted."""
        return self.replicas + self.surge if self.replicas > 0 else 0

    @property
    def fewest(self) -> int:
        """Clusters that must be available."""
        return self.replicas - self.unavailable


def resolve(value: int | str | None, total: int, *, up: bool) -> int:
    """Return a number of clusters from an integer or a percentage of ``total``; None is 0.

    Raises:
        ValueError: It is neither.
    """
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"{value!r} is neither an integer nor a percentage")
    if isinstance(value, int):
        return value
    found = _PERCENT.fullmatch(value.strip())
    if found is None:
        raise ValueError(f"{value!r} is neither an integer nor a percentage such as 25%")
    share = int(found.group(1)) * total
    return -(-share // 100) if up else share // 100


def fenceposts(surge: int | str | None, unavailable: int | str | None, desired: int) -> tuple[int, int]:
    """Return (surge, unavailable): surge is rounded up, unavailable down; if both come to 0, one may be unavailable.

    Raises:
        ValueError: One of them is neither an integer nor a percentage.
    """
    more, fewer = resolve(surge, desired, up=True), resolve(unavailable, desired, up=False)
    return (0, 1) if more == 0 and fewer == 0 else (more, fewer)


def max_unavailable(replicas: int, surge: int | str | None, unavailable: int | str | None, *, rolling: bool) -> int:
    """Return how many of ``replicas`` may be unavailable; 0 where nothing rolls."""
    if not rolling or replicas == 0:
        return 0
    return min(replicas, fenceposts(surge, unavailable, replicas)[1])


def min_available(replicas: int, surge: int | str | None, unavailable: int | str | None, *, rolling: bool) -> int:
    """Return how many must stay available; 0 where nothing rolls."""
    return replicas - max_unavailable(replicas, surge, unavailable, rolling=rolling) if rolling else 0


def new_size(limits: Limits, total: int, current: int, goal: int | None = None) -> int:
    """Return the size of the new set: as large as the surge allows, never above ``goal`` (default: all replicas).

    Args:
        limits: Bounds of the rollout.
        total: Clusters of all sets, wanted or still there.
        current: The new set's size.
        goal: How many members shall have the new revision for now.
    """
    goal = limits.replicas if goal is None else goal
    if current >= goal:
        return goal
    if total >= limits.most:
        return current
    return current + min(limits.most - total, goal - current)


def clean_unhealthy(old: Sequence[Size], budget: int) -> tuple[list[Size], int]:
    """Take unavailable clusters from old sets, the oldest set first; returns the sets and how many were taken."""
    taken, found = 0, {size.name: size for size in old}
    for size in sorted(old, key=lambda item: item.age_key):
        count = min(budget - taken, size.replicas - size.available)
        if count > 0:
            found[size.name] = replace(size, replicas=size.replicas - count)
            taken += count
    return [found[size.name] for size in old], taken


def trim_healthy(old: Sequence[Size], count: int) -> list[Size]:
    """Take ``count`` clusters from old sets, the oldest set first."""
    left, found = max(0, count), {size.name: size for size in old}
    for size in sorted(old, key=lambda item: item.age_key):
        taken = min(left, size.replicas)
        if taken > 0:
            found[size.name] = replace(size, replicas=size.replicas - taken)
            left -= taken
    return [found[size.name] for size in old]


def shrink_old(limits: Limits, new: Size | None, old: Sequence[Size], floor: int = 0) -> list[Size]:
    """Return the old sets after one step down: unavailable clusters go first, then others down to what must stay.

    Args:
        limits: Bounds of the rollout.
        new: The new set; its clusters that are not available yet are not counted on.
        old: All other sets.
        floor: Old clusters that shall stay for now, whatever else allows.
    """
    old_total = sum(size.replicas for size in old)
    total = old_total + (new.replicas if new else 0)
    not_yet = new.replicas - new.available if new else 0
    budget = min(total - limits.fewest - not_yet, old_total - floor)
    if old_total == 0 or budget <= 0:
        return list(old)
    cleaned, taken = clean_unhealthy(old, budget)
    available = sum(size.available for size in old) + (new.available if new else 0)
    return trim_healthy(cleaned, min(available - limits.fewest, old_total - floor - taken))


def active_or_latest(new: Size | None, old: Sequence[Size]) -> Size | None:
    """Return the only set that has clusters; if none has, the new or else the newest; None if several have."""
    everything = [*old, *([new] if new else [])]
    active = [size for size in everything if size.replicas > 0]
    if len(active) == 1:
        return active[0]
    if active:
        return None
    return new or max(old, key=lambda item: item.age_key, default=None)


def saturated(replicas: int, new: Size | None) -> bool:
    """Whether the new set is wanted, sized and available at all replicas."""
    return new is not None and new.replicas == new.available == new.desired_before == replicas


def fraction(size: Size, limits: Limits, fleet_size: int) -> int:
    """Return by how much a set grows (shrinks, below 0) with its fleet, by its share before.

    ``fleet_size``: clusters of the fleet, where the set does not say of how many it was a part.
    """
    if limits.replicas == 0:
        return -size.replicas
    before = size.most_before or fleet_size
    if before <= 0:
        return 0
    share = size.replicas * limits.most / before
    return math.floor(share + 0.5) - size.replicas


def proportional(limits: Limits, new: Size | None, old: Sequence[Size], fleet_size: int = 0) -> dict[str, int]:
    """Return new sizes by name when a fleet is scaled in the middle of a rollout: each set keeps its share.

    Larger sets first; of equal ones, the newest grows and the oldest shrinks first. What rounding leaves goes to the
    first. ``fleet_size``: see `fraction`.
    """
    only = active_or_latest(new, old)
    if only is not None:
        return {only.name: limits.replicas}
    if saturated(limits.replicas, new):
        return {size.name: 0 for size in old if size.replicas > 0}
    active = [size for size in [*([new] if new else []), *old] if size.replicas > 0]
    to_add = limits.most - sum(size.replicas for size in active)
    by_age = sorted(active, key=lambda item: item.age_key, reverse=to_add > 0)
    order = sorted(by_age, key=lambda item: -item.replicas)
    sizes, added = {}, 0
    for size in order:
        share = 0
        if to_add not in (0, added):
            share = fraction(size, limits, fleet_size)
            share = min(share, to_add - added) if to_add > 0 else max(share, to_add - added)
        sizes[size.name] = size.replicas + share
        added += share
    if order and to_add != 0:
        first = order[0].name
        sizes[first] = max(0, sizes[first] + to_add - added)
    return sizes


def history_victims(sets: Sequence[tuple[str, int, float, bool]], limit: int) -> list[str]:
    """Return the names of old sets to forget: lowest revision first, then oldest; sets in use stay, but count.

    Args:
        sets: Name, revision (0: none), created at, whether it can be deleted.
        limit: How many are kept.
    """
    if limit >= 2**31 - 1:
        return []
    order = sorted(sets, key=lambda item: (item[1], item[2], item[0]))
    return [name for name, _, _, idle in order[: max(0, len(order) - limit)] if idle]


def canary_counts(replicas: int, weight: int, surge: int) -> tuple[int, int]:
    """Return (new, old) members whose ratio is nearest to ``weight`` percent new.

    With a surge there may be one member more. Between 1 and 99 percent both sides have at least one member where there
    is room; of equally near ratios the one with more new members, then the one without surge, is taken.
    """
    if weight <= 0 or replicas == 0:
        return 0, replicas
    if weight >= 100:
        return replicas, 0
    found: list[tuple[Fraction, int, int, int]] = []
    for total in (replicas, replicas + 1) if surge > 0 else (replicas,):
        for new in {math.floor(replicas * weight / 100), math.ceil(replicas * weight / 100)}:
            if replicas + min(surge, 1) >= 2 and not 0 < new < total:
                continue
            found.append((abs(Fraction(new, total) - Fraction(weight, 100)), -new, total, new))
    if not found:
        return 0, replicas
    _, _, total, new = min(found)
    return new, total - new
