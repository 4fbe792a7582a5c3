"""Pods as processes, in both network modes: starts, ends, restarts, probes, grace, what is left."""

from __future__ import annotations

import asyncio
import base64
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from rayctl.kube.calls import Call
from rayctl.kube.kinds import CONFIG_MAPS, EVENTS, PODS, SECRETS
from tests.kubelet.node import MODES, Node, condition, is_ready, marked, node, status_of, until_true


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
    script = "trap '' TERM; (setsid sh -c 'while :; do sleep 1; done') & echo deaf; while :; do sleep 1; done"
    pod = await here.pod("stubborn", script, spec={"terminationGracePeriodSeconds": 1})
    await here.until("stubborn", is_ready)
    await here.until_log("stubborn", "deaf\n")  # ready is a container whose shell may not have come to its trap yet
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
    await asyncio.sleep(0.5)  # the reader is there before the end; no answer says so while the program is silent
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


async def test_init_containers_one_after_the_other_then_probes(here: Node) -> None:
    first = [
        {"name": f"i{number}", "image": "any", "command": ["sh", "-c", f"echo {number} >> $DIR/order"]}
        for number in (1, 2)
    ]
    script = "echo 3 >> $DIR/order; cat $DIR/order; sleep 2; touch $DIR/ok; sleep 1000"
    mounts = {
        "env": [{"name": "DIR", "value": "/shared/dir"}],
        "volumeMounts": [{"name": "v", "mountPath": "/shared/dir"}],
    }
    for container in first:
        container.update(mounts)
    ready = {"exec": {"command": ["test", "-e", "/shared/dir/ok"]}, "periodSeconds": 1}
    await here.pod(
        "staged",
        script,
        spec={"initContainers": first, "volumes": [{"name": "v", "emptyDir": {}}]},
        container={**mounts, "readinessProbe": ready, "startupProbe": {**ready, "failureThreshold": 30}},
    )
    seen = await here.until("staged", lambda pod: status_of(pod)["state"].get("running"))
    assert not is_ready(seen)
    assert not status_of(seen)["started"]
    assert condition(seen, "Initialized")["status"] == "True"
    assert [status_of(seen, f"i{number}")["state"]["terminated"]["reason"] for number in (1, 2)] == ["Completed"] * 2
    await here.until_log("staged", "1\n2\n3\n")
    seen = await here.until("staged", is_ready)
    assert status_of(seen)["started"]
    await here.delete("staged")


async def test_liveness_restarts_and_readiness_goes(here: Node) -> None:
    live = {"exec": {"command": ["test", "-e", "/data/dir/alive"]}, "periodSeconds": 1, "failureThreshold": 1}
    mounts = [{"name": "v", "mountPath": "/data/dir"}]
    script = "touch /data/dir/alive; trap 'exit 0' TERM; while :; do sleep 0.1; done"
    spec = {"volumes": [{"name": "v", "emptyDir": {}}]}
    probes = {"livenessProbe": {**live, "initialDelaySeconds": 1}}
    await here.pod("lively", script, spec=spec, container={"volumeMounts": mounts, **probes})
    await here.until("lively", is_ready)
    await until_true(lambda: _remove(here, "alive"))
    seen = await here.until("lively", lambda pod: status_of(pod)["restartCount"] == 1 and is_ready(pod))
    assert status_of(seen)["lastState"]["terminated"]["exitCode"] == 0
    await here.delete("lively")


def _remove(here: Node, name: str) -> bool:
    found = [path for folder in (here.folder, Path((here.folder / "short").read_text())) for path in folder.rglob(name)]
    for path in found:
        path.unlink()
    return bool(found)


async def test_references_and_volumes_follow_the_api(here: Node) -> None:
    await here.create(CONFIG_MAPS, {"metadata": {"name": "cm"}, "data": {"k": "one"}})
    secret = base64.b64encode(b"hush").decode()
    await here.create(SECRETS, {"metadata": {"name": "sec"}, "data": {"token": secret}})
    env = [
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "token"}}},
        {"name": "ALL", "value": "$(IP)/$(TOKEN)"},
    ]
    mounts = [{"name": "c", "mountPath": "/etc/conf"}, {"name": "s", "mountPath": "/var/secret", "readOnly": True}]
    volumes = [{"name": "c", "configMap": {"name": "cm"}}, {"name": "s", "secret": {"secretName": "sec"}}]
    script = "echo $ALL; cat /var/secret/token; echo; stat -L -c %a /var/secret/token; cat /etc/conf/k; echo; "
    script += "umask; until grep -q two /etc/conf/k; do sleep 0.1; done; echo changed; sleep 1000"
    await here.pod("refs", script, spec={"volumes": volumes}, container={"env": env, "volumeMounts": mounts})
    seen = await here.until("refs", is_ready)
    await here.until_log("refs", f"{seen['status']['podIP']}/hush\nhush\n600\none\n0077\n")
    await here.patch(CONFIG_MAPS, "cm", {"data": {"k": "two"}})
    await here.until_log("refs", f"{seen['status']['podIP']}/hush\nhush\n600\none\n0077\nchanged\n")
    await here.delete("refs")


async def test_what_is_missing_is_waited_for(here: Node) -> None:
    env = [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "later", "key": "k"}}}]
    await here.pod("waits", "echo $T; sleep 1000", container={"env": env})
    seen = await here.until("waits", lambda pod: status_of(pod)["state"].get("waiting", {}).get("message"))
    assert status_of(seen)["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    assert status_of(seen)["state"]["waiting"]["message"] == 'secret "later" not found'
    await here.create(SECRETS, {"metadata": {"name": "later"}, "data": {"k": base64.b64encode(b"here").decode()}})
    await here.until("waits", is_ready)
    await here.until_log("waits", "here\n")
    await here.delete("waits")


async def test_room_is_given_back(here: Node) -> None:
    await here.pod("first", container={"resources": {"requests": {"cpu": "15"}}})
    await here.until("first", is_ready)
    await here.pod("second", container={"resources": {"requests": {"cpu": "15"}}})
    await here.until("second", lambda pod: condition(pod, "PodScheduled").get("reason") == "Unschedulable")
    await here.delete("first")
    await here.until("second", is_ready)
    await here.delete("second")


@pytest.mark.security("S14")
async def test_confined(here: Node) -> None:
    """No new privileges, no core dumps, a scrubbed environment, its own folder as home."""
    script = "grep NoNewPrivs /proc/self/status; ulimit -c; ulimit -n; env | grep -c KUBECONFIG; sleep 1000"
    # Without an account's token there is no KUBECONFIG of the pod's own.
    await here.pod("confined", script, spec={"automountServiceAccountToken": False})
    await here.until("confined", is_ready)
    files = min(65_536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    await here.until_log("confined", f"NoNewPrivs:\t1\n0\n{files}\n0\n")
    await here.delete("confined")


@pytest.mark.security("S19")
async def test_refused(here: Node) -> None:
    await here.pod("host", spec={"volumes": [{"name": "v", "hostPath": {"path": "/"}}]})
    seen = await here.until("host", lambda pod: pod["status"]["phase"] == "Failed")
    assert "hostPath is not allowed" in seen["status"]["message"]
    await here.delete("host")


async def test_a_pod_at_rest_causes_no_writes(here: Node) -> None:
    await here.pod("rest", container={"readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1}})
    seen = await here.until("rest", is_ready)
    await asyncio.sleep(2.5)  # the rest itself, two probes long: there must be nothing to wait for
    after = await here.get("rest")
    assert after is not None
    assert after["metadata"]["resourceVersion"] == seen["metadata"]["resourceVersion"]
    await here.delete("rest")


@pytest.mark.security("S14")
async def test_what_a_pod_sees_of_others(here: Node) -> None:
    """In namespaces: nothing. Where all share the machine, only files' rights and names protect; that is documented."""
    if here.options.network != "netns":
        pytest.skip("only network namespaces hide pods from each other; in mode ports they share the machine")
    script = f"ls -A {here.folder}; cat {here.options.kubeconfig} 2>/dev/null | wc -l; "
    script += "ps ax | grep -c '[k]ubelet.main'; "
    script += "ip link add x type dummy 2>/dev/null; echo $?; hostname; sleep 1000"
    await here.pod("alone", script)
    await here.until("alone", is_ready)
    await here.until_log("alone", "bin\n0\n0\n2\nalone\n")
    await here.delete("alone")


async def test_sidecars_start_first_and_end_with_the_others(here: Node) -> None:
    probe = {"exec": {"command": ["test", "-e", "/the/dir/up"]}, "periodSeconds": 1, "failureThreshold": 20}
    mounts = {"volumeMounts": [{"name": "v", "mountPath": "/the/dir"}]}
    script = "sleep 1; echo side >> /the/dir/order; touch /the/dir/up; trap 'exit 0' TERM; while :; do sleep 0.1; done"
    side = {"name": "side", "image": "any", "command": ["sh", "-c", script], "restartPolicy": "Always"}
    side |= {**mounts, "startupProbe": probe}
    spec = {"initContainers": [side], "volumes": [{"name": "v", "emptyDir": {}}], "restartPolicy": "Never"}
    await here.pod("paired", "cat /the/dir/order; exit 0", spec=spec, container=mounts)
    seen = await here.until("paired", lambda pod: pod["status"]["phase"] == "Succeeded")
    assert await here.log("paired", container="main") == "side\n"
    seen = await here.until("paired", lambda pod: "terminated" in status_of(pod, "side")["state"])
    assert status_of(seen, "side")["state"]["terminated"]["exitCode"] == 0
    await here.delete("paired")


async def test_a_probe_that_takes_too_long_or_leaves_something(here: Node) -> None:
    slow = {"exec": {"command": ["sh", "-c", "sleep 77"]}, "periodSeconds": 1, "timeoutSeconds": 1}
    pod = await here.pod("slow", container={"readinessProbe": slow})
    await here.until("slow", lambda found: status_of(found)["state"].get("running"))
    events = Call.get(EVENTS.path("default"))

    async def notes() -> list[str]:
        return [
            item["note"] for item in (await here.transport.request(events))["items"] if item["reason"] == "Unhealthy"
        ]

    for _ in range(100):
        if "Readiness probe failed: command timed out after 1s" in await notes():
            break
        await asyncio.sleep(0.1)
    assert "Readiness probe failed: command timed out after 1s" in await notes()
    assert not is_ready(await here.until("slow", lambda _: True))
    await here.delete("slow")
    assert marked(pod["metadata"]["uid"]) == []
