"""Who may start, and how many tasks each run may have in flight: pure decisions.

Runs share the cluster's CPUs equally (max-min fair): a run that cannot use its share leaves the rest to the
others. Waiting runs start in the order they came; one whose tenant is at its bound lets those of others pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Demand", "TenantBound", "fair_slots", "may_start"]


@dataclass(frozen=True)
class Demand:
    """What one run can use: CPUs per task and, if it is bounded, tasks at once. ``tenant``: whose it is."""

    run_id: str
    cpus_per_task: float
    max_parallel: int | None = None
    tenant: str = ""


@dataclass(frozen=True)
class TenantBound:
    """What the runs of one tenant may use together; None: as much as everybody."""

    max_running: int | None = None
    max_cpus: float | None = None


_FREE = TenantBound()


def may_start(
    waiting: Sequence[Demand],
    running: Sequence[Demand],
    max_running: int,
    bounds: Mapping[str, TenantBound] | None = None,
) -> list[str]:
    """Return the ids of the waiting runs (oldest first) that start now.

    Every run has at least one task in flight, so a run only starts if one more of its tasks fits into the CPUs of its
    tenant beside those of the tenant's running runs.
    """
    found: list[str] = []
    counts: Counter[str] = Counter(demand.tenant for demand in running)
    cpus: Counter[str] = Counter()
    for demand in running:
        cpus[demand.tenant] += demand.cpus_per_task  # type: ignore[assignment]
    for demand in waiting:
        if len(running) + len(found) >= max_running:
            break
        bound = (bounds or {}).get(demand.tenant, _FREE)
        if bound.max_running is not None and counts[demand.tenant] >= bound.max_running:
            continue
        if bound.max_cpus is not None and cpus[demand.tenant] + demand.cpus_per_task > bound.max_cpus:
            continue
        counts[demand.tenant] += 1
        cpus[demand.tenant] += demand.cpus_per_task  # type: ignore[assignment]
        found.append(demand.run_id)
    return found


def fair_slots(
    demands: Sequence[Demand],
    total_cpus: float,
    max_run_cpus: float | None = None,
    strict: bool = False,
    bounds: Mapping[str, TenantBound] | None = None,
) -> dict[str, int]:
    """Return the number of tasks in flight for every run; each run gets at least one.

    Shares are handed out one task at a time to the run that has the fewest CPUs so far (ties: the older run),
    as long as a whole task fits into what is left, and into the CPUs of its tenant. Unless a ceiling is to be kept
    (``strict``, ``max_run_cpus``, a tenant's), one more task than fits is in flight per run, so that a worker that
    becomes free finds work waiting.
    """
    ceilings = {name: bound.max_cpus for name, bound in (bounds or {}).items() if bound.max_cpus is not None}
    slots = {demand.run_id: 1 for demand in demands}
    left = total_cpus - sum(demand.cpus_per_task for demand in demands)
    growing = [demand for demand in demands if demand.cpus_per_task > 0]
    while growing:
        used = {demand.run_id: slots[demand.run_id] * demand.cpus_per_task for demand in growing}
        taken = _by_tenant(demands, slots)
        growing = [
            demand
            for demand in growing
            if demand.cpus_per_task <= left
            and not _at_limit(demand, slots[demand.run_id], max_run_cpus)
            and taken[demand.tenant] + demand.cpus_per_task <= ceilings.get(demand.tenant, float("inf"))
        ]
        if not growing:
            break
        poorest = min(growing, key=lambda demand: used[demand.run_id])
        slots[poorest.run_id] += 1
        left -= poorest.cpus_per_task
    if strict or max_run_cpus is not None:
        return slots
    return {
        demand.run_id: slots[demand.run_id]
        if demand.tenant in ceilings
        else _with_spare(demand, slots[demand.run_id], total_cpus)
        for demand in demands
    }


def _by_tenant(demands: Sequence[Demand], slots: Mapping[str, int]) -> dict[str, float]:
    taken: dict[str, float] = {}
    for demand in demands:
        taken[demand.tenant] = taken.get(demand.tenant, 0.0) + slots[demand.run_id] * demand.cpus_per_task
    return taken


def _at_limit(demand: Demand, slots: int, max_run_cpus: float | None) -> bool:
    if demand.max_parallel is not None and slots >= demand.max_parallel:
        return True
    return max_run_cpus is not None and (slots + 1) * demand.cpus_per_task > max_run_cpus


def _with_spare(demand: Demand, slots: int, total_cpus: float) -> int:
    if demand.max_parallel is not None:
        return min(slots + 1, demand.max_parallel)
    if demand.cpus_per_task == 0:
        # Tasks that reserve nothing are bounded by what the machine has.
        return max(2, int(total_cpus))
    return slots + 1
