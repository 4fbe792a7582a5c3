"""Finish, extend, replay, why."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from click.testing import Result

from rayctl.cli.explain import explain_run, explain_trial

from .conftest import Server
from .scripted import RICH, WEIGHTS

Run = Callable[..., Result]
Submit = Callable[..., str]


def test_finish(run: Run, submit: Submit, server: Server) -> None:
    slow = submit("slow")
    assert run("automl", "finish", slow, "--dry-run").stdout == f"run {slow} would be finished, is running\n"
    assert server.service.runs[slow]["state"] == "running"
    assert run("automl", "finish", slow, "--wait").stdout == f"run {slow} succeeded\n"
    assert json.loads(run("automl", "finish", slow, "-o", "json").stdout)["state"] == "succeeded"
    why = run("automl", "why", slow).stdout
    assert "because  somebody ended its search with `finish`" in why
    assert f"you can  rayctl automl extend {slow} --time-budget 2m" in why


def test_extend(run: Run, submit: Submit, server: Server) -> None:
    old = submit("rich")
    result = run("automl", "extend", old, "--time-budget", "2m", "--max-trials", "5")
    assert (result.exit_code, result.stdout) == (0, "r2\n")
    assert f"continues {old}" in result.stderr
    wanted = server.service.requests[1][0]
    assert (wanted["continues"], wanted["time_budget_s"], wanted["max_trials"]) == (old, 120.0, 8)
    assert json.loads(run("automl", "extend", old, "--max-trials", "1", "-o", "json").stdout)["continues"] == old
    watched = run("automl", "extend", old, "--time-budget", "1m", "--watch")
    assert watched.exit_code == 0
    assert "state=succeeded" in watched.stdout.splitlines()[-1]
    assert f"continues {old}" in run("automl", "list", "-o", "wide").stdout


def test_the_same_key_extends_once(run: Run, submit: Submit, server: Server) -> None:
    old = submit()
    asked = ("automl", "extend", old, "--max-trials", "2", "--idempotency-key", "k")
    assert run(*asked).stdout == run(*asked).stdout == "r2\n"
    assert len(server.service.requests) == 2
    replayed = ("automl", "replay", old, "--idempotency-key", "other")
    assert run(*replayed).stdout == run(*replayed).stdout == "r3\n"
    for _ in range(2):
        run("automl", "replay", old)
    assert len(server.service.requests) == 5, "without a key every call begins a run"


def test_extensions_that_are_refused(run: Run, submit: Submit, server: Server) -> None:
    slow = submit("slow")
    running = run("automl", "extend", slow, "--time-budget", "2m")
    assert running.exit_code == 6
    assert "finish" in next(line for line in running.stderr.splitlines() if line.startswith("hint:"))
    assert running.stderr.splitlines()[-1] == "code:  run-not-ended"
    assert run("automl", "replay", slow).exit_code == 6
    for options, text in (
        ([], "By how much?"),
        (["--time-budget", "soon"], "not a duration"),
        (["--time-budget", "0s"], "not a duration"),
        (["--max-trials", "0"], "x>=1"),
        (["--time-budget", "99d"], "code:  bad-duration"),
    ):
        result = run("automl", "extend", slow, *options)
        assert (result.exit_code, result.stdout) == (2, ""), options
        assert text in result.stderr
    assert len(server.service.requests) == 1


def test_replay(run: Run, submit: Submit, server: Server) -> None:
    old = submit()
    assert run("automl", "replay", old, "-o", "name").stdout == "r2\n"
    assert (server.service.requests[1][0]["replay_of"], server.service.requests[1][0]["reuse"]) == (old, False)
    watched = run("automl", "replay", old, "--watch", "-o", "json")
    assert json.loads(watched.stdout.splitlines()[-1])["kind"] == "done"


def test_why_of_a_run(run: Run, submit: Submit) -> None:
    run_id = submit("rich")
    text = run("automl", "why", run_id).stdout
    assert text.splitlines()[0] == f"run {run_id} succeeded after 59s"
    assert "because  its time budget of 1m00s was used up" in text
    assert "because  the model is an ensemble of 2 trials, accuracy 0.97 (the best single trial: linear" in text
    assert "abandoned: trial 3 (knn): Given up: 0.5" in text
    assert f"you can  rayctl automl extend {run_id} --time-budget 2m" in text
    assert f"rayctl automl why {run_id} 1 " in text
    assert "\x1b" not in text
    document = json.loads(run("automl", "why", run_id, "-o", "json").stdout)
    assert [(item["state"], item["code"], item["trials"]) for item in document["outcomes"]] == [
        ("done", None, [0, 2]),
        ("failed", "model-error", [1]),
        ("skipped", "abandoned", [3]),
        ("skipped", "too-slow", [4]),
    ]
    assert yaml.safe_load(run("automl", "why", run_id, "-o", "yaml").stdout) == document


def test_why_of_a_trial(run: Run, submit: Submit) -> None:
    run_id = submit("rich")
    best = run("automl", "why", run_id, "2").stdout
    assert "it ended with accuracy 0.95 ± 0.02, place 1 of 2" in best
    assert "a share of 75.0% in the delivered model" in best
    assert "time ended its fit early: fold 0 after 120 rounds" in best
    slow = run("automl", "why", run_id, "4").stdout
    assert "A fold is predicted to take 90 s" in slow
    assert f"rayctl automl extend {run_id}" in slow
    missing = run("automl", "why", run_id, "99")
    assert missing.exit_code == 3
    assert missing.stderr.splitlines()[-1] == "code:  trial-not-found"
    assert run("automl", "why", run_id, "x").exit_code == 2


def test_why_a_run_failed_or_goes_on(run: Run, submit: Submit) -> None:
    failed = run("automl", "why", submit("fail")).stdout
    assert "because  every trial failed" in failed
    slow = submit("slow")
    going = run("automl", "why", slow).stdout
    assert going.startswith(f"run {slow} is running")
    assert f"rayctl automl finish {slow}" in going


VIEW: dict[str, Any] = {"id": "r", "state": "succeeded", "metric": "rmse", "elapsed_s": 10.0, "best_model": "lightgbm"}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"reason": "completed", "max_trials": 7}, "all of its 7 trials have ended"),
        ({"reason": "completed"}, "all of its 5 trials have ended"),
        ({"reason": "deadline", "time_budget_s": 60.0}, "was too short for more"),
        ({"reason": "finished-early", "time_budget_s": 60.0}, "ended its search with `finish`, after 10s of 1m00s"),
        ({"reason": "finished-early", "max_trials": 40}, "somebody ended its search with `finish`"),
        ({"reason": "deadline", "time_budget_s": 10.5}, "time budget of 10s was used up"),
        ({"state": "queued", "queue_position": 3}, "it is number 3 in the queue"),
        ({"state": "running", "time_budget_s": 60.0, "max_trials": 9, "trials": {"done": 2}}, "50s of its time budget"),
        ({"state": "cancelled", "reason": "cancelled"}, "somebody cancelled it"),
        ({"state": "failed", "error": {"message": "m", "hint": "do this"}}, "do this"),
        ({"reason": "completed", "continues": "r0"}, "it continues run r0 (1 of its trials were taken over)"),
        ({"reason": "completed", "replay_of": "r0"}, "it repeats run r0"),
        ({"reason": "deadline", "warnings": ["Only the baseline was ready"]}, "Only the baseline was ready"),
        ({"reason": "completed", "ensemble": WEIGHTS, "ensemble_score": 0.4}, "an ensemble of 2 trials, rmse 0.4"),
    ],
)
def test_reasons(fields: dict[str, Any], text: str) -> None:
    found = explain_run(VIEW | fields, RICH)
    assert any(text in reason for reason in found["because"]), found["because"]


def test_every_code_of_the_service_is_explained() -> None:
    import re
    from pathlib import Path

    import rayctl.automl.schedule
    from rayctl.automl.skipping import TOO_LARGE, TOO_SLOW
    from rayctl.errors import TrialError

    known = set(re.findall(r"``([a-z-]+)``", str(TrialError.__doc__)))
    source = Path(str(rayctl.automl.schedule.__file__)).read_text()
    known |= set(re.findall(r'"code": "([a-z-]+)"', source)) | set(rayctl.automl.schedule.CLOSED)
    known |= {TOO_LARGE, TOO_SLOW}
    assert len(known) >= 12
    for code in known:
        row = {"trial": 1, "model": "m", "state": "skipped", "error": {"code": code, "message": "text"}}
        because = explain_trial(VIEW, row, [row])["because"]
        assert because.index("text") == 1, f"{code} has no meaning in rayctl.automl.outcomes"


def test_completion(run: Run) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_RAYCTL_COMPLETE" in run("completion", shell).stdout
    assert run("completion", "tcsh").exit_code == 2
