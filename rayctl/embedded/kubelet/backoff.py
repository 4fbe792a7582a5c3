"""How long a container that ended waits before it is started again: Kubernetes' CrashLoopBackOff."""

from __future__ import annotations

from dataclasses import dataclass

from rayctl.embedded.kubelet.timing import Timing

__all__ = ["Run", "delay_s", "row_of_next"]


@dataclass(frozen=True)
class Run:
    """One run of a container. Times are seconds since 1970; ``row``: how many restarts without a long run led to it."""

    attempt: int
    row: int
    started_at: float
    finished_at: float
    exit_code: int
    signal: int = 0
    error: str = ""
    reason: str = ""


def row_of_next(last: Run, timing: Timing) -> int:
    """Return the ``row`` of the run after this one."""
    if last.finished_at - last.started_at >= timing.back_off_reset_s:
        return 1
    return last.row + 1


def delay_s(row: int, timing: Timing) -> float:
    """Return the seconds between the end of a run and the start of the next, whose ``row`` this is.

    The first restart is at once, the second after ``back_off_first_s``, and so on doubled up to ``back_off_most_s``.
    """
    if row <= 1:
        return 0.0
    return min(timing.back_off_most_s, timing.back_off_first_s * 2.0 ** min(row - 2, 32))
