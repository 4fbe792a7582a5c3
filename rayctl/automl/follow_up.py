"""Runs that follow another one: its continuation with more budget, and its exact repetition. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rayctl.automl.baseline import is_baseline
from rayctl.automl.model import LeaderboardRow, RunRequest, RunState, TaskType, TrialState, Validation
from rayctl.automl.request import build_request
from rayctl.errors import Conflict, InvalidRequest

__all__ = ["continuation", "refuse_unfinished", "repetition"]


def refuse_unfinished(run_id: str, state: RunState) -> None:
    """Refuse to follow a run that is still under way.

    Raises:
        Conflict: ``run-not-ended``.
    """
    if not state.is_terminal:
        raise Conflict(
            f"Run {run_id} is {state.value}; only ended runs can be followed by another.",
            code="run-not-ended",
            hint="Wait for its end, or end it early with finish.",
        )


def continuation(
    run_id: str,
    request: RunRequest,
    trials: Sequence[LeaderboardRow],
    time_budget_s: float | None,
    max_trials: int | None,
) -> RunRequest:
    """Return the request that continues a run.

    Args:
        run_id: Of the run that is continued.
        request: Its request.
        trials: Its trials.
        time_budget_s: Wall seconds for the new run.
        max_trials: How many trials more.

    Raises:
        InvalidRequest: ``missing-budget``.
    """
    if time_budget_s is None and max_trials is None:
        raise InvalidRequest(
            "How much longer is the run to go on?",
            code="missing-budget",
            hint="Give a time budget (2m), a number of further trials, or both.",
        )
    ended = sum(row.state is not TrialState.SKIPPED and not is_baseline(row) for row in trials)
    validation = _same_windows(request, trials)
    return _again(
        request,
        continues=run_id,
        replay_of=None,
        time_budget_s=time_budget_s,
        max_trials=None if max_trials is None else ended + max_trials,
        **({} if validation is None else {"validation": validation}),
    )


def repetition(run_id: str, request: RunRequest, trials: Sequence[LeaderboardRow]) -> RunRequest:
    """Return the request that repeats what finished in a run.

    Raises:
        Conflict: ``nothing-to-replay``: no trial is done.
    """
    if not any(row.state is TrialState.DONE for row in trials):
        raise Conflict(
            f"Nothing finished in run {run_id}; there is nothing to repeat.",
            code="nothing-to-replay",
            hint="Submit it anew, or extend it with a time budget.",
        )
    count = max(row.trial for row in trials) + 1
    validation = _same_windows(request, trials)
    return _again(
        request,
        continues=None,
        replay_of=run_id,
        time_budget_s=None,
        max_trials=count,
        reuse=False,
        **({} if validation is None else {"validation": validation}),
    )


def _same_windows(request: RunRequest, trials: Sequence[LeaderboardRow]) -> Validation | None:
    """Return the validation with the number of windows that a forecasting run had; None: nothing to change.

    How many there are by default depends on the time budget, which another run does not share.
    """
    windows = max((len(row.fold_scores) for row in trials if row.state is TrialState.DONE), default=0)
    if request.task is not TaskType.FORECASTING or request.validation.folds is not None or windows == 0:
        return None
    change: dict[str, object] = {"scheme": "holdout"} if windows == 1 else {"folds": windows}
    return request.validation.model_copy(update=change)


def _again(request: RunRequest, **changes: object) -> RunRequest:
    fields = {name: getattr(request, name) for name in request.model_fields_set if name != "data"}
    return build_request(fields | changes)
