"""The answer of a run in which no trial ended in time: the best guess without a model. Pure.

It is fitted in milliseconds when everything else is over, so other runs pay nothing for it; their report compares with
it. It is never one of the trials that a run may try, is not kept for later runs, and is delivered alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rayctl.automl.actions import FoldResult, FoldShape
from rayctl.automl.engine import Candidate
from rayctl.automl.leaderboard import trial_row
from rayctl.automl.model import LeaderboardRow, RunRequest, TrialState

__all__ = ["BASELINE", "NO_TRIAL", "baseline_row", "baseline_warning", "falls_back", "is_baseline", "next_number"]

BASELINE = "baseline"
"""The model that knows the target alone (tables), and the code of the row of what is delivered instead of trials."""
NO_TRIAL = "no-trial-finished"
"""Code of the error of a run whose time was up before any trial had ended."""


def falls_back(error: Mapping[str, Any] | None, request: RunRequest) -> bool:
    """Whether the baseline is delivered instead of this error: never for models that the caller chose."""
    return request.search_space is None and (error or {}).get("code") == NO_TRIAL


def is_baseline(row: LeaderboardRow) -> bool:
    """Whether a row stands for what was delivered because no trial had ended."""
    return (row.error or {}).get("code") == BASELINE


def next_number(rows: Sequence[LeaderboardRow]) -> int:
    """Return the number after those of all trials."""
    return max((row.trial for row in rows), default=-1) + 1


def baseline_row(
    trial: int, candidate: Candidate, results: Mapping[int, FoldResult], shapes: Sequence[FoldShape]
) -> LeaderboardRow:
    """Return the leaderboard's row of the baseline. ``results``: of the scored folds."""
    error = {"code": BASELINE, "message": "No model was ready in time; this is the best guess without one."}
    return trial_row(trial, candidate, TrialState.DONE, results, shapes, error)


def baseline_warning(combination: Mapping[str, Any] | None) -> str | None:
    """Return what to say about a run that delivered this stored combination; None if it consists of trials."""
    if not ((combination or {}).get("settings") or {}).get(BASELINE):
        return None
    return (
        "Only the baseline was ready: no model had been trained when the search ended, so the result predicts without "
        "one. Extend the run, or give it more time."
    )
