"""`rayctl plan | rollout | diff` against a real embedded server, with the controllers running in this process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from rayctl.cli.main import cli
from rayctl.core.host import ControllerHost, HostSettings
from rayctl.fleet.controller import FleetController
from rayctl.kube.calls import MERGE, Call
from rayctl.kube.errors import KubernetesError
from rayctl.kube.http import HttpTransport, load_configuration
from rayctl.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, RAY_CLUSTERS
from rayctl.manifests import crd_documents
from rayctl.replicaset.controller import ReplicaSetController
from rayctl.replicaset.status import rfc3339
from tests.contract.servers import Running, serving
from tests.unit.fleet.worlds import fleet
from tests.unit.replicaset.worlds import template

_names = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("fleets")) as running:
        ready, stop = threading.Event(), threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(_controllers(running, ready, stop)), daemon=True)
        thread.start()
        assert ready.wait(60)
        yield running
        stop.set()
        thread.join(30)


async def _controllers(running: Running, ready: threading.Event, stop: threading.Event) -> None:
    """The controllers, and an operator that makes ready all clusters but those whose image is ``broken``."""
    transport = HttpTransport(await load_configuration(str(running.kubeconfig)))
    for document in crd_documents("RayCluster", "RayClusterFleet", "RayClusterReplicaSet"):
        await transport.request(Call("POST", CUSTOM_RESOURCE_DEFINITIONS.path(), body=document))
    host = ControllerHost(
        transport, [FleetController(), ReplicaSetController()], HostSettings("test", "kube-system"), time.time
    )
    task = asyncio.ensure_future(host.run())
    ready.set()
    while not stop.is_set():
        with contextlib.suppress(KubernetesError):  # the kind is not served yet
            await _operate(transport)
        await asyncio.sleep(0.05)  # between two looks at another process; the condition decides
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await transport.close()


async def _operate(transport: HttpTransport) -> None:
    for item in (await transport.request(Call.get(RAY_CLUSTERS.path())))["items"]:
        image = item["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
        if item.get("status") or image == "broken":
            continue
        at = rfc3339(time.time())
        conditions = [
            {"type": kind, "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": at}
            for kind in ("HeadPodReady", "RayClusterProvisioned")
        ]
        status = {"state": "ready", "readyWorkerReplicas": 9, "conditions": conditions}
        path = RAY_CLUSTERS.path("default", item["metadata"]["name"], "status")
        await transport.request(Call("PATCH", path, body={"status": status}, content_type=MERGE))


@pytest.fixture
def run(server: Running) -> Callable[..., Result]:
    def call(*arguments: str, given: str | None = None) -> Result:
        options = ["--kubeconfig", str(server.kubeconfig), "-n", "default"]
        return CliRunner().invoke(cli, [*arguments, *options], input=given)

    return call


def manifest(name: str, image: str = "ray:1", replicas: int = 2, **more: Any) -> str:
    made = template(image=image, labels={"app": name})
    for group in (made["spec"]["headGroupSpec"], *made["spec"]["workerGroupSpecs"]):
        group["template"]["spec"]["containers"][0]["name"] = "ray"
    document = fleet(name, replicas=replicas, made=made, selector={"matchLabels": {"app": name}}, **more)
    return yaml.safe_dump(document)


def apply(server: Running, text: str) -> None:
    async def send() -> None:
        transport = HttpTransport(await load_configuration(str(server.kubeconfig)))
        document = yaml.safe_load(text)
        path = (
            f"/apis/orchestration.aibrix.ai/v1alpha1/namespaces/default/rayclusterfleets/{document['metadata']['name']}"
        )
        await transport.request(Call.apply(path, document, "test"))
        await transport.close()

    asyncio.run(send())


@pytest.fixture
def name() -> str:
    return f"f{next(_names)}"


def ready(run: Callable[..., Result], name: str) -> Result:
    result = run("rollout", "status", f"fleet/{name}", "--wait", "--timeout", "60s")
    assert result.exit_code == 0, result.output
    return result


def test_a_fleet_from_its_plan_to_its_undoing(server: Running, run: Callable[..., Result], name: str) -> None:
    planned = run("plan", "-f", "-", given=manifest(name))
    assert planned.exit_code == 10, planned.output
    assert "peak     2 clusters" in planned.output
    foreseen = json.loads(run("plan", "-f", "-", "-o", "json", given=manifest(name)).output)
    apply(server, manifest(name))
    assert f"fleet/{name}  rev 1   ✔ Complete 2/2" in ready(run, name).output
    view = json.loads(run("rollout", "status", f"fleet/{name}", "-o", "json").output)
    made = [f"cluster {item['name']}" for item in view["revisions"][0]["clusters"]]
    assert [s["what"] for s in foreseen["steps"] if s["do"] == "create"] == [
        f"set {view['revisions'][0]['set']}",
        *made,
    ]
    assert run("plan", f"fleet/{name}").exit_code == 0
    assert run("diff", "-f", "-", given=manifest(name)).exit_code in (0, 10)

    changed = run("diff", "-f", "-", given=manifest(name, "ray:2"))
    assert changed.exit_code == 10
    assert "+            image: ray:2" in changed.output or "image: ray:2" in changed.output
    apply(server, manifest(name, "ray:2"))
    ready(run, name)
    rows = json.loads(run("rollout", "history", f"fleet/{name}", "-o", "json").output)
    assert [(row["revision"], row["images"]) for row in rows] == [(2, ["ray:2"]), (1, ["ray:1"])]

    undone = run("rollout", "undo", f"fleet/{name}", "--wait", "--timeout", "60s")
    assert undone.exit_code == 0, undone.output
    assert "went back to revision 1" in undone.output
    rows = json.loads(run("rollout", "history", f"fleet/{name}", "-o", "json").output)
    assert [(row["revision"], row["images"]) for row in rows] == [(3, ["ray:1"]), (2, ["ray:2"])]
    shown = run("rollout", "history", f"fleet/{name}", "--revision", "2")
    assert "image: ray:2" in shown.output
    assert "pod-template-hash" not in shown.output


def test_pause_resume_and_restart(server: Running, run: Callable[..., Result], name: str) -> None:
    apply(server, manifest(name, replicas=1))
    ready(run, name)
    assert run("rollout", "pause", f"fleet/{name}").exit_code == 0
    assert run("rollout", "restart", f"fleet/{name}").exit_code == 0
    assert run("rollout", "status", f"fleet/{name}", "--wait", "--timeout", "1s").exit_code == 5
    assert f"fleet/{name}  rev 1   ‖ Paused 0/1" in run("rollout", "status", f"fleet/{name}").output
    planned = run("plan", f"fleet/{name}")
    assert planned.exit_code == 4
    assert f"hint     `rayctl rollout resume fleet/{name}` goes on." in planned.output
    resumed = run("rollout", "resume", f"fleet/{name}", "--wait", "--timeout", "60s")
    assert resumed.exit_code == 0, resumed.output
    assert len(json.loads(run("rollout", "history", f"fleet/{name}", "-o", "json").output)) == 2


def test_a_failed_rollout_and_its_abort(server: Running, run: Callable[..., Result], name: str) -> None:
    apply(server, manifest(name, replicas=1))
    ready(run, name)
    assert run("rollout", "abort", f"fleet/{name}").exit_code == 6  # nothing to abort
    apply(server, manifest(name, "broken", replicas=1, progressDeadlineSeconds=1))
    failed = run("rollout", "status", f"fleet/{name}", "--wait", "--timeout", "60s")
    assert failed.exit_code == 4, failed.output
    assert "ProgressDeadlineExceeded" in failed.output
    aborted = run("rollout", "abort", f"fleet/{name}", "--wait", "--timeout", "60s")
    assert aborted.exit_code == 0, aborted.output  # as asked
    assert "RolledBack" in aborted.output
    view = json.loads(run("rollout", "status", f"fleet/{name}", "-o", "json").output)
    assert view["verdict"] == "rolled-back"


def test_what_has_no_steps_is_not_promoted_and_what_was_given_up_not_aborted(
    server: Running, run: Callable[..., Result], name: str
) -> None:
    apply(server, manifest(name, replicas=1))
    ready(run, name)
    promoted = run("rollout", "promote", f"fleet/{name}")
    assert promoted.exit_code == 6
    assert "RollingUpdate has no steps" in promoted.output
    apply(server, manifest(name, "broken", replicas=1))
    deadline = time.monotonic() + 60
    while run("rollout", "abort", f"fleet/{name}", "--wait", "--timeout", "60s").exit_code != 0:
        assert time.monotonic() < deadline  # it has not begun yet
    again = run("rollout", "abort", f"fleet/{name}")
    assert again.exit_code == 6
    assert "has been given up already" in again.output


def test_waiting_ends_when_a_rollout_is_rolled_back(run: Callable[..., Result], name: str) -> None:
    options = {"progressDeadlineSeconds": 1, "rollout": {"onFailure": "RollBack"}}
    made = run("apply", "-f", "-", "--wait", "--timeout", "60s", given=manifest(name, replicas=1, **options))
    assert made.exit_code == 0, made.output
    worse = run("apply", "-f", "-", "--wait", "--timeout", "60s", given=manifest(name, "broken", 1, **options))
    assert worse.exit_code == 4, worse.output
    assert "was given up" in worse.output
    status = run("rollout", "status", f"fleet/{name}")
    assert status.exit_code == 4
    assert "↩ Rolled back 1/1" in status.output
    # What was good before can still be scaled; taking the template back makes the fleet ready.
    scaled = run("scale", f"rcf/{name}", "--replicas", "2", "--wait", "--timeout", "60s")
    assert scaled.exit_code == 0, scaled.output
    undone = run("rollout", "undo", f"fleet/{name}", "--wait", "--timeout", "60s")
    assert undone.exit_code == 0, undone.output


def test_waiting_for_what_cannot_be_ends_at_once(run: Callable[..., Result], name: str) -> None:
    wrong = manifest(name, replicas=1, strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "many"}})
    result = run("apply", "-f", "-", "--wait", "--timeout", "60s", given=wrong)
    assert result.exit_code == 4, result.output
    assert "'many' is neither an integer nor a percentage" in result.output


def test_a_canary_is_promoted(server: Running, run: Callable[..., Result], name: str) -> None:
    rollout = {"strategy": "Canary", "steps": [{"setReplicas": 1}, {"pause": {}}]}
    apply(server, manifest(name, rollout=rollout))
    ready(run, name)
    apply(server, manifest(name, "ray:2", rollout=rollout))
    deadline = time.monotonic() + 60
    while "step 2 of 2: pause" not in run("rollout", "status", f"fleet/{name}").output:
        assert time.monotonic() < deadline
    promoted = run("rollout", "promote", f"fleet/{name}", "--wait", "--timeout", "60s")
    assert promoted.exit_code == 0, promoted.output
    assert "step 2 promoted" in promoted.output
    again = run("rollout", "promote", f"fleet/{name}")
    assert again.exit_code == 6
    assert "all 2 steps are done" in again.output


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("rollout", "status", "fleet/none"), 3, "not found"),
        (("rollout", "status", "pod/x"), 2, "does not name a fleet"),
        (("rollout", "undo", "fleet/none"), 3, "not found"),
        (("plan",), 2, "What is to be planned?"),
        (("plan", "-f", "/nowhere.yaml"), 2, "cannot be read"),
        (("diff", "-f", "/nowhere.yaml"), 2, "cannot be read"),
        (("rollout", "abrot", "fleet/x"), 2, "abort"),
    ],
)
def test_what_is_wrong_is_told(run: Callable[..., Result], arguments: tuple[str, ...], code: int, text: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert text in result.output


def test_dry_run_changes_nothing(server: Running, run: Callable[..., Result], name: str) -> None:
    apply(server, manifest(name, replicas=1))
    ready(run, name)
    result = run("rollout", "restart", f"fleet/{name}", "--dry-run")
    assert "(server dry run)" in result.output
    assert len(json.loads(run("rollout", "history", f"fleet/{name}", "-o", "json").output)) == 1


def test_the_file_is_named(tmp_path: Path, run: Callable[..., Result]) -> None:
    path = tmp_path / "pod.yaml"
    path.write_text("kind: Pod\nmetadata: {name: x}\n")
    result = run("plan", "-f", str(path))
    assert result.exit_code == 2
    assert "has no RayClusterFleet" in result.output
