"""What clusters of a template hold (CPUs, GPUs, memory), and how large a surge a fleet's ceiling allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rayctl.core.quantity import parse_quantity
from rayctl.fleet.arithmetic import Limits
from rayctl.fleet.options import Capacity

__all__ = ["Room", "demand", "room_for", "text_of", "times", "total"]

Amounts = Mapping[str, Fraction]


def demand(template: Mapping[str, Any]) -> dict[str, Fraction]:
    """Return what one cluster holds, by resource, when all its wanted workers are there.

    Of each container the request counts, or the limit where there is no request. Where Ray's autoscaler sets the
    number of workers, the most that it may set counts if the template bounds it.
    """
    spec = template.get("spec") or {}
    autoscaled = bool(spec.get("enableInTreeAutoscaling"))
    found = _pod(spec.get("headGroupSpec") or {})
    for group in spec.get("workerGroupSpecs") or ():
        count = int(group.get("replicas") or 0)
        count = max(count, int(group.get("minReplicas") or 0))
        most = group.get("maxReplicas")
        if most is not None and (int(most) < count or (autoscaled and int(most) < 2**31 - 1)):
            count = int(most)
        hosts = count * int(group.get("numOfHosts") or 1)
        for name, amount in _pod(group).items():
            found[name] = found.get(name, Fraction(0)) + amount * hosts
    return found


def _pod(group: Mapping[str, Any]) -> dict[str, Fraction]:
    found: dict[str, Fraction] = {}
    for container in ((group.get("template") or {}).get("spec") or {}).get("containers") or ():
        resources = container.get("resources") or {}
        for name, value in {**(resources.get("limits") or {}), **(resources.get("requests") or {})}.items():
            try:
                amount = parse_quantity(value)
            except (ValueError, AttributeError):
                continue  # the API server refuses it where it matters
            found[name] = found.get(name, Fraction(0)) + amount
    return found


def times(amounts: Amounts, count: int) -> dict[str, Fraction]:
    """Return what so many clusters hold."""
    return {name: amount * count for name, amount in amounts.items()}


def total(parts: Iterable[Amounts]) -> dict[str, Fraction]:
    """Return the sum."""
    found: dict[str, Fraction] = {}
    for part in parts:
        for name, amount in part.items():
            found[name] = found.get(name, Fraction(0)) + amount
    return found


@dataclass(frozen=True)
class Room:
    """What a ceiling does to a rollout.

    Args:
        limits: The bounds that are used: with less surge, and a cluster that may go first where nothing fits beside.
        grow: Clusters of the new template that fit beside what is there; None: no ceiling.
        lacks: The resource of which there is too little; empty if all fits.
        message: A sentence for people; empty if all fits.
    """

    limits: Limits
    grow: int | None = None
    lacks: str = ""
    message: str = ""


def room_for(capacity: Capacity, limits: Limits, new: Amounts, old: Iterable[Amounts], held: Amounts) -> Room:
    """Return the bounds of a rollout under a ceiling.

    Args:
        capacity: The ceiling.
        limits: Bounds without it.
        new: What one cluster of the new template holds.
        old: The same for each old template in use.
        held: What the fleet's clusters hold now.
    """
    if not capacity.limits:
        return Room(limits)
    olds = list(old)
    surge, grow, lacks = limits.surge, 2**31 - 1, ""
    for name, ceiling in sorted(capacity.limits.items()):
        one = new.get(name, Fraction(0))
        largest = max([one, *(item.get(name, Fraction(0)) for item in olds)])
        if one > 0:
            grow = min(grow, max(0, int((ceiling - held.get(name, Fraction(0))) // one)))
            fits = int((ceiling - largest * limits.replicas) // one)
            if fits < surge:
                surge, lacks = max(0, fits), name
    if not lacks:
        return Room(limits, grow)
    unavailable = limits.unavailable
    message = f"a surge of {limits.surge} does not fit under the ceiling of {lacks} ({capacity.limits[lacks]})"
    if surge == 0 and unavailable == 0 and limits.replicas > 0:
        if not capacity.replace:
            return Room(Limits(limits.replicas, 0, 0), grow, lacks, f"{message}; rollout.capacity.whenFull is Wait")
        unavailable = 1
        message += "; old clusters go before new ones come"
    return Room(Limits(limits.replicas, surge, unavailable), grow, lacks, message)


def text_of(amounts: Amounts) -> str:
    """Return amounts for people: ``CPU 16  GPU 4``."""
    known = {"cpu": "CPU", "nvidia.com/gpu": "GPU", "memory": "memory"}
    parts = []
    for name in sorted(amounts, key=lambda item: (item not in known, item)):
        amount = amounts[name]
        value = f"{float(amount / 2**30):.4g}Gi" if name == "memory" else f"{float(amount):.6g}"
        parts.append(f"{known.get(name, name)} {value}")
    return "  ".join(parts)
