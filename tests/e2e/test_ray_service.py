"""The example of a RayService, as people use it: applied, asked, changed under load; no request may be lost."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rayctl.kube.calls import Call, Transport
from rayctl.kube.http import HttpTransport, load_configuration
from rayctl.kube.kinds import RAY_CLUSTERS, SERVICES
from tests.benchmarks.switchover import Load, processes, until
from tests.kubelet.node import MODES

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,  # up to four Ray nodes side by side, for two minutes
    pytest.mark.timeout(400),
    pytest.mark.skipif("netns" not in MODES, reason="needs root and iproute2"),
]
EXAMPLE = Path(__file__).parents[2] / "examples" / "kubernetes" / "rayservice.yaml"


def rayctl(kubeconfig: Path, *arguments: str) -> str:
    """What a command answers that must succeed."""
    command = [str(Path(sys.executable).parent / "rayctl"), *arguments, "--kubeconfig", str(kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def second_release(folder: Path) -> Path:
    """The example with another value of RELEASE on head and worker."""
    documents = list(yaml.safe_load_all(EXAMPLE.read_text()))
    cluster = documents[1]["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        variables = group["template"]["spec"]["containers"][0]["env"]
        next(variable for variable in variables if variable["name"] == "RELEASE")["value"] = "2"
    documents[1]["metadata"]["annotations"] = {"rayctl.io/drain-timeout": "20s"}
    found = folder / "second.yaml"
    found.write_text(yaml.safe_dump_all(documents))
    return found


async def clusters(transport: Transport) -> list[str]:
    items = (await transport.request(Call.get(RAY_CLUSTERS.path("default"))))["items"]
    return [item["metadata"]["name"] for item in items]


def test_39_the_example_is_switched_under_load_and_nothing_is_lost(tmp_path: Path) -> None:
    with processes(tmp_path, "netns") as kubeconfig:
        rayctl(kubeconfig, "apply", "-f", str(EXAMPLE), "--wait", "--timeout", "150s")
        loads = asyncio.run(switch(kubeconfig, second_release(tmp_path)))
        told = json.loads(rayctl(kubeconfig, "service", "status", "shop", "-o", "json"))
        rayctl(kubeconfig, "delete", "rayservice/shop")
    assert told["verdict"] == "serving"
    for load in loads:
        assert load.failed == []
        releases = [found["release"] for _, _, found in sorted(load.done, key=lambda one: one[0] + one[1])]
        assert releases == sorted(releases), "after the new release no answer comes from the old one"
        assert set(releases) == {"1", "2"}
        assert {found["price"] for _, _, found in load.done} == {2}


async def switch(kubeconfig: Path, manifest: Path) -> list[Load]:
    """Apply a manifest under load, on new and on kept connections, and wait until the old side is gone."""
    transport = HttpTransport(await load_configuration(str(kubeconfig)))
    service = await transport.request(Call.get(SERVICES.path("default", "shop-serve-svc")))
    url = f"http://{service['spec']['clusterIP']}:8000/price?fruit=pear"
    loads, stop = [Load(url, 10.0), Load(url, 2.0, kept=True)], asyncio.Event()
    tasks = [asyncio.ensure_future(load.run(stop)) for load in loads]
    (old,) = await clusters(transport)
    await asyncio.to_thread(rayctl, kubeconfig, "apply", "-f", str(manifest))

    def switched(status: dict[str, Any]) -> bool:
        record = status.get("switchover") or {}
        return record.get("phase") == "Switched" and record.get("from") == old

    await until(transport, "switched", 150, switched, "shop")
    for _ in range(120):
        if old not in await clusters(transport):
            break
        await asyncio.sleep(0.5)  # between two looks at another process; the condition decides
    assert len(await clusters(transport)) == 1
    stop.set()
    await asyncio.gather(*tasks)
    await transport.close()
    return loads
