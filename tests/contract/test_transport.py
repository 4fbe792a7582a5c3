"""The HTTP transport against the embedded server over TLS: errors, watches, a reflector through a restart."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from rayctl.errors import InvalidRequest
from rayctl.kube.calls import APPLY, MERGE, OPENED, Call, Resource
from rayctl.kube.errors import (
    AlreadyExists,
    Denied,
    Expired,
    NoAnswer,
    ObjectNotFound,
    Rejected,
    WriteConflict,
    from_status,
)
from rayctl.kube.http import HttpTransport, load_configuration
from rayctl.kube.reflector import Reflector, Selection
from rayctl.kube.store import Store
from tests.contract.servers import serving, start

MAPS = Resource("", "v1", "configmaps", "ConfigMap")
ALL = MAPS.path("default")
ONE = MAPS.path("default", "a")


async def test_answers_and_errors(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        transport = HttpTransport(await load_configuration(str(server.kubeconfig)))
        try:
            made = await transport.request(Call("POST", ALL, body={"metadata": {"name": "a"}, "data": {"v": "ä"}}))
            assert made["data"] == {"v": "ä"}
            with pytest.raises(AlreadyExists) as raised:
                await transport.request(Call("POST", ALL, body={"metadata": {"name": "a"}}))
            assert (raised.value.status, raised.value.outcome_unknown) == (409, False)
            with pytest.raises(ObjectNotFound):
                await transport.request(Call.get(MAPS.path("default", "none")))
            with pytest.raises(ObjectNotFound, match=r"could not find the requested resource|page not found"):
                await transport.request(Call.get("/apis/none.io/v1/things"))
            with pytest.raises(Rejected) as refused:
                await transport.request(Call("POST", ALL, body={"metadata": {"name": "Not A Name"}}))
            assert refused.value.status == 422
            assert refused.value.causes[0].field == "metadata.name"
            copied = pickle.loads(pickle.dumps(refused.value))  # noqa: S301 -- our own
            assert (copied.status, copied.causes, copied.message) == (422, refused.value.causes, refused.value.message)
            stale = {"metadata": {"resourceVersion": "1"}, "data": {"v": "2"}}
            with pytest.raises(WriteConflict):
                await transport.request(Call("PATCH", ONE, body=stale, content_type=MERGE))
            document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"v": "3"}}
            with pytest.raises(WriteConflict) as clash:
                await transport.request(Call.apply(ONE, document, "other", force=False))
            assert [cause.field for cause in clash.value.causes] == [".data.v"]
            applied = await transport.request(Call.apply(ONE, document, "other"))
            assert applied["data"] == {"v": "3"}
            tried = Call("PATCH", ONE, body=document, content_type=APPLY).asking(fieldManager="x", dryRun="All")
            assert not tried.writes
            await transport.request(tried.asking(force=True))
            assert (await transport.request(Call.get(ONE)))["metadata"]["resourceVersion"] == applied["metadata"][
                "resourceVersion"
            ]
            old = Call.get(ALL).asking(watch=True, resourceVersion="1")
            events = [event async for event in transport.watch(old, 5.0)]
            assert [event["type"] for event in events] == [OPENED, "ERROR"]
            with pytest.raises(Expired):
                raise from_status(events[1]["object"]["code"], events[1]["object"], None, False)
        finally:
            await transport.close()


@pytest.mark.security("S1")
async def test_who_is_not_known_is_told_so_and_who_is_not_there_too(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        configuration = await load_configuration(str(server.kubeconfig))
        configuration.api_key = {"BearerToken": "Bearer wrong"}
        transport = HttpTransport(configuration)
        with pytest.raises(Denied) as raised:
            await transport.request(Call.get(ALL))
        assert raised.value.status == 401
        assert "wrong" not in str(raised.value)
        await transport.close()
    transport = HttpTransport(configuration)
    with pytest.raises(NoAnswer) as absent:
        await transport.request(Call("POST", ALL, body={"metadata": {"name": "b"}}))
    assert not absent.value.outcome_unknown  # nothing can have been sent
    await transport.close()
    with pytest.raises(InvalidRequest, match="No way to a Kubernetes API"):
        await load_configuration(str(tmp_path / "none"))


async def test_a_server_that_stops_answering_is_noticed(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        transport = HttpTransport(await load_configuration(str(server.kubeconfig)))
        await transport.request(Call("POST", ALL, body={"metadata": {"name": "a"}}))
        watch = transport.watch(Call.get(ALL).asking(watch=True, resourceVersion="0"), silence_s=0.5)
        assert (await anext(watch))["type"] == OPENED
        assert (await anext(watch))["object"]["kind"] == "ConfigMap"
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(NoAnswer):
                await _exhaust(watch)
            with pytest.raises(NoAnswer) as raised:
                await transport.request(Call("POST", ALL, body={"metadata": {"name": "b"}}, timeout_s=0.5))
            assert raised.value.outcome_unknown
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
            await transport.close()


async def test_a_reflector_outlives_the_server(tmp_path: Path) -> None:
    server = start(tmp_path)
    transport = HttpTransport(await load_configuration(str(server.kubeconfig)))
    store, changed = Store(), asyncio.Event()
    reflector = Reflector(transport, Selection(MAPS, "default"), store, lambda change: changed.set())
    task = asyncio.ensure_future(reflector.run())
    try:
        await asyncio.wait_for(reflector.synced.wait(), 10)
        await transport.request(Call("POST", ALL, body={"metadata": {"name": "a"}}))
        await _until(lambda: store.get("default", "a") is not None, changed)
        server.process.kill()
        server.process.wait(10)
        server = start(tmp_path, port=server.port)
        await transport.request(Call("DELETE", ONE))
        await transport.request(Call("POST", ALL, body={"metadata": {"name": "b"}}))
        await _until(lambda: store.get("default", "b") is not None and store.get("default", "a") is None, changed)
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await transport.close()
        server.process.terminate()
        server.process.wait(20)


async def _exhaust(watch: AsyncGenerator[dict[str, Any], None]) -> None:
    async for _ in watch:
        pass


async def _until(holds: Callable[[], bool], changed: asyncio.Event) -> None:
    async def waiting() -> None:
        while not holds():
            changed.clear()
            await changed.wait()

    await asyncio.wait_for(waiting(), 30)
