"""A kubelet is killed and another one comes: pods go on, ends are noticed, what nobody wants is ended."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from rayctl.kube.calls import Call
from rayctl.kube.kinds import PODS
from tests.kubelet.node import MODES, Node, is_ready, marked, node, status_of, until_true


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=MODES)
async def here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with node(tmp_path_factory.mktemp("node"), request.param) as found:
        yield found


def loop_of(uid: str) -> int:
    """Return the shell of a pod that runs the loop, the oldest that looks like it; 0 before its program has begun."""

    def runs(pid: int) -> bool:
        try:
            return "trap" in Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            return False  # it has just ended

    return min(filter(runs, marked(uid)), default=0)


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_kill_9_of_the_kubelet(here: Node) -> None:
    stays = await here.pod("stays", "trap 'exit 5' USR1; while :; do sleep 0.1; done", spec={"restartPolicy": "Never"})
    ends = await here.pod("ends", "sleep 2; exit 3", spec={"restartPolicy": "Never"})
    goes = await here.pod("goes")
    for name in ("stays", "ends", "goes"):
        await here.until(name, is_ready)
    uid = stays["metadata"]["uid"]
    await until_true(lambda: loop_of(uid) > 0)  # a container runs from the moment that its process is there
    before = loop_of(uid)
    here.stop(signal.SIGKILL)
    # Deleted by force while nobody looks: the API forgets it at once.
    await here.delete("goes", grace_s=0)
    await asyncio.sleep(2.5)  # the time that passes without a kubelet is what is tested: the program ends in it
    here.start()
    seen = await here.until("ends", lambda pod: pod["status"]["phase"] == "Failed")
    assert status_of(seen)["state"]["terminated"]["exitCode"] == 3
    seen = await here.until("stays", is_ready)
    assert (status_of(seen)["restartCount"], status_of(seen)["containerID"][-2:]) == (0, "/0")
    assert loop_of(uid) == before, "its processes are not the same"
    await until_true(lambda: not marked(goes["metadata"]["uid"]))
    # The new kubelet learns how an adopted run ended.
    os.kill(before, signal.SIGUSR1)
    seen = await here.until("stays", lambda pod: pod["status"]["phase"] == "Failed")
    assert status_of(seen)["state"]["terminated"]["exitCode"] == 5
    assert marked(ends["metadata"]["uid"]) == []
    for name in ("stays", "ends"):
        await here.delete(name)


async def test_deleted_while_no_kubelet_runs(here: Node) -> None:
    pod = await here.pod("orphan", "setsid sleep 1000 & sleep 1000")
    await here.until("orphan", is_ready)
    here.stop(signal.SIGKILL)
    await here.transport.request(Call("DELETE", PODS.path("default", "orphan")))
    here.start()
    await here.until_gone("orphan")
    assert marked(pod["metadata"]["uid"]) == []


async def test_the_shim_is_killed(here: Node) -> None:
    """What a shim leaves when it is killed is noticed, restarted, and does not survive the pod."""
    pod = await here.pod("headless", "(setsid setsid sleep 1000 &) ; sleep 1000")
    await here.until("headless", is_ready)
    await asyncio.sleep(0.3)  # its grandchild gets a session of its own, which nothing tells from outside
    uid = pod["metadata"]["uid"]
    folder = next((here.folder / "pods" / uid / "containers").rglob("started.json"))
    shim = int(folder.read_text().split('"pid": ')[1].split(",")[0])
    os.kill(shim, signal.SIGKILL)
    seen = await here.until("headless", lambda found: status_of(found)["restartCount"] == 1 and is_ready(found))
    assert status_of(seen)["lastState"]["terminated"]["exitCode"] == 137
    await here.delete("headless")
    assert marked(uid) == []
