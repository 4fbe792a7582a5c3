"""`rayctl up` with real Ray, on a cluster of its own: a run, the head killed, a move under load and back, down."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rayctl.embedded.kubelet.network.namespaces import why_not
from rayctl.kube.calls import Call
from rayctl.kube.http import HttpTransport, load_configuration
from rayctl.kube.kinds import FLEETS, PODS
from rayctl.selfhost.down import down, remains
from rayctl.selfhost.layout import Layout
from rayctl.selfhost.upfile import read_up
from tests.ray.helpers import head_of
from tests.ray.test_up_down import back_with_another, kill, rayctl, status, until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

TABLE = "\n".join(["a,b,y", *(f"{i % 17},{(i * 7) % 23},{int((i % 17) > 8)}" for i in range(400))]) + "\n"
SUBMIT = ("automl", "submit", "table.csv", "--target", "y", "--task", "classification", "--seed", "0")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "home"
    yield folder
    down(Layout.of(folder, {}), timeout_s=120, delete_data=True)


def get(home: Path, path: str) -> Any:
    up = read_up(home / "up.json")
    assert up is not None
    token = (home / "token").read_text().split()[0]
    answer = httpx2.get(up.http_url + path, headers={"Authorization": f"Bearer {token}"}, timeout=60)
    answer.raise_for_status()
    return answer.json()


def scores(home: Path, run: str) -> list[tuple[str, float]]:
    rows = get(home, f"/v1/runs/{run}/leaderboard")
    return [(row["model"], row["score"]) for row in rows["items"]]


def test_life_of_a_control_plane_on_its_own_cluster(home: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text(TABLE)
    rayctl(home, "up", "--num-cpus", "1", "--memory", "3GiB", "--timeout", "300s", RAYCTL_REUSE_BYTES="0")
    assert set(status(home)["system"]["leaders"].values())
    first = json.loads(rayctl(home, *SUBMIT, "--max-trials", "3", "--wait", "-o", "json"))
    first_id = first["run_id"]

    os.kill(head_of(home), signal.SIGKILL)
    until(lambda: status(home)["state"] != "ready", "the death is noticed", 60)
    until(lambda: status(home)["state"] == "ready", "it comes back by itself", 200)
    assert [run["id"] for run in get(home, "/v1/runs")["items"]] == [first_id]

    moving = json.loads(rayctl(home, *SUBMIT, "--max-trials", "3", "-o", "json"))
    moving_id = moving["run_id"]
    ended, failures, answers = threading.Event(), [], []

    def ask() -> None:
        while not ended.wait(0.1):
            try:
                answers.append(get(home, "/v1/runs?limit=1"))
            except httpx2.HTTPError as error:
                failures.append(f"{time.time()}: {error!r}")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        rayctl(home, "upgrade", "--timeout", "300s")
    finally:
        ended.set()
        thread.join()
    assert failures == []
    assert len(answers) > 20
    seen = status(home)
    assert seen["system"]["cluster"] == "rayctl-system-2"
    until(lambda: get(home, f"/v1/runs/{moving_id}")["state"] == "succeeded", "the run goes on there", 120)
    assert scores(home, moving_id) == scores(home, first_id)

    rayctl(home, "upgrade", "--rollback", "--timeout", "300s")
    assert status(home)["system"]["cluster"] == "rayctl-system-3", "one like the first"
    assert scores(home, moving_id) == scores(home, first_id)

    rayctl(home, "down", "--delete-data", "--yes")
    layout = Layout.of(home, {})
    assert remains(layout, None) == []
    assert not layout.kube.exists()


FLEET = """
apiVersion: orchestration.aibrix.ai/v1alpha1
kind: RayClusterFleet
metadata: {name: pair}
spec:
  replicas: 2
  selector: {matchLabels: {app: pair}}
  template:
    metadata: {labels: {app: pair}}
    spec:
      rayVersion: "2.60.0"
      headGroupSpec:
        rayStartParams: {num-cpus: "1"}
        template:
          spec:
            containers:
              - {name: ray-head, image: "rayproject/ray:2.60.0", resources: {limits: {cpu: "1", memory: 1Gi}}}
"""


def asked(home: Path, path: str) -> Any:
    """Return what the home's API server answers its administrator."""

    async def ask() -> Any:
        transport = HttpTransport(await load_configuration(str(home / "kubeconfig")))
        try:
            return await transport.request(Call.get(path))
        finally:
            await transport.close()

    return asyncio.run(ask())


def lives(home: Path) -> dict[str, tuple[str, list[int]]]:
    """Return for each of the fleet's pods its uid and how often its containers were restarted."""
    found = asked(home, PODS.path("default"))["items"]
    return {
        pod["metadata"]["name"]: (
            pod["metadata"]["uid"],
            [each["restartCount"] for each in pod["status"]["containerStatuses"]],
        )
        for pod in found
    }


def replicas(home: Path) -> tuple[int, int]:
    """Return how many of the fleet's clusters there are, and how many are ready."""
    seen = asked(home, FLEETS.path("default", "pair"))["status"]
    return seen.get("replicas", 0), seen.get("readyReplicas", 0)


def test_a_fleet_survives_the_deaths_of_its_control_plane(home: Path, tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    network = "ports" if why_not() else "netns"
    rayctl(home, "up", "--kubernetes", "--network", network, "--num-cpus", "1", "--memory", "3GiB", "--timeout", "300s")
    kubeconfig = {"KUBECONFIG": str(home / "kubeconfig")}
    rayctl(home, "apply", "-f", str(tmp_path / "fleet.yaml"), "--wait", "--timeout", "300s", **kubeconfig)
    before = lives(home)
    assert len(before) == 2
    assert replicas(home) == (2, 2)

    os.kill(head_of(home), signal.SIGKILL)
    until(lambda: status(home)["state"] != "ready", "the death is noticed", 60)
    until(lambda: status(home)["state"] == "ready", "the head comes back", 200)
    assert (lives(home), replicas(home)) == (before, (2, 2))
    for part in ("kube", "resident"):
        until(back_with_another(home, part, kill(home, part)), f"{part} comes back", 200)
        assert (lives(home), replicas(home)) == (before, (2, 2))

    # Whoever leads now looks after it.
    rayctl(home, "scale", "rcf/pair", "--replicas", "1", **kubeconfig)
    until(lambda: replicas(home) == (1, 1) and len(lives(home)) == 1, "the fleet converges", 120)
    [(name, life)] = lives(home).items()
    assert before[name] == life
    rayctl(home, "down", "--delete-data", "--yes")
    assert remains(Layout.of(home, {}), None) == []
