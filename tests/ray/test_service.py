"""The proxy, its trainers and their tasks on a real Ray cluster."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import ray

from rayctl.automl.port import RAY_NAMESPACE
from rayctl.errors import (
    IdempotencyConflict,
    InvalidData,
    RunFailed,
)
from tests.ray.helpers import (
    Glutton,
    Leaver,
    Moody,
    NanPredictor,
    Raiser,
    Sleeper,
    call,
    facts,
    no_trainer_is_left,
    processes_of,
    quick_request,
    result,
    submit,
    wait_until,
)

pytestmark = pytest.mark.ray


def test_a_run_from_submission_to_prediction(shared_proxy: Any, table: pd.DataFrame) -> None:
    run_id = submit(shared_proxy, table)
    document = result(shared_proxy, run_id)
    assert document["run"]["state"] == "succeeded"
    assert [row["rank"] for row in document["leaderboard"]] == [1, 2, 3, 4]
    assert document["best"]["score"] > 0.9
    assert {a["name"] for a in document["artifacts"]} >= {"model.zip", "leaderboard.csv", "predictions.parquet"}
    assert document["reproduce"]["seed"] == 0

    predicted = call(shared_proxy.predict, run_id, table.drop(columns="target"), proba=True)
    assert isinstance(predicted, pa.Table)
    accuracy = (predicted.to_pandas()["prediction"] == table["target"].to_numpy()).mean()
    assert accuracy > 0.9
    with pytest.raises(InvalidData) as caught:
        call(shared_proxy.predict, run_id, table.iloc[:, 2:])
    assert "mean radius" in str(caught.value.to_problem())
    wait_until(no_trainer_is_left)


def test_whatever_the_frame_the_leaderboard_is_the_same(shared_proxy: Any, table: pd.DataFrame) -> None:
    import polars

    arrow = pa.Table.from_pandas(table, preserve_index=False)
    reference = ray.put(table)
    dataset = ray.data.from_pandas(table)
    forms = [table, polars.from_arrow(arrow), arrow, [reference], table.to_csv(index=False).encode(), dataset]
    runs = [submit(shared_proxy, form) for form in forms]
    boards = [facts(result(shared_proxy, run_id)["leaderboard"]) for run_id in runs]
    assert all(board == boards[0] for board in boards)


def test_events_stream_in_order_and_end(shared_proxy: Any, table: pd.DataFrame) -> None:
    run_id = submit(shared_proxy, table)
    streamed = [ray.get(ref) for ref in shared_proxy.watch.options(num_returns="streaming").remote(run_id)]
    assert [event["seq"] for event in streamed] == list(range(1, len(streamed) + 1))
    assert streamed[-1]["kind"] == "done"
    assert sorted(e["data"]["trial"] for e in streamed if e["kind"] == "trial") == [0, 1, 2, 3]
    resumed = call(shared_proxy.events, run_id, after=3)
    assert resumed == streamed[3:]


def test_a_forgotten_run_leaves_no_process_behind(shared_proxy: Any, table: pd.DataFrame) -> None:
    run_id = submit(shared_proxy, table)
    wait_until(lambda: call(shared_proxy.get_run, run_id)["state"] == "succeeded")
    wait_until(no_trainer_is_left)
    wait_until(lambda: not processes_of("train_and_evaluate"))


@pytest.mark.parametrize(
    ("model", "code"),
    [
        (Raiser, "model-error"),
        (NanPredictor, "invalid-prediction"),
        (Glutton, "out-of-memory"),
        (Leaver, "worker-died"),
    ],
)
def test_a_bad_model_is_a_failed_row_and_the_others_go_on(
    shared_proxy: Any, table: pd.DataFrame, model: type, code: str
) -> None:
    space = {model: {}, "linear": {"C": [1.0]}}
    wanted = quick_request(search_space=space, max_trials=2, metric="accuracy", resources={"memory_bytes": 300 * 2**20})
    document = result(shared_proxy, submit(shared_proxy, table, **wanted))
    rows = {row["trial"]: row for row in document["leaderboard"]}
    assert rows[0]["state"] == "failed"
    assert rows[0]["error"]["code"] == code
    assert rows[0]["error"]["message"]
    assert rows[1]["state"] == "done"
    assert document["best"]["trial"] == 1


def test_a_hanging_model_is_stopped_at_its_time_cap(shared_proxy: Any, table: pd.DataFrame) -> None:
    wanted = quick_request(search_space={Sleeper: {}, "linear": {}}, max_trials=2, trial_timeout_s=5.0)
    document = result(shared_proxy, submit(shared_proxy, table, **wanted))
    rows = {row["trial"]: row for row in document["leaderboard"]}
    assert rows[0]["error"]["code"] == "trial-timeout"
    assert rows[1]["state"] == "done"


def test_quick_trials_share_tasks_and_none_suffers_for_another(shared_proxy: Any, table: pd.DataFrame) -> None:
    space = {Moody: {"x": list(range(40)), "raises": [12], "hangs": [20]}}
    wanted = {"search_space": space, "max_trials": 40, "trial_timeout_s": 1.0, "metric": "accuracy"}
    run_id = submit(shared_proxy, table, **quick_request(**wanted, validation={"scheme": "holdout"}))
    rows = {row["trial"]: row for row in result(shared_proxy, run_id)["leaderboard"]}
    failed = {trial: row["error"]["code"] for trial, row in rows.items() if row["state"] != "done"}
    assert failed == {12: "model-error", 20: "trial-timeout"}
    assert len(rows) == 40
    assert len({row["score"] for row in rows.values() if row["state"] == "done"}) == 2


def test_when_all_models_fail_the_run_has_failed_and_says_why(shared_proxy: Any, table: pd.DataFrame) -> None:
    run_id = submit(shared_proxy, table, **quick_request(search_space={Raiser: {}}))
    with pytest.raises(RunFailed) as caught:
        result(shared_proxy, run_id)
    assert caught.value.code == "all-trials-failed"
    assert "no solution for these rows" in caught.value.message


def test_the_deadline_is_kept_although_a_model_hangs(shared_proxy: Any, table: pd.DataFrame) -> None:
    assert call(shared_proxy.warmed)
    space = [{"model": "linear"}, {"model": Sleeper}, {"model": "knn"}]
    began = time.monotonic()
    document = result(
        shared_proxy, submit(shared_proxy, table, **quick_request(search_space=space, max_trials=None, time_budget_s=8))
    )
    took = time.monotonic() - began
    assert took < 8 + 1.5
    assert document["run"]["state"] == "succeeded"
    assert document["run"]["reason"] == "deadline"
    assert {row["state"] for row in document["leaderboard"]} == {"done", "skipped"}


def test_two_users_cancel_at_once_and_nothing_is_left(shared_proxy: Any, table: pd.DataFrame) -> None:
    run_id = submit(shared_proxy, table, **quick_request(search_space={Sleeper: {}}, trial_timeout_s=500))
    wait_until(lambda: processes_of("train_and_evaluate"))
    began = time.monotonic()
    ray.get([shared_proxy.cancel.remote(run_id), shared_proxy.cancel.remote(run_id)], timeout=30)
    wait_until(lambda: call(shared_proxy.get_run, run_id)["state"] == "cancelled", 10)
    assert time.monotonic() - began < 3
    with pytest.raises(RunFailed) as caught:
        result(shared_proxy, run_id)
    assert caught.value.code == "run-cancelled"
    assert call(shared_proxy.cancel, run_id)["state"] == "cancelled"
    wait_until(no_trainer_is_left)
    wait_until(lambda: not processes_of("train_and_evaluate"))


def test_idempotency_keys(shared_proxy: Any, table: pd.DataFrame) -> None:
    first = submit(shared_proxy, table, key="k")
    assert submit(shared_proxy, table, key="k") == first
    with pytest.raises(IdempotencyConflict):
        submit(shared_proxy, table, key="k", **quick_request(seed=1))
    with pytest.raises(IdempotencyConflict):
        submit(shared_proxy, table.iloc[:-1], key="k")


def test_tasks_get_their_resources_and_environment(shared_proxy: Any, table: pd.DataFrame) -> None:
    class Reporter:
        """Succeeds only inside of the environment that the request asked for."""

        def fit(self, features: Any, target: Any) -> Reporter:
            import os

            assert os.environ["GREETING"] == "hello"
            assert ray.get_runtime_context().get_assigned_resources()["CPU"] == 2.0
            return self

        def predict(self, features: Any) -> Any:
            return [1] * len(features)

    wanted = quick_request(
        search_space={Reporter: {}},
        metric="accuracy",
        resources={"cpus": 2},
        runtime_env={"env_vars": {"GREETING": "hello"}},
        validation={"scheme": "holdout"},
    )
    assert result(shared_proxy, submit(shared_proxy, table, **wanted))["best"]["state"] == "done"


def test_names_are_as_promised(shared_proxy: Any, table: pd.DataFrame) -> None:
    run_id = submit(shared_proxy, table, **quick_request(search_space={Sleeper: {}}, trial_timeout_s=500))
    assert ray.get_actor("automl-proxy", namespace=RAY_NAMESPACE) is not None

    def trainer() -> Any:
        try:
            return ray.get_actor(f"trainer-{run_id}", namespace=RAY_NAMESPACE)
        except ValueError:
            return None  # it is being made

    wait_until(trainer)
    call(shared_proxy.cancel, run_id)
