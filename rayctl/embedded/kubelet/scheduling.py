"""Which pods fit on the one node, and what the scheduler says of those that do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from rayctl.embedded.apiserver.quantity import format_like, parse_quantity

__all__ = ["Amounts", "default_capacity", "lacking", "parse_capacity", "requests_of", "used_by"]

Amounts = Mapping[str, Decimal]
"""Resource → amount: cpu in cores, memory in bytes, others in pieces."""

OVERCOMMIT_CPU = 8
"""Cores that a node says it has, per core of the machine: Ray pods request whole cores and mostly wait."""
OVERCOMMIT_MEMORY = 2
LEAST_CPU = 16
MOST_PODS = 110


def default_capacity(cores: int, memory_bytes: int, gpus: int = 0) -> dict[str, str]:
    """Return what the node offers if nobody says otherwise: more than the machine has, so that small clusters fit.

    cpu: 8 per core and at least 16; memory: twice the machine's; pods: 110; GPUs: those that are there.
    """
    found = {
        "cpu": str(max(LEAST_CPU, OVERCOMMIT_CPU * cores)),
        "memory": f"{OVERCOMMIT_MEMORY * memory_bytes // 1024}Ki",
        "ephemeral-storage": "1Ti",
        "pods": str(MOST_PODS),
    }
    return found | ({"nvidia.com/gpu": str(gpus)} if gpus else {})


def parse_capacity(text: str) -> dict[str, str]:
    """Read ``cpu=8,memory=16Gi,example.com/dongle=2``.

    Raises:
        ValueError: A part is not NAME=QUANTITY, or the quantity is negative.
    """
    found = {}
    for part in text.split(","):
        name, equals, amount = part.strip().partition("=")
        if not name or not equals:
            raise ValueError(f"{part.strip()!r} is not NAME=QUANTITY")
        number = parse_quantity(amount)
        if number < 0:
            raise ValueError(f"{part.strip()!r} is negative")
        found[name] = format_like(number, amount)
    return found


def requests_of(pod: Mapping[str, Any]) -> dict[str, Decimal]:
    """Return what a pod asks for: the sum of its containers, or more if an init container needs more for a while."""
    spec = pod["spec"]
    total: dict[str, Decimal] = {}
    for container in spec.get("containers") or ():
        _add(total, _requests(container))
    beside: dict[str, Decimal] = {}
    peak: dict[str, Decimal] = {}
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            _add(beside, _requests(container))
            continue
        for name, amount in _requests(container).items():
            peak[name] = max(peak.get(name, Decimal(0)), amount + beside.get(name, Decimal(0)))
    _add(total, beside)
    for name, amount in peak.items():
        total[name] = max(total.get(name, Decimal(0)), amount)
    _add(total, {name: parse_quantity(amount) for name, amount in (spec.get("overhead") or {}).items()})
    return total


def _requests(container: Mapping[str, Any]) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: parse_quantity(amount) for name, amount in asked.items()}


def _add(total: dict[str, Decimal], more: Mapping[str, Decimal]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, Decimal(0)) + amount


def used_by(pods: Iterable[Mapping[str, Any]]) -> dict[str, Decimal]:
    """Return what the pods of a node hold; those that have ended hold nothing."""
    total: dict[str, Decimal] = {"pods": Decimal(0)}
    for pod in pods:
        if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            _add(total, requests_of(pod))
            total["pods"] += 1
    return total


def lacking(
    pod: Mapping[str, Any], allocatable: Mapping[str, str], used: Amounts, node_labels: Mapping[str, str]
) -> str:
    """Return the scheduler's sentence for a pod that does not fit, or nothing for one that does."""
    selector = pod["spec"].get("nodeSelector") or {}
    if any(node_labels.get(key) != value for key, value in selector.items()):
        return "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    words = []
    if used.get("pods", Decimal(0)) + 1 > parse_quantity(allocatable.get("pods", "0")):
        words.append("1 Too many pods")
    for name, amount in sorted(requests_of(pod).items()):
        if amount and used.get(name, Decimal(0)) + amount > parse_quantity(allocatable.get(name, "0")):
            words.append(f"1 Insufficient {name}")
    return f"0/1 nodes are available: {', '.join(words)}." if words else ""
