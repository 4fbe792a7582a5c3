"""Pods as processes, in both network modes: starts, ends, restarts, probes, grace, what is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from rayctl.kube.calls import Call
from rayctl.kube.kinds import PODS
from tests.kubelet.node import MODES, Node, condition, is_ready, marked, node, status_of


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=MODES)
async def here(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with node(tmp_path_factory.mktemp("node"), request.param) as found:
        yield found


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_runs_and_goes(here: Node) -> None:
    pod = await here.pod("plain", "echo hello; setsid sleep 1000 & sleep 1000")
    seen = await here.until("plain", is_ready)
    uid = pod["metadata"]["uid"]
    assert seen["status"]["phase"] == "Running"
    assert status_of(seen)["state"]["running"]["startedAt"]
    await here.until_log("plain", "hello\n")
    assert len(marked(uid)) >= 2
    await here.delete("plain")
    assert marked(uid) == []
    assert not (here.folder / "pods" / uid).exists()


async def test_succeeds(here: Node) -> None:
    await here.pod("once", "exit 0", spec={"restartPolicy": "Never"})
    seen = await here.until("once", lambda pod: pod["status"]["phase"] == "Succeeded")
    assert status_of(seen)["state"]["terminated"]["reason"] == "Completed"
    assert condition(seen, "Ready")["reason"] == "PodCompleted"
    await here.delete("once")


async def test_crash_loop(here: Node) -> None:
    await here.pod("crash", "echo run; exit 3")
    seen = await here.until(
        "crash",
        lambda pod: (
            status_of(pod)["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"
            and status_of(pod)["restartCount"] >= 2
        ),
    )
    assert status_of(seen)["lastState"]["terminated"]["exitCode"] == 3
    assert seen["status"]["phase"] == "Running"
    assert await here.log("crash", previous=True) == "run\n"
    await here.delete("crash")


async def test_program_that_is_not_there(here: Node) -> None:
    await here.pod("none", spec={"restartPolicy": "Never"}, container={"command": ["/no/such/program"]})
    seen = await here.until("none", lambda pod: pod["status"]["phase"] == "Failed")
    ended = status_of(seen)["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "no such file" in ended["message"]
    await here.delete("none")


async def test_ignores_sigterm(here: Node) -> None:
    script = "trap '' TERM; (trap '' TERM; setsid sh -c 'while :; do sleep 1; done') & while :; do sleep 1; done"
    pod = await here.pod("stubborn", script, spec={"terminationGracePeriodSeconds": 1})
    await here.until("stubborn", is_ready)
    began = asyncio.get_running_loop().time()
    await here.delete("stubborn")
    assert 1 <= asyncio.get_running_loop().time() - began < 8
    assert marked(pod["metadata"]["uid"]) == []


async def test_grace_is_used_by_hook_and_program(here: Node) -> None:
    script = "trap 'echo term; exit 0' TERM; while :; do sleep 0.1; done"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hooked >> $HOME/said"]}}}
    script = script.replace("echo term", "cat $HOME/said; echo term")
    await here.pod("graceful", script, finalizers=["test.io/hold"], container={"lifecycle": hook})
    await here.until("graceful", is_ready)
    log = asyncio.create_task(here.log("graceful", follow=True))
    await asyncio.sleep(0.5)
    await here.transport.request(Call("DELETE", PODS.path("default", "graceful")))
    assert await log == "hooked\nterm\n"
    seen = await here.until("graceful", lambda pod: "terminated" in status_of(pod)["state"])
    assert status_of(seen)["state"]["terminated"]["exitCode"] == 0
    await here.patch(PODS, "graceful", {"metadata": {"finalizers": None}})


async def test_too_big(here: Node) -> None:
    await here.pod("big", container={"resources": {"requests": {"cpu": "17"}}})
    seen = await here.until("big", lambda pod: condition(pod, "PodScheduled"))
    found = condition(seen, "PodScheduled")
    assert (found["status"], found["reason"]) == ("False", "Unschedulable")
    assert found["message"] == "0/1 nodes are available: 1 Insufficient cpu."
    assert seen["status"]["phase"] == "Pending"
    await here.delete("big")
