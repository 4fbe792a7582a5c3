"""Runs without a search space on a real cluster: ensembles, reuse, continuation, repetition, early ends, reports."""

from __future__ import annotations

import io
import json
import os
import signal
import time
import zipfile
from typing import Any

import pandas as pd
import pytest
import ray

from rayctl.errors import Conflict, InvalidRequest
from tests.ray.helpers import call, facts, processes_of, result, submit, wait_until

pytestmark = pytest.mark.ray


def request(**changes: Any) -> dict[str, Any]:
    """A request for the default models; few folds, because this is about the service."""
    base = {"task": "classification", "target": "target", "metric": "log_loss", "seed": 0}
    return base | {"validation": {"folds": 3}} | changes


def scores(document: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What must be equal in two runs of the same question."""
    return [(row["trial"], row["model"], row["state"], row["score"]) for row in document["leaderboard"]]


def tasks_run(proxy: Any, run_id: str) -> int:
    """Trials of a run that were computed and not taken over."""
    return sum(not row["reused"] for row in call(proxy.leaderboard, run_id))


def test_the_answer_is_an_ensemble_in_time(shared_proxy: Any, table: pd.DataFrame) -> None:
    result(shared_proxy, submit(shared_proxy, table, **request(max_trials=2, reuse=False)))  # workers are warm now
    began = time.monotonic()
    document = result(shared_proxy, submit(shared_proxy, table, **request(time_budget_s=8, reuse=False)))
    assert time.monotonic() - began < 8 + 1.5
    done = [row for row in document["leaderboard"] if row["state"] == "done"]
    assert len(done) >= 3
    weights = document["ensemble"]["weights"]
    assert sum(weights.values()) == pytest.approx(1.0)
    assert {str(row["trial"]) for row in done if row["weight"]} == set(weights)
    best = min(row["score"] for row in done)
    assert document["ensemble"]["score"] <= best + 1e-9
    assert document["run"]["ensemble_score"] == document["ensemble"]["score"]
    run_id = document["run"]["id"]
    kinds = [event["kind"] for event in call(shared_proxy.events, run_id, limit=5000)]
    assert "ensemble" in kinds
    predicted = call(shared_proxy.predict, run_id, table.drop(columns="target"), proba=True).to_pandas()
    assert (predicted["prediction"] == table["target"].to_numpy()).mean() > 0.9
    bundle = zipfile.ZipFile(io.BytesIO(call(shared_proxy.artifact, run_id, "model.zip")))
    assert not any(name.endswith((".pkl", ".pickle")) for name in bundle.namelist())


def test_the_same_question_again_repeats_nothing(shared_proxy: Any, table: pd.DataFrame) -> None:
    wanted = request(max_trials=4, seed=11)
    first = result(shared_proxy, submit(shared_proxy, table, **wanted))
    second = result(shared_proxy, submit(shared_proxy, table, **wanted))
    assert tasks_run(shared_proxy, first["run"]["id"]) == 4
    assert tasks_run(shared_proxy, second["run"]["id"]) == 0
    assert scores(first) == scores(second)
    assert first["ensemble"]["weights"] == second["ensemble"]["weights"]
    fresh = result(shared_proxy, submit(shared_proxy, table, **wanted, reuse=False))
    assert tasks_run(shared_proxy, fresh["run"]["id"]) == 4
    assert scores(fresh) == scores(first)
    assert fresh["ensemble"]["weights"] == first["ensemble"]["weights"]
    other = result(shared_proxy, submit(shared_proxy, table, **wanted, tenant="other"))
    assert tasks_run(shared_proxy, other["run"]["id"]) == 4, "tenants must not see each other's trials"


def test_a_finished_run_is_continued(shared_proxy: Any, table: pd.DataFrame) -> None:
    first = result(shared_proxy, submit(shared_proxy, table, **request(max_trials=3, seed=12)))
    run_id = first["run"]["id"]
    with pytest.raises(InvalidRequest, match="How much longer"):
        call(shared_proxy.extend, run_id)
    longer = result(shared_proxy, call(shared_proxy.extend, run_id, max_trials=2))
    assert longer["run"]["continues"] == run_id
    assert len(longer["leaderboard"]) == 5
    assert tasks_run(shared_proxy, longer["run"]["id"]) == 2
    assert longer["ensemble"]["score"] <= first["ensemble"]["score"] + 1e-9
    in_time = result(shared_proxy, call(shared_proxy.extend, longer["run"]["id"], time_budget_s=5))
    reused = [row for row in in_time["leaderboard"] if row["reused"]]
    assert len(reused) == 5


def test_a_run_bounded_by_time_is_repeated_exactly(shared_proxy: Any, table: pd.DataFrame) -> None:
    first = result(shared_proxy, submit(shared_proxy, table, **request(time_budget_s=5, seed=13, reuse=False)))
    again = result(shared_proxy, call(shared_proxy.replay, first["run"]["id"]))
    done = {row["trial"]: row["score"] for row in first["leaderboard"] if row["state"] == "done"}
    assert done
    assert {row["trial"]: row["score"] for row in again["leaderboard"] if row["state"] == "done"} == done
    assert again["ensemble"]["weights"] == first["ensemble"]["weights"]
    assert tasks_run(shared_proxy, again["run"]["id"]) == len(again["leaderboard"])


def test_a_run_is_ended_early_with_its_best_so_far(shared_proxy: Any, table: pd.DataFrame) -> None:
    run_id = submit(shared_proxy, table, **request(time_budget_s=600, seed=14, reuse=False))
    with pytest.raises(Conflict):
        call(shared_proxy.extend, run_id, max_trials=1)
    wait_until(lambda: any(row["state"] == "done" for row in call(shared_proxy.leaderboard, run_id)), 60)
    began = time.monotonic()
    call(shared_proxy.finish_early, run_id)
    document = result(shared_proxy, run_id)
    assert time.monotonic() - began < 10
    assert document["run"]["state"] == "succeeded"
    assert document["ensemble"]["weights"]


def test_a_killed_trainer_costs_almost_nothing(shared_proxy: Any, table: pd.DataFrame) -> None:
    run_id = submit(shared_proxy, table, **request(max_trials=6, seed=15))
    wait_until(lambda: sum(row["state"] == "done" for row in call(shared_proxy.leaderboard, run_id)) >= 2, 60)
    for process in processes_of("TrainerActor"):
        os.kill(process.pid, signal.SIGKILL)
    document = result(shared_proxy, run_id)
    assert [row["trial"] for row in sorted(document["leaderboard"], key=lambda row: row["trial"])] == list(range(6))
    undisturbed = result(shared_proxy, submit(shared_proxy, table, **request(max_trials=6, seed=15, reuse=False)))
    assert facts(document["leaderboard"]) == facts(undisturbed["leaderboard"])
    assert document["ensemble"]["weights"] == undisturbed["ensemble"]["weights"]


def test_a_report_is_built_once(shared_proxy: Any, table: pd.DataFrame) -> None:
    document = result(shared_proxy, submit(shared_proxy, table, **request(max_trials=4, seed=11)))
    run_id = document["run"]["id"]
    files = call(shared_proxy.report, run_id)
    names = {file["name"] for file in files}
    assert {"report.html", "report.json"} <= names
    page = call(shared_proxy.artifact, run_id, "report.html").decode()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "http://" not in page.replace("http://www.w3.org", "")
    found = json.loads(call(shared_proxy.artifact, run_id, "report.json"))
    assert found["importance"], "permutation importance belongs to the report"
    assert call(shared_proxy.report, run_id) == files


def test_series_get_a_combined_forecast_with_intervals(shared_proxy: Any) -> None:
    months = pd.date_range("2015-01-01", periods=84, freq="MS")
    frames = []
    for number in range(6):
        season = pd.Series(range(84)).mod(12).sub(6).abs() * (number + 1)
        frames.append(pd.DataFrame({"shop": f"s{number}", "month": months, "sales": 50.0 + season + 0.2 * number}))
    series = pd.concat(frames)
    wanted = {"task": "forecasting", "target": "sales", "time_column": "month", "id_columns": ["shop"], "horizon": 6}
    document = result(shared_proxy, submit(shared_proxy, series, **wanted, max_trials=4))
    assert document["run"]["state"] == "succeeded"
    assert len(document["forecast"]) == 36
    first = document["forecast"][0]
    assert first["lower_80"] <= first["prediction"] <= first["upper_80"]
    assert first["lower_95"] <= first["lower_80"]
    assert "report.html" in {file["name"] for file in call(shared_proxy.report, document["run"]["id"])}
    assert ray.is_initialized()
