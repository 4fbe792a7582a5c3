"""Who may start, and how many tasks each run may have in flight: pure decisions.

Runs share the cluster's CPUs equally (max-min fair): a run that cannot use its share leaves the rest to the
others. Waiting runs start in the order they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Demand", "fair_slots", "may_start"]


@dataclass(frozen=True)
class Demand:
    """What one running run can use: CPUs per task and, if it is bounded, tasks at once."""

    run_id: str
    cpus_per_task: float
    max_parallel: int | None = None


def may_start(waiting: Sequence[str], running: int, max_running: int) -> list[str]:
    """Return the ids of the waiting runs (oldest first) that start now."""
    return list(waiting[: max(0, max_running - running)])


def fair_slots(
    demands: Sequence[Demand], total_cpus: float, max_run_cpus: float | None = None, strict: bool = False
) -> dict[str, int]:
    """Return the number of tasks in flight for every run; each run gets at least one.

    Shares are handed out one task at a time to the run that has the fewest CPUs so far (ties: the older run),
    as long as a whole task fits into what is left. Unless a ceiling is to be kept (``strict``, ``max_run_cpus``), one
    more task than fits is in flight per run, so that a worker that becomes free finds work waiting.
    """
    slots = {demand.run_id: 1 for demand in demands}
    left = total_cpus - sum(demand.cpus_per_task for demand in demands)
    growing = [demand for demand in demands if demand.cpus_per_task > 0]
    while growing:
        used = {demand.run_id: slots[demand.run_id] * demand.cpus_per_task for demand in growing}
        growing = [d for d in growing if d.cpus_per_task <= left and not _at_limit(d, slots[d.run_id], max_run_cpus)]
        if not growing:
            break
        poorest = min(growing, key=lambda demand: used[demand.run_id])
        slots[poorest.run_id] += 1
        left -= poorest.cpus_per_task
    if strict or max_run_cpus is not None:
        return slots
    return {demand.run_id: _with_spare(demand, slots[demand.run_id], total_cpus) for demand in demands}


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
