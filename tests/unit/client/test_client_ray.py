"""The Ray transport with a handle that needs no cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
import ray
from ray import exceptions

from rayctl.client.ray import RayTransport
from rayctl.client.run import Run
from rayctl.errors import (
    DeadlineExceeded,
    InvalidData,
    NotFound,
    RayctlError,
    ServerUnreachable,
    Unavailable,
)


class Handle:
    """Answers each method's calls in order; an exception is raised by `ray.get`, as a real one would be."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = answers
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        handle = self

        class Method:
            @staticmethod
            def remote(*args: Any, **kwargs: Any) -> Any:
                handle.calls.append((name, args, kwargs))
                return handle.answers[name].pop(0)

        return Method


Make = Callable[..., tuple[RayTransport, Handle]]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    def get(answer: Any, timeout: float | None = None) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr("rayctl.client.retry._sleep", lambda seconds: None)

    def build(tenant: str | None = None, **answers: list[Any]) -> tuple[RayTransport, Handle]:
        handle = Handle(**answers)
        return RayTransport(handle, timeout_s=1, tenant=tenant), handle

    return build


def task_error(cause: Exception) -> Exception:
    error = exceptions.RayTaskError("get_run", "traceback text", cause)
    return error.as_instanceof_cause()


def test_submit_passes_the_table_and_the_key(make: Make) -> None:
    transport, handle = make(do_auto_ml=["r1"], get_run=[{"id": "r1"}])
    table = pa.table({"a": [1]})
    assert transport.submit({"target": "y"}, table, "k1") == {"id": "r1"}
    assert handle.calls[0] == ("do_auto_ml", ({"target": "y"}, table, "k1"), {})


def test_the_service_errors_arrive_as_themselves(make: Make) -> None:
    sent = InvalidData("No column y.", code="missing-target", hint="It has a.")
    transport, _ = make(get_run=[task_error(sent), task_error(NotFound("No."))])
    with pytest.raises(InvalidData) as caught:
        transport.get_run("r1")
    assert type(caught.value) is InvalidData
    assert caught.value.to_problem() == sent.to_problem()
    with pytest.raises(NotFound):
        transport.get_run("r1")


def test_defects_of_the_service_are_told(make: Make) -> None:
    transport, _ = make(info=[task_error(KeyError("x"))])
    with pytest.raises(RayctlError, match="info failed in the service"):
        transport.info()


def test_a_restarting_actor_is_asked_again(make: Make) -> None:
    away = exceptions.ActorUnavailableError("restarting", None)
    transport, handle = make(get_run=[away, away, {"id": "r1"}], deploy=[away])
    assert transport.get_run("r1") == {"id": "r1"}
    with pytest.raises(Unavailable):
        transport.deploy("r1")
    assert [name for name, _, _ in handle.calls] == ["get_run"] * 3 + ["deploy"]


def test_ends_and_timeouts(make: Make) -> None:
    transport, _ = make(
        info=[exceptions.GetTimeoutError("late")],
        get_run=[exceptions.ActorDiedError()] * 7,
        cancel=[ConnectionError("gone")],
    )
    with pytest.raises(DeadlineExceeded):
        transport.info()
    with pytest.raises(Unavailable) as caught:
        transport.get_run("r1")
    assert caught.value.code == "actor-died"
    with pytest.raises(ServerUnreachable):
        transport.cancel("r1")


def test_watch_polls_until_done(make: Make) -> None:
    def entry(seq: int, kind: str) -> dict[str, Any]:
        return {"run_id": "r1", "seq": seq, "at": "", "kind": kind, "data": {"id": "r1", "state": "running"}}

    away = exceptions.ActorUnavailableError("x", None)
    transport, handle = make(
        events=[
            [entry(1, "state"), entry(2, "log")],
            [],
            away,
            [entry(3, "done")],
        ],
        get_run=[{"id": "r1", "state": "running"}],
        tenant="acme",
    )
    assert [item["seq"] for item in Run(transport, "r1").watch_documents()] == [1, 2, 3]
    asked = [kwargs for name, _, kwargs in handle.calls if name == "events"]
    assert [kwargs["after"] for kwargs in asked] == [0, 2, 2, 2]
    assert all(kwargs["tenant"] == "acme" and kwargs["wait_s"] > 0 for kwargs in asked)


def test_a_delete_whose_answer_was_lost_has_succeeded(make: Make) -> None:
    gone = task_error(NotFound("gone"))
    transport, _ = make(delete_run=[exceptions.ActorUnavailableError("x", None), gone, gone])
    transport.delete("r1")
    with pytest.raises(NotFound):
        transport.delete("r1")


def test_artifacts_come_in_pieces(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rayctl.client.ray._PIECE", 2)
    transport, handle = make(artifact=[b"ab", b"cd", b""])
    assert b"".join(transport.artifact("r1", "m")) == b"abcd"
    assert [kwargs["offset"] for _, _, kwargs in handle.calls] == [0, 2, 4]


def test_following_runs(make: Make) -> None:
    view = {"id": "r2", "state": "queued"}
    files = [{"name": "report.json", "bytes": 2, "sha256": "0"}]
    transport, handle = make(
        "acme",
        extend=["r2"],
        replay=["r2"],
        get_run=[view, view],
        finish_early=[view],
        report=[files],
        artifact=[b"{}"],
    )
    run = Run(transport, "r1")
    assert run.extend("2m", 5, idempotency_key="k1").id == "r2"
    assert run.replay(idempotency_key="k2").document == view
    assert transport.finish("r1") == view
    assert run.report_data() == {}
    tenant = {"tenant": "acme"}
    assert handle.calls[:4] == [
        ("extend", ("r1", 120.0, 5), tenant | {"idempotency_key": "k1"}),
        ("get_run", ("r2",), tenant),
        ("replay", ("r1",), tenant | {"idempotency_key": "k2"}),
        ("get_run", ("r2",), tenant),
    ]
    assert ("finish_early", ("r1",), tenant) in handle.calls


def test_what_begins_a_run_is_repeated_with_the_same_key(make: Make) -> None:
    away, view = exceptions.ActorUnavailableError("restarting", None), {"id": "r2"}
    transport, handle = make(extend=[away, "r2"], replay=[away, "r2"], get_run=[view, view])
    run = Run(transport, "r1")
    assert run.extend("1s").id == run.replay().id == "r2"
    names = [name for name, _, _ in handle.calls]
    assert names == ["extend", "extend", "get_run", "replay", "replay", "get_run"]
    keys = [kwargs["idempotency_key"] for name, _, kwargs in handle.calls if name != "get_run"]
    assert keys[0] == keys[1] != keys[2] == keys[3]


def test_ending_twice_is_ending_once(make: Make) -> None:
    transport, _ = make(finish_early=[exceptions.ActorUnavailableError("restarting", None), {"id": "r1"}])
    assert transport.finish("r1") == {"id": "r1"}


def test_metrics_travel_over_ray(make: Make) -> None:
    import cloudpickle

    from rayctl.client.automl import AutoML

    transport, handle = make(do_auto_ml=["r1"], get_run=[{"id": "r1"}])

    def hits(y_true: Any, y_pred: Any) -> float:
        return float((y_true == y_pred).mean())

    AutoML(transport).submit(pa.table({"a": [1]}), target="y", task="classification", metric=hits)
    sent = handle.calls[0][1][0]["custom_metric"]
    assert sent["name"] == "hits"
    assert cloudpickle.loads(sent["pickled"])(pa.array([1]).to_numpy(), pa.array([1]).to_numpy()) == 1.0


def test_close_once() -> None:
    closed: list[int] = []
    transport = RayTransport(None, on_close=lambda: closed.append(1))
    transport.close()
    transport.close()
    assert closed == [1]
