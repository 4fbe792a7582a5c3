"""Why a trial of a run with a deadline is not begun: it would not fit into the memory or time that is left. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rayctl.automl.engine import Candidate
from rayctl.automl.pace import Pace

__all__ = ["TOO_LARGE", "TOO_SLOW", "Room", "does_not_fit"]

TOO_LARGE, TOO_SLOW = "too-large", "too-slow"
"""Codes of trials that were not begun."""

CONFIDENT = 0.85
"""A trial is begun only if its predicted time is at most this part of what is left."""
MUCH_TOO_LONG = 4.0
"""A fold that would take this many times what it may is not begun: cut that short it would be worthless."""
TOO_LONG_FOR_THE_WHOLE = 1.2
"""The same for models of which a part does not help."""


@dataclass(frozen=True)
class Room:
    """What a trial would have: seconds until the search ends, seconds that one fold may take before it ends itself
    (None: no bound), how many folds run at once, its folds that are scored and those that are not, bytes per task."""

    left_s: float
    soft_fold_s: float | None
    slots: int
    scored: int
    unscored: int
    memory_bytes: int | None


def does_not_fit(candidate: Candidate, pace: Pace, room: Room) -> dict[str, str] | None:
    """Return code and message of why a trial should not be begun; None: it fits, or nobody knows what it takes."""
    needs = pace.memory_bytes(candidate)
    if needs is not None and room.memory_bytes is not None and needs > room.memory_bytes:
        text = f"It is predicted to need {needs / 2**20:,.0f} MiB; a task has {room.memory_bytes / 2**20:,.0f} MiB."
        return {"code": TOO_LARGE, "message": text}
    seconds, soft = pace.seconds(candidate), room.soft_fold_s
    if seconds is None or soft is None:
        return None
    all_folds = min(seconds, soft) * room.scored / room.slots
    # Without its unscored folds it cannot be delivered, however good it turns out to be.
    all_folds += seconds * room.unscored / room.slots
    longest = MUCH_TOO_LONG if pace.any_part_helps(candidate) else TOO_LONG_FOR_THE_WHOLE
    if seconds > longest * soft or max(min(seconds, soft), all_folds) > CONFIDENT * room.left_s:
        folds = room.scored + room.unscored
        text = f"A fold is predicted to take {seconds:.2g} s; {room.left_s:.2g} s were left for all {folds}."
        return {"code": TOO_SLOW, "message": text}
    return None
