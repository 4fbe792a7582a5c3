"""The port over an actor handle: errors, retries, time limits. The handle is a stand-in; no Ray is started."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from rayctl.api import ray_service
from rayctl.api.ray_service import RayService
from rayctl.errors import DeadlineExceeded, InvalidRequest, NotFound, RayctlError, Unavailable


class Handle:
    """Answers each call with the next of its answers; exceptions are raised, None never answers."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        handle = self

        class Method:
            async def remote(self, *args: Any, **kwargs: Any) -> Any:
                handle.calls.append((name, args, kwargs))
                answer = handle.answers.pop(0)
                if answer is None:
                    await asyncio.Event().wait()
                if isinstance(answer, Exception):
                    raise answer
                return answer

        return Method()


def task_error(cause: Exception) -> Exception:
    return RayTaskError("f", "the traceback", cause, "p", 1, "127.0.0.1").as_instanceof_cause()


AWAY = ActorUnavailableError("gone", None)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_service, "_RETRY_PAUSE_S", 0)


async def test_errors_of_the_service_come_back_as_they_were() -> None:
    raised = InvalidRequest("no", code="special", errors=[{"pointer": "/a", "message": "b"}], retry_after_s=3)
    with pytest.raises(InvalidRequest) as caught:
        await RayService(lambda: Handle(task_error(raised))).get_run("x")
    assert type(caught.value) is InvalidRequest
    assert caught.value.to_problem() == raised.to_problem()


async def test_other_errors_tell_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RayctlError) as caught:
        await RayService(lambda: Handle(task_error(OSError("/secret")))).get_run("x")
    assert caught.value.http_status == 500
    assert "secret" not in str(caught.value)
    assert "the traceback" in caplog.text


async def test_reads_are_repeated_once() -> None:
    handle = Handle(AWAY, {"id": "x"}, AWAY, AWAY)
    service = RayService(lambda: handle)
    assert await service.get_run("x", tenant="red") == {"id": "x"}
    assert handle.calls == [("get_run", ("x",), {"tenant": "red"})] * 2
    with pytest.raises(Unavailable):
        await service.get_run("x")
    assert not handle.answers


async def test_a_request_is_repeated_only_with_a_key() -> None:
    handle = Handle(AWAY, "run-1")
    assert await RayService(lambda: handle).do_auto_ml({}, b"", idempotency_key="k", via="http") == "run-1"
    assert handle.calls[0] == handle.calls[1] == ("do_auto_ml", ({}, b""), {"idempotency_key": "k", "via": "http"})
    handle = Handle(AWAY, "run-1")
    with pytest.raises(Unavailable, match="restarting") as caught:
        await RayService(lambda: handle).do_auto_ml({})
    assert "may have done" in str(caught.value.hint)
    assert len(handle.calls) == 1


async def test_following_runs_is_repeated_only_with_a_key() -> None:
    handle = Handle(AWAY, "run-2", AWAY, "run-3")
    service = RayService(lambda: handle)
    sent = {"tenant": "red", "idempotency_key": "k"}
    assert await service.extend("x", 60.0, 3, **sent) == "run-2"
    assert await service.replay("x", **sent) == "run-3"
    assert handle.calls == [("extend", ("x", 60.0, 3), sent)] * 2 + [("replay", ("x",), sent)] * 2


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.delete_run("x"),
        lambda s: s.upload(b""),
        lambda s: s.deploy("x"),
        lambda s: s.undeploy("x"),
        lambda s: s.extend("x", 60.0),
        lambda s: s.replay("x"),
    ],
)
async def test_other_writes_are_not_repeated(call: Any) -> None:
    handle = Handle(AWAY, None)
    with pytest.raises(Unavailable):
        await call(RayService(lambda: handle))
    assert len(handle.calls) == 1


async def test_a_dead_actor_is_looked_for_again() -> None:
    handles = [Handle(ActorDiedError()), Handle([], [])]
    service = RayService(lambda: handles.pop(0))
    assert await service.list_deployments() == []
    assert await service.list_deployments() == []
    assert not handles


async def test_an_actor_that_cannot_be_found() -> None:
    def find() -> Any:
        raise ActorDiedError()

    with pytest.raises(Unavailable):
        await RayService(find).info()


async def test_calls_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_service, "_READ_S", 0.0)
    with pytest.raises(DeadlineExceeded):
        await RayService(lambda: Handle(None)).events("x")


async def test_watch_goes_on_where_it_was() -> None:
    events = [{"seq": seq, "kind": "done" if seq == 3 else "log"} for seq in (1, 2, 3)]
    handle = Handle(events[:2], [], AWAY, events[2:])
    assert [event["seq"] async for event in RayService(lambda: handle).watch("x")] == [1, 2, 3]
    assert [kwargs["after"] for _, _, kwargs in handle.calls] == [0, 2, 2, 2]


async def test_every_method_passes_the_tenant_on() -> None:
    handle = Handle(*[{}] * 13)
    service = RayService(lambda: handle)
    for call in (
        service.get_run("x", tenant="red"),
        service.list_runs(tenant="red"),
        service.leaderboard("x", tenant="red"),
        service.get_result("x", tenant="red"),
        service.cancel("x", tenant="red"),
        service.finish_early("x", tenant="red"),
        service.extend("x", 60.0, 3, tenant="red"),
        service.replay("x", tenant="red"),
        service.report("x", tenant="red"),
        service.artifact("x", "y", tenant="red"),
        service.predict("x", tenant="red"),
        service.deploy("x", tenant="red"),
        service.list_deployments(tenant="red"),
    ):
        await call
    assert {kwargs["tenant"] for _, _, kwargs in handle.calls} == {"red"}


async def test_not_found_is_not_taken_for_an_absent_actor() -> None:
    with pytest.raises(NotFound):
        await RayService(lambda: Handle(task_error(NotFound("x")))).get_run("x")
