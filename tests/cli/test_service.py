"""`rayctl service` against a real embedded server, with the controller running in this process; Ray is played."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rayctl.cli.main import cli
from rayctl.core.host import ControllerHost, HostSettings
from rayctl.core.plan import Ref
from rayctl.kube.calls import MERGE, Call
from rayctl.kube.errors import KubernetesError
from rayctl.kube.http import HttpTransport, load_configuration
from rayctl.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, PODS, RAY_CLUSTERS, RAY_SERVICES, SERVICES
from rayctl.manifests import crd_documents
from rayctl.service.controller import RayServiceController
from tests.contract.servers import Running, serving
from tests.unit.service.world import cluster_spec, ray_service


class Played:
    """Serve APIs: applications run at once, except on images called ``slow``."""

    def __init__(self) -> None:
        self.configs: dict[str, Any] = {}

    async def look(self, cluster: Mapping[str, Any]) -> Mapping[str, Any]:
        config = self.configs.get(cluster["metadata"]["uid"]) or {}
        image = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
        status = "DEPLOYING" if "slow" in image else "RUNNING"
        apps = {app["name"]: {"status": status, "deployed_app_config": app} for app in config.get("applications", ())}
        details = {"applications": apps, "target_capacity": config.get("target_capacity")}
        proxies = {"controller_info": {"node_id": "n"}, "proxies": {"n": {"status": "HEALTHY"}}}
        return {"ok": True, "details": {**details, **proxies}}

    async def in_flight(self, cluster: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> int | None:
        return 0

    async def call(self, cluster: Ref, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.configs[cluster.uid] = request["body"]
        return {}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("services")) as running:
        ready, stop = threading.Event(), threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(_controllers(running, ready, stop)), daemon=True)
        thread.start()
        assert ready.wait(60)
        yield running
        stop.set()
        thread.join(30)


async def _controllers(running: Running, ready: threading.Event, stop: threading.Event) -> None:
    transport = HttpTransport(await load_configuration(str(running.kubeconfig)))
    for document in crd_documents("RayCluster", "RayService"):
        await transport.request(Call("POST", CUSTOM_RESOURCE_DEFINITIONS.path(), body=document))
    played = Played()
    host = ControllerHost(
        transport, [RayServiceController(played)], HostSettings("test", "kube-system"), time.time, played
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
    """Every RayCluster gets a ready head, and nothing else."""
    for item in (await transport.request(Call.get(RAY_CLUSTERS.path("default"))))["items"]:
        name, uid = item["metadata"]["name"], item["metadata"]["uid"]
        if item.get("status"):
            continue
        owner = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "name": name, "uid": uid, "controller": True}
        labels = {"ray.io/cluster": name, "ray.io/node-type": "head", "ray.io/serve": "false"}
        metadata = {"name": f"{name}-head", "labels": labels, "ownerReferences": [owner]}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {"containers": [{"name": "r", "image": "r"}]},
        }
        await transport.request(Call("POST", PODS.path("default"), body=pod))
        body: dict[str, Any] = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        path = PODS.path("default", f"{name}-head", "status")
        await transport.request(Call("PATCH", path, body=body, content_type=MERGE))
        body = {"status": {"state": "ready", "observedGeneration": 1}}
        await transport.request(
            Call("PATCH", RAY_CLUSTERS.path("default", name, "status"), body=body, content_type=MERGE)
        )


Run = Callable[..., Result]


@pytest.fixture
def run(server: Running) -> Run:
    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, [*arguments, "--kubeconfig", str(server.kubeconfig)])
        assert result.exit_code == code, result.output
        return result

    return call


def ask(server: Running, call: Call) -> Any:
    async def once() -> Any:
        transport = HttpTransport(await load_configuration(str(server.kubeconfig)))
        try:
            return await transport.request(call)
        finally:
            await transport.close()

    return asyncio.run(once())


def edit(server: Running, name: str, image: str) -> None:
    body = {"spec": {"rayClusterConfig": cluster_spec(image, workers=0)}}
    ask(server, Call("PATCH", RAY_SERVICES.path("default", name), body=body, content_type=MERGE))


def started(server: Running, run: Run, name: str) -> None:
    document = ray_service(name, rayClusterConfig=cluster_spec(workers=0))
    document["metadata"]["annotations"] = {"rayctl.io/drain-timeout": "1s"}
    ask(server, Call("POST", RAY_SERVICES.path("default"), body=document))
    output = run("service", "status", name, "--wait", "--timeout", "60s").output
    assert "serving" in output
    assert "1 endpoints" in output


def view(run: Run, name: str, code: int) -> dict[str, Any]:
    found = json.loads(run("service", "status", name, "-o", "json", code=code).stdout)
    assert isinstance(found, dict)
    return found


def until(server: Running, name: str, verdict: str) -> dict[str, Any]:
    from rayctl.service.view import EXIT_CODES

    end = time.monotonic() + 60
    found: dict[str, Any] = {}
    while time.monotonic() < end:
        options = ["-o", "json", "--kubeconfig", str(server.kubeconfig)]
        result = CliRunner().invoke(cli, ["service", "status", name, *options])
        found = json.loads(result.stdout)
        if found["verdict"] == verdict:
            assert result.exit_code == EXIT_CODES[verdict]
            return found
        time.sleep(0.1)  # between two looks at another process; the condition decides
    raise AssertionError(f"never {verdict}: {found}")


def test_a_switch_is_shown_and_returned_from(server: Running, run: Run) -> None:
    started(server, run, "first")
    before = view(run, "first", 0)["entries"]
    edit(server, "first", "ray:2")
    until(server, "first", "serving")
    run("service", "status", "first", "--wait", "--timeout", "60s")
    shown = until(server, "first", "serving")
    assert shown["entries"]["head"] == shown["entries"]["serve"] != before["serve"]
    text = run("service", "status", "first").output
    for word in ("prepare", "promote-head", "promote-serve", "traffic 100 %"):
        assert word in text
    rows = json.loads(run("service", "history", "first", "-o", "json").stdout)
    assert [row["image"] for row in rows] == ["ray:2", "ray:1"]
    assert "Switched" in run("service", "history", "first", "--switches").output
    output = run("service", "rollback", "first", "--wait", "--timeout", "60s").output
    assert "returns to revision 1" in output
    services = ask(server, Call.get(RAY_CLUSTERS.path("default", view(run, "first", 0)["entries"]["serve"])))
    assert services["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"] == "ray:1"


def test_a_switch_that_waits_is_explained_and_aborted(server: Running, run: Run) -> None:
    started(server, run, "second")
    before = view(run, "second", 0)["entries"]
    edit(server, "second", "slow:2")
    shown = until(server, "second", "switching")
    assert any("abort" in item["command"] for item in shown["you_can"])
    assert "second (dry run)" not in run("service", "abort", "second", "--dry-run=client").output
    run("service", "abort", "second", "--wait", "--timeout", "60s")
    shown = until(server, "second", "rolled-back")
    assert shown["entries"] == before
    assert shown["reason"] == "Aborted"
    assert "try the same change again" in run("service", "status", "second", code=4).output
    assert "no-switch" in run("service", "abort", "second", code=6).output
    run("service", "promote", "second", "--retry")
    until(server, "second", "switching")
    run("service", "rollback", "second", "--wait", "--timeout", "60s")
    assert until(server, "second", "serving")["entries"] == before


def test_weights_by_hand(server: Running, run: Run) -> None:
    started(server, run, "third")
    body = {"metadata": {"annotations": {"rayctl.io/promotion": "manual"}}}
    ask(server, Call("PATCH", RAY_SERVICES.path("default", "third"), body=body, content_type=MERGE))
    edit(server, "third", "ray:2")
    until(server, "third", "switching")
    run("service", "weight", "third", "25")
    end = time.monotonic() + 60
    weights: dict[str, int] = {}
    while time.monotonic() < end and sorted(weights.values()) != [25, 75]:
        service = ask(server, Call.get(SERVICES.path("default", "third-serve-svc")))
        weights = json.loads((service["metadata"].get("annotations") or {}).get("rayctl.io/weights", "{}"))
        time.sleep(0.1)  # between two looks at another process; the condition decides
    pending = view(run, "third", 5)["switch"]["to"]
    assert weights[pending] == 25
    run("service", "weight", "third", code=2)
    run("service", "promote", "third", "--wait", "--timeout", "60s")
    assert until(server, "third", "serving")["entries"]["serve"] == pending
    service = ask(server, Call.get(SERVICES.path("default", "third-serve-svc")))
    assert "rayctl.io/weights" not in service["metadata"]["annotations"]


def test_an_edit_is_foretold(server: Running, run: Run, tmp_path: Path) -> None:
    started(server, run, "fourth")
    file = tmp_path / "service.yaml"
    document = ray_service("fourth", rayClusterConfig=cluster_spec("ray:2", workers=0))
    file.write_text(json.dumps(document))
    text = run("service", "plan", "-f", str(file), code=10).output
    assert "switch: a new cluster takes over" in text
    assert "drain and delete" in text
    document["spec"]["rayClusterConfig"] = cluster_spec(workers=0)
    file.write_text(json.dumps(document))
    assert "nothing changes" in run("service", "plan", "-f", str(file)).output
    document["spec"]["serveConfigV2"] = "["
    file.write_text(json.dumps(document))
    found = json.loads(run("service", "plan", "-f", str(file), "-o", "json", code=4).stdout)
    assert found[0]["kind"] == "invalid"


def test_what_is_not_there(run: Run) -> None:
    assert "not" in run("service", "status", "nobody", code=3).output
    run("service", "status", "fleet/nobody", code=2)


def test_apply_waits_until_the_new_side_serves(server: Running, run: Run, tmp_path: Path) -> None:
    started(server, run, "fifth")
    file = tmp_path / "service.yaml"
    document = ray_service("fifth", rayClusterConfig=cluster_spec(workers=0))
    document["spec"]["rayClusterConfig"] = cluster_spec("ray:3", workers=0)
    file.write_text(json.dumps(document))
    before = view(run, "fifth", 0)["entries"]
    run("apply", "-f", str(file), "--force-conflicts", "--wait", "--timeout", "60s")
    shown = view(run, "fifth", 0)
    assert shown["entries"]["head"] == shown["entries"]["serve"] != before["serve"]
    document["spec"]["rayClusterConfig"] = cluster_spec("slow:4", workers=0)
    file.write_text(json.dumps(document))
    late = run("apply", "-f", str(file), "--wait", "--timeout", "1s", code=5)
    assert "Switching" in late.output
    document["spec"] |= {"rayClusterConfig": cluster_spec("ray:3", workers=0), "serveConfigV2": "applications: ["}
    file.write_text(json.dumps(document))
    assert "ValidationFailed" in run("apply", "-f", str(file), "--wait", "--timeout", "20s", code=4).output
