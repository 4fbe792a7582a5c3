"""Leaderboards and results with ensembles: weights, sizes, folds, marks."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result

from rayctl.cli.board import why_not_the_best
from rayctl.cli.output import duration_text
from rayctl.cli.progress import Progress

from .scripted import RICH, WEIGHTS
from .test_watch import VIEW

Run = Callable[..., Result]
Submit = Callable[..., str]


def test_leaderboard_of_an_ensemble(run: Run, submit: Submit) -> None:
    run_id = submit("rich")
    head, *lines = run("automl", "leaderboard", run_id).stdout.splitlines()
    assert head.split() == ["#", "MODEL", "SCORE", "±", "WEIGHT", "FOLDS", "FIT", "PREDICT", "SIZE", "STATE", "REASON"]
    best = "1 linear 0.95 0.02 75.0% █▅ 250ms 1ms 2.4MB done, capped 1"
    second = "2 lightgbm 0.9 0.01 25.0% ▃▁ 1.5s 20ms 812B done, reused"
    assert [" ".join(line.split()) for line in lines[:2]] == [best, second]
    assert "abandoned Given up: 0.5 after 1 fold" in lines[3]
    assert "too-slow A fold is predicted" in lines[4]
    wide = run("automl", "leaderboard", run_id, "-o", "wide").stdout
    assert "0.97 0.93" in wide
    assert "0:120" in wide
    rows = json.loads(run("automl", "leaderboard", run_id, "-o", "json").stdout)
    assert rows[0]["weight"] == 0.75
    assert (rows[1]["reused"], rows[0]["size_bytes"], rows[3]["error"]["code"]) == (True, 2_400_000, "abandoned")


def test_a_waiting_submit_tells_where_failed_trials_are_explained(run: Run, submit: Submit) -> None:
    submit()
    told = run("automl", "submit", "data.csv", "--target", "y", "--task", "classification", "--wait").stderr
    assert "1 trial failed: `rayctl automl leaderboard r2` says why." in told


def test_columns_that_nobody_has_are_left_out(run: Run, submit: Submit) -> None:
    head = run("automl", "leaderboard", submit()).stdout.splitlines()[0]
    assert head.split() == ["#", "MODEL", "SCORE", "±", "FIT", "PREDICT", "STATE", "REASON"]


def test_result_and_list_tell_of_the_ensemble(run: Run, submit: Submit) -> None:
    run_id = submit("rich")
    assert "0.97 = 75.0% linear #2, 25.0% lightgbm #0" in run("automl", "result", run_id).stdout
    assert json.loads(run("automl", "result", run_id, "-o", "json").stdout)["ensemble"]["weights"] == WEIGHTS
    assert "0.97 of 2 trials" in run("automl", "list", "-o", "wide").stdout
    asked = ("--target", "y", "--task", "classification", "--name", "rich", "--wait")
    waited = run("automl", "submit", "data.csv", *asked)
    assert "the model is an ensemble of 2 trials: accuracy=0.97" in waited.stdout
    assert waited.stdout.splitlines()[2].split() == ["#", "MODEL", "SCORE", "±", "WEIGHT"]
    assert "ensemble" not in run("automl", "result", submit()).stdout


@pytest.mark.parametrize(
    ("ensemble", "greater", "told"),
    [(0.98, False, True), (0.96, False, False), (0.97, False, False), (0.96, True, True), (0.98, True, False)],
)
def test_an_ensemble_that_scores_worse_than_its_best_trial_is_explained(
    ensemble: float, greater: bool, told: bool
) -> None:
    view = {"ensemble_score": ensemble, "best_score": 0.97, "greater_is_better": greater}
    assert ("chance" in why_not_the_best(view)) is told
    assert why_not_the_best({"best_score": 0.97}) == ""
    assert not told or "max_predict_ms" in why_not_the_best({**view, "max_predict_ms": 5.0})


def test_watching_shows_the_ensemble(run: Run, submit: Submit) -> None:
    lines = run("automl", "watch", submit("rich")).stdout.splitlines()
    assert lines[-2].endswith("best=0.95 model=linear ensemble=0.97 members=2")
    assert lines[-1].endswith("ensemble=0.97 members=2 reason='deadline'")
    events = [json.loads(line) for line in run("automl", "watch", submit("rich"), "-o", "json").stdout.splitlines()]
    assert [event["data"] for event in events if event["kind"] == "ensemble"] == [{"score": 0.97, "weights": WEIGHTS}]


def test_the_delivered_ensemble_replaces_the_one_so_far() -> None:
    progress = Progress(dict(VIEW))
    assert progress.ensemble == (None, {})
    progress.apply({"kind": "ensemble", "data": {"score": 0.5, "weights": {"1": 1.0, "7": 0.0}}})
    assert progress.ensemble == (0.5, {1: 1.0})
    ended = VIEW | {"state": "succeeded", "ensemble_score": 0.4, "ensemble": {"3": 1.0}}
    progress.apply({"kind": "done", "data": ended})
    assert progress.ensemble == (0.4, {3: 1.0})
    assert "ensemble=0.4 members=1" in progress.line()


def test_live_view_of_an_ensemble() -> None:
    import io

    from rich.console import Console

    from rayctl.cli.live import render

    progress = Progress(VIEW | {"greater_is_better": True})
    for row in RICH:
        progress.apply({"kind": "trial", "data": row})
    console = Console(file=io.StringIO(), width=120)
    console.print(render(progress, 5.0))
    assert "weight" not in console.file.getvalue()  # type: ignore[attr-defined]
    progress.apply({"kind": "ensemble", "data": {"score": 0.97, "weights": WEIGHTS}})
    console.print(render(progress, 5.0))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "· ensemble 0.97 of 2" in text
    assert "75.0%" in text
    assert "█▅" in text


def test_durations() -> None:
    shown = [duration_text(seconds) for seconds in (None, 0.0, 0.00001, 0.00037, 0.0043, 0.02, 4.2, 372, 7500)]
    assert shown == ["–", "0.0ms", "0.0ms", "0.37ms", "4.3ms", "20ms", "4.2s", "6m12s", "2h05m"]
