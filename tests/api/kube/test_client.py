"""The Python client over HTTP against the API over an embedded Kubernetes: the same methods, the same errors."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn

from rayctl.api.app import create_app
from rayctl.api.auth import TokenBook
from rayctl.client import Connection, connect
from rayctl.errors import Conflict, DeadlineExceeded, InvalidRequest, NotFound, Unavailable
from rayctl.kube.calls import Transport
from rayctl.settings import ServiceSettings

from ..memory import MemoryService
from .conftest import Kubernetes, cluster, fleet, service_document

WORD = "t"


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    """The app, its Kubernetes and controllers in a thread with a loop of its own."""
    listening = socket.create_server(("127.0.0.1", 0))
    made: list[Kubernetes] = []

    async def way() -> Transport:
        if not made:
            made.append(await Kubernetes().start())
            asyncio.get_running_loop().keep = asyncio.ensure_future(hold(made[0]))  # type: ignore[attr-defined]
        return made[0].transport

    async def hold(kubernetes: Kubernetes) -> None:
        async with kubernetes.controllers():
            await asyncio.Event().wait()

    app = create_app(MemoryService(), tokens=TokenBook([(WORD, None)]), settings=ServiceSettings(), kubernetes=way)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    with connect(f"http://127.0.0.1:{listening.getsockname()[1]}", token=WORD) as opened:
        yield opened
    server.should_exit = True
    thread.join(10)
    listening.close()


def test_a_fleet(connection: Connection) -> None:
    fleets = connection.fleets
    planned = fleets.plan("embed", fleet("embed"))
    assert planned["verdict"] == "can start now"
    with pytest.raises(NotFound):
        fleets.get("embed")
    made = fleets.apply(fleet("embed"))
    assert (made.name, made.namespace, made.ready) == ("embed", "default", False)
    seen = fleets.wait("embed", timeout_s=30)
    assert seen.ready
    assert seen.document["spec"]["replicas"] == 2
    assert [item.name for item in fleets.list()] == ["embed"]
    assert fleets.scale("embed", 3).row["wanted"] == 3
    with pytest.raises(Conflict):
        fleets.patch("embed", {"spec": {"replicas": 4}}, version=seen.version)
    assert fleets.pause("embed").state == "paused"
    fleets.apply(fleet("embed", image="ray:2", replicas=3))
    with pytest.raises(DeadlineExceeded, match="not ready"):
        fleets.wait("embed", timeout_s=0.1)
    fleets.resume("embed")
    watched = fleets.watch()
    for change in watched:
        rollout = fleets.rollout("embed")
        if rollout["verdict"] == "complete" and rollout["revision"] == 2:
            break
        assert change.object.name == "embed"
    assert [row["revision"] for row in fleets.history("embed")] == [2, 1]
    fleets.undo("embed")
    fleets.restart("embed")
    assert fleets.explain("embed")["object"] == "rayclusterfleet/embed"
    assert isinstance(fleets.events("embed"), list)
    operation = fleets.delete("embed")
    assert operation["kind"] == "deletion"
    with pytest.raises(NotFound):
        fleets.delete("embed")
    resumed = fleets.watch(after=change.id)
    for later in resumed:
        if later.deleted:
            break
    assert later.object.name == "embed"


def test_clusters_and_services(connection: Connection) -> None:
    connection.clusters.apply(cluster("demo"), dry_run=True)
    with pytest.raises(NotFound):
        connection.clusters.get("demo")
    connection.clusters.apply(cluster("demo"))
    assert connection.clusters.suspend("demo").state == "suspended"
    connection.clusters.resume("demo")
    connection.services.apply(service_document("chat"))
    assert connection.services.switchover("chat")["verdict"] == "unobserved"
    assert connection.services.history("chat") == []
    with pytest.raises(Conflict) as caught:
        connection.services.promote("chat")
    assert caught.value.code == "no-switch"
    with pytest.raises(Conflict):
        connection.services.weight("chat", 5)
    with pytest.raises(NotFound):
        connection.services.rollback("chat")
    assert connection.sets.list(namespace="red") == []
    assert "services/chat" in [item["object"] for item in connection.operations()]
    with pytest.raises(InvalidRequest):
        connection.clusters.apply({"metadata": {}})
    with pytest.raises(InvalidRequest) as refused:
        connection.clusters.apply({**cluster("typo"), "spec": {**cluster("typo")["spec"], "workerGroupSpec": []}})
    assert "workerGroupSpec" in str(refused.value)


def test_without_http() -> None:
    class Elsewhere:
        kind = "ray"

        def close(self) -> None:
            pass

    there = Connection(Elsewhere())  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest) as caught:
        there.fleets.list()
    assert caught.value.code == "http-only"
    assert not isinstance(caught.value, Unavailable)
