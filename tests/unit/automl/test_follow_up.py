"""Runs that follow another: continuation with more budget, exact repetition."""

from __future__ import annotations

import pytest

from rayctl.automl.follow_up import continuation, refuse_unfinished, repetition
from rayctl.automl.model import LeaderboardRow, RunRequest, RunState, TrialState
from rayctl.errors import Conflict, InvalidRequest

ASKED = RunRequest.model_validate(
    {
        "task": "classification",
        "target": "y",
        "data": {"upload": "u1"},
        "time_budget_s": "2m",
        "max_trials": 50,
        "seed": 9,
        "metric": "f1",
        "validation": {"folds": 4},
        "tenant": "team",
        "name": "a run",
        "labels": {"a": "b"},
    }
)


def rows(*states: str, scores: int = 3) -> list[LeaderboardRow]:
    return [
        LeaderboardRow(
            trial=n, model="m", state=TrialState(state), fold_scores=[0.5] * scores if state == "done" else []
        )
        for n, state in enumerate(states)
    ]


def changed(before: RunRequest, after: RunRequest) -> dict[str, object]:
    old, new = before.model_dump(), after.model_dump()
    return {name: new[name] for name in new if new[name] != old[name]}


# Continuation -------------------------------------------------------------------------------------------


def test_a_continuation_asks_the_same_with_a_new_budget() -> None:
    following = continuation("r1", ASKED, rows("done", "done", "failed", "skipped"), 60.0, None)
    expected = {"continues": "r1", "time_budget_s": 60.0, "max_trials": None, "data": None}
    assert changed(ASKED, following) == expected


def test_the_number_of_trials_counts_the_new_ones_only() -> None:
    following = continuation("r1", ASKED, rows("done", "failed", "skipped", "done"), None, 10)
    assert (following.max_trials, following.time_budget_s) == (13, None)
    both = continuation("r1", ASKED, rows("done"), 5.0, 2)
    assert (both.max_trials, both.time_budget_s) == (3, 5.0)


def test_what_was_delivered_because_no_trial_had_ended_does_not_count_as_a_trial() -> None:
    trials = rows("skipped", "done")
    trials[1] = trials[1].model_copy(update={"error": {"code": "baseline", "message": "…"}})
    assert continuation("r1", ASKED, trials, None, 10).max_trials == 10


def test_a_repetition_can_be_continued() -> None:
    repeated = repetition("r1", ASKED, rows("done"))
    following = continuation("r2", repeated, rows("done"), 5.0, None)
    assert (following.continues, following.replay_of) == ("r2", None)


def test_a_continuation_needs_a_budget() -> None:
    with pytest.raises(InvalidRequest) as caught:
        continuation("r1", ASKED, rows("done"), None, None)
    assert caught.value.code == "missing-budget"


def test_what_was_not_said_stays_unsaid() -> None:
    """Defaults that depend on other fields (ensemble, folds) are decided anew, and documents stay short."""
    plain = RunRequest(task="regression", target="y")  # type: ignore[arg-type]
    following = continuation("r1", plain, [], 5.0, None)
    assert following.model_fields_set == {"task", "target", "continues", "time_budget_s"}


@pytest.mark.parametrize("kind", ["continuation", "repetition"])
def test_everything_else_that_was_asked_stays_as_it_was(kind: str) -> None:
    asked = RunRequest.model_validate(
        {
            "task": "classification",
            "target": "y",
            "search_space": [
                {"model": "a", "params": {"x": [1, None, [2, 3]], "y": ["s"]}},
                {"model": "b.C", "pickled_class": b"class"},
            ],
            "custom_metric": {"name": "mine", "path": "a.b", "greater_is_better": False, "needs_proba": True},
            "ensemble": True,
            "features": ["f"],
            "weight_column": "w",
            "runtime_env": {"pip": ["x"]},
            "resources": {"cpus": 0.5, "memory_bytes": 5},
            "trial_timeout_s": 7,
            "levels": [50],
            "max_trials": 3,
        }
    )
    done = rows("done", "done", "done")
    following = continuation("r", asked, done, None, 2) if kind == "continuation" else repetition("r", asked, done)
    budget = {"time_budget_s", "max_trials", "continues", "replay_of", "reuse"}
    assert changed(asked, following).keys() <= budget


# Repetition ---------------------------------------------------------------------------------------------


def test_a_repetition_asks_the_same_of_as_many_trials_without_a_clock() -> None:
    following = repetition("r1", ASKED, rows("done", "failed", "skipped", "skipped"))
    assert changed(ASKED, following) == {
        "replay_of": "r1",
        "time_budget_s": None,
        "max_trials": 4,
        "reuse": False,
        "data": None,
    }


@pytest.mark.parametrize("trials", [[], rows("skipped", "skipped"), rows("failed")])
def test_nothing_can_be_repeated_where_nothing_ended(trials: list[LeaderboardRow]) -> None:
    with pytest.raises(Conflict) as caught:
        repetition("r1", ASKED, trials)
    assert caught.value.code == "nothing-to-replay"


def series(**fields: object) -> RunRequest:
    plain = {"task": "forecasting", "target": "y", "time_column": "t", "horizon": 6, "time_budget_s": 10}
    return RunRequest.model_validate(plain | fields)


def test_a_forecast_is_repeated_with_as_many_windows_as_it_had() -> None:
    """Without a wish there are fewer windows if the time budget is short, and a repetition has none."""
    assert repetition("r1", series(), rows("skipped", "done", scores=2)).validation.folds == 2
    assert continuation("r1", series(), rows("skipped", "done", scores=2), 60.0, None).validation.folds == 2
    one = repetition("r1", series(), rows("done", scores=1)).validation
    assert (one.scheme, one.folds) == ("holdout", None)
    assert continuation("r1", series(), rows("failed"), 60.0, None).validation == series().validation
    wish = series(validation={"folds": 5})
    assert repetition("r1", wish, rows("done", scores=3)).validation.folds == 5
    table = RunRequest(task="regression", target="y")  # type: ignore[arg-type]
    assert repetition("r1", table, rows("done", scores=8)).validation.folds is None


@pytest.mark.parametrize("state", list(RunState))
def test_only_ended_runs_can_be_followed(state: RunState) -> None:
    if state.is_terminal:
        refuse_unfinished("r1", state)
        return
    with pytest.raises(Conflict) as caught:
        refuse_unfinished("r1", state)
    assert caught.value.code == "run-not-ended"
    assert state.value in str(caught.value)
