"""Documents made of database rows: the score over time, weights in leaderboards, results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rayctl.automl.model import LeaderboardRow, RunState, TrialState
from rayctl.automl.views import (
    ended_without_result,
    leaderboard_rows,
    not_ready,
    result_document,
    run_view,
    timeline,
)

START = "2026-11-21T10:00:00Z"


def event(kind: str, second: float, **data: Any) -> dict[str, Any]:
    return {"kind": kind, "at": f"2026-11-21T10:00:{second:06.3f}Z", "data": data}


def trial(second: float, number: int, score: float | None) -> dict[str, Any]:
    return event("trial", second, trial=number, model=f"m{number}", score=score)


EVENTS = [
    event("state", 0, state="running"),
    trial(1.5, 0, 0.7),
    event("log", 1.6, message="hello"),
    trial(2.0, 2, None),
    trial(3.25, 1, 0.5),
    event("ensemble", 4.0, score=0.75, weights={"0": 1.0}),
    trial(5.0, 3, 0.9),
    event("done", 6.0),
]


def test_the_timeline_has_every_done_trial_and_every_choice_of_weights() -> None:
    assert timeline(EVENTS, START, True) == [
        {"elapsed_s": 1.5, "trial": 0, "model": "m0", "score": 0.7, "best": 0.7},
        {"elapsed_s": 3.25, "trial": 1, "model": "m1", "score": 0.5, "best": 0.7},
        {"elapsed_s": 4.0, "ensemble": 0.75},
        {"elapsed_s": 5.0, "trial": 3, "model": "m3", "score": 0.9, "best": 0.9},
    ]


def test_the_best_so_far_follows_the_direction_of_the_metric() -> None:
    assert [entry["best"] for entry in timeline(EVENTS, START, False) if "best" in entry] == [0.7, 0.5, 0.5]


def test_a_best_score_of_zero_counts() -> None:
    entries = timeline([trial(1, 0, 0.0), trial(2, 1, 0.5), trial(3, 2, -0.5)], START, False)
    assert [entry["best"] for entry in entries] == [0.0, 0.0, -0.5]


def test_a_run_that_has_not_begun_has_no_timeline() -> None:
    assert timeline(EVENTS, None, True) == []
    assert timeline([], START, True) == []


def database_row(**changes: Any) -> dict[str, Any]:
    request = {"task": "classification", "target": "y", "seed": 4, "continues": "r0", "labels": {"a": "b"}}
    summary = {"rows": 10, "columns": ["x", "y"], "features": ["x"], "fingerprint": "f" * 64}
    combination = {"weights": {"0": 0.25, "2": 0.75}, "score": 0.93}
    result = {"trial": 2, "combination": combination, "artifacts": [{"name": "model.zip"}], "versions": {"ray": "2"}}
    return {
        "id": "r1",
        "tenant": "t",
        "request": json.dumps(request),
        "summary": json.dumps(summary),
        "state": "succeeded",
        "reason": "completed",
        "error": None,
        "metric": "roc_auc",
        "greater_is_better": True,
        "time_budget_s": None,
        "created_at": 1000.0,
        "started_at": 1001.0,
        "finished_at": 1011.5,
        "deadline_at": None,
        "cancel_requested": False,
        "planned": 3,
        "done": 3,
        "failed": 0,
        "skipped": 0,
        "running": 0,
        "best_score": 0.9,
        "best_model": "m",
        "best_trial": 2,
        "result": json.dumps(result),
        "tenant_version": 3,
    } | changes


TRIALS = [
    LeaderboardRow(trial=n, model="m", state=TrialState.DONE, score=score) for n, score in enumerate([0.8, 0.7, 0.9])
]


def test_the_view_of_a_succeeded_run_tells_what_was_delivered() -> None:
    view = run_view(database_row(), now=5000.0)
    assert (view.elapsed_s, view.ensemble, view.ensemble_score) == (10.5, {0: 0.25, 2: 0.75}, 0.93)
    assert (view.continues, view.seed, view.trials.done) == ("r0", 4, 3)


def test_the_view_warns_where_only_the_baseline_was_delivered() -> None:
    assert run_view(database_row(), now=5000.0).warnings == []
    combination = {"weights": {"2": 1.0}, "score": 0.5, "settings": {"baseline": True}}
    (warning,) = run_view(database_row(result=json.dumps({"combination": combination})), now=5000.0).warnings
    assert "more time" in warning


def test_a_running_run_has_no_ensemble_yet_and_its_clock_runs() -> None:
    view = run_view(database_row(state="running", finished_at=None, result=None), now=1003.0, queue_position=2)
    assert (view.elapsed_s, view.ensemble, view.ensemble_score, view.queue_position) == (2.0, None, None, 2)
    assert run_view(database_row(started_at=None, finished_at=None, result=None), now=1003.0).elapsed_s == 0.0


def test_the_leaderboard_has_ranks_and_once_there_is_a_result_weights() -> None:
    rows = leaderboard_rows(database_row(), TRIALS)
    assert [(row.trial, row.rank, row.weight) for row in rows] == [(2, 1, 0.75), (0, 2, 0.25), (1, 3, 0.0)]
    running = leaderboard_rows(database_row(result=None), TRIALS)
    assert [row.weight for row in running] == [None] * 3
    assert [row.trial for row in leaderboard_rows(database_row(greater_is_better=False), TRIALS)] == [1, 0, 2]


def test_the_result_says_what_was_delivered_and_how_to_repeat_it() -> None:
    row = database_row()
    document = result_document(row, run_view(row, 5000.0), leaderboard_rows(row, TRIALS), forecast=[1])
    assert document["best"]["trial"] == 2
    assert document["ensemble"] == {"weights": {"0": 0.25, "2": 0.75}, "score": 0.93}
    assert document["forecast"] == [1]
    assert document["reproduce"]["data_fingerprint"] == "f" * 64
    assert document["reproduce"]["seed"] == 4
    json.dumps(document)
    assert "forecast" not in result_document(row, run_view(row, 5000.0), TRIALS)


def test_a_missing_result_is_explained() -> None:
    running = run_view(database_row(state="running", result=None), 5000.0)
    assert "running" in str(not_ready(running))
    cancelled = run_view(database_row(state="cancelled", result=None), 5000.0)
    assert ended_without_result(cancelled).code == "run-cancelled"
    error = {"code": "all-trials-failed", "message": "they broke", "hint": "look"}
    failed = ended_without_result(run_view(database_row(state="failed", result=None, error=json.dumps(error)), 5000.0))
    assert (failed.code, failed.hint) == ("all-trials-failed", "look")
    assert "they broke" in str(failed)
    bare = ended_without_result(run_view(database_row(state="failed", result=None, reason="lost"), 5000.0))
    assert "lost" in str(bare)
    assert RunState.FAILED.is_terminal


@pytest.mark.parametrize("at", ["2026-11-21T10:00:02Z", "2026-11-21T10:00:02+00:00"])
def test_times_are_understood_with_and_without_a_z(at: str) -> None:
    entries = timeline([{"kind": "ensemble", "at": at, "data": {"score": 1.0}}], START, True)
    assert entries == [{"elapsed_s": 2.0, "ensemble": 1.0}]
