"""Whether a rollout is complete, moves, or has been still for too long; and when to look again."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Totals", "complete", "progressing", "recheck_at", "timed_out"]


@dataclass(frozen=True)
class Totals:
    """Clusters of a fleet: all, of the newest revision, ready, available."""

    replicas: int
    updated: int
    ready: int
    available: int


def complete(desired: int, now: Totals, new_goal: int | None = None) -> bool:
    """Whether exactly the wanted clusters are there, of the newest revision, and available.

    ``new_goal``: members that are to have the newest revision, if that is not all of them.
    """
    goal = desired if new_goal is None else new_goal
    return now.updated == goal and now.replicas == desired and now.available == desired


def progressing(before: Totals, now: Totals) -> bool:
    """Whether something moved in the right direction: more new, fewer old, more ready or more available."""
    return (
        now.updated > before.updated
        or now.replicas - now.updated < before.replicas - before.updated
        or now.ready > before.ready
        or now.available > before.available
    )


def timed_out(progressed_at: float, deadline_s: float | None, now: float) -> bool:
    """Whether nothing has moved for the deadline. Times: seconds since the epoch; ``progressed_at`` 0: not counted."""
    return deadline_s is not None and progressed_at > 0 and now >= progressed_at + deadline_s


def recheck_at(progressed_at: float, deadline_s: float | None) -> float | None:
    """Return when `timed_out` will hold if nothing moves; None if it never will."""
    return None if deadline_s is None or progressed_at <= 0 else progressed_at + deadline_s
