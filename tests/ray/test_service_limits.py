"""Admission, limits, uploads and deletion: tests that need a proxy with settings of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from rayctl.errors import (
    Conflict,
    Forbidden,
    InvalidData,
    InvalidRequest,
    NotFound,
    QueueFull,
    RayctlError,
    ResultNotReady,
    TooLarge,
)
from tests.ray.helpers import (
    Sleeper,
    call,
    facts,
    quick_request,
    result,
    submit,
)

pytestmark = pytest.mark.ray


def test_admission_is_bounded_and_waiting_runs_start_later(
    start_proxy: Callable[..., Any], table: pd.DataFrame
) -> None:
    proxy = start_proxy(max_running=1, max_queued=1)
    blocker = submit(proxy, table, **quick_request(search_space={Sleeper: {}}, trial_timeout_s=500))
    waiting = submit(proxy, table, key="waiting")
    assert call(proxy.get_run, waiting)["queue_position"] == 1
    with pytest.raises(QueueFull):
        submit(proxy, table)
    assert submit(proxy, table, key="waiting") == waiting
    with pytest.raises(ResultNotReady):
        result(proxy, waiting, wait_s=0)
    with pytest.raises(Conflict):
        call(proxy.delete_run, waiting)
    call(proxy.cancel, blocker)
    assert result(proxy, waiting)["run"]["state"] == "succeeded"


def test_refusals_are_typed(start_proxy: Callable[..., Any], table: pd.DataFrame) -> None:
    proxy = start_proxy(max_data_bytes=50_000)

    def refused(kind: type[RayctlError], code: str, data: Any = table, via: str = "ray", **changes: Any) -> None:
        with pytest.raises(kind) as caught:
            submit(proxy, data, via=via, **quick_request(**changes))
        assert caught.value.to_problem()["code"] == code
        assert str(caught.value)

    refused(InvalidData, "missing-target", target="nope")
    refused(InvalidRequest, "unknown-model", search_space={"lihtgbm": {}})
    refused(InvalidRequest, "unknown-parameter", search_space={"linear": {"alpah": [1]}})
    refused(InvalidRequest, "unknown-metric", metric="rocauk")
    refused(InvalidRequest, "invalid-request", time_budget_s=0)
    refused(InvalidRequest, "unsatisfiable-resources", resources={"gpus": 1})
    refused(InvalidRequest, "missing-data", data=None)
    refused(TooLarge, "data-too-large", data=pd.concat([table] * 20))

    class Local(Sleeper):
        """A class that no worker could import."""

    refused(Forbidden, "pickle-forbidden", via="http", search_space={Local: {}})
    refused(Forbidden, "model-not-allowed", via="http", search_space={"os.path.Thing": {}})
    refused(Forbidden, "runtime-env-forbidden", via="http", runtime_env={"env_vars": {"A": "1"}})
    with pytest.raises(Forbidden) as caught:
        submit(proxy, None, **quick_request(data={"uri": "/etc/passwd"}))
    assert caught.value.code == "uri-forbidden"
    with pytest.raises(NotFound):
        call(proxy.get_run, "run-none")
    assert call(proxy.info)["runs"] == {}


def test_uploads_and_uris(start_proxy: Callable[..., Any], table: pd.DataFrame, tmp_path: Any) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    table.to_parquet(folder / "table.parquet")
    proxy = start_proxy(allowed_paths=[folder])
    upload = call(proxy.upload, table.to_csv(index=False).encode(), "csv")
    assert upload["rows"] == len(table)
    by_upload = submit(proxy, None, **quick_request(data={"upload": upload["upload"]}))
    by_uri = submit(proxy, None, **quick_request(data={"uri": str(folder / "table.parquet")}))
    assert facts(result(proxy, by_upload)["leaderboard"]) == facts(result(proxy, by_uri)["leaderboard"])
    with pytest.raises(NotFound):
        submit(proxy, None, **quick_request(data={"upload": upload["upload"]}, tenant="other"))


def test_deleting_removes_rows_and_files(start_proxy: Callable[..., Any], table: pd.DataFrame, tmp_path: Any) -> None:
    proxy = start_proxy()
    run_id = submit(proxy, table)
    result(proxy, run_id)
    call(proxy.delete_run, run_id)
    with pytest.raises(NotFound):
        call(proxy.get_run, run_id)
    assert not list((tmp_path / "artifacts").rglob("*.*"))
