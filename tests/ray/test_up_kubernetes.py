"""`rayctl up --kubernetes` with real Ray: up, a run, the head killed, a move under load, down; nothing left."""

from __future__ import annotations

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

from rayctl.selfhost.down import down, remains
from rayctl.selfhost.layout import Layout
from rayctl.selfhost.upfile import read_up
from tests.ray.test_up_down import rayctl, status, until

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


def head_of(home: Path) -> int:
    """Return the process id of the head's GCS server."""
    wanted = f"RAYCTL_HOME={home}".encode()
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                program = (place / "cmdline").read_bytes().split(b"\0")[0]
                if program.endswith(b"gcs_server") and wanted in (place / "environ").read_bytes().split(b"\0"):
                    return int(place.name)
            except OSError:
                continue
    raise AssertionError("there is no gcs_server")


def test_life_of_a_control_plane_on_its_own_cluster(home: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text(TABLE)
    rayctl(
        home, "up", "--kubernetes", "--num-cpus", "1", "--memory", "3GiB", "--timeout", "300s", RAYCTL_REUSE_BYTES="0"
    )
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

    rayctl(home, "down", "--delete-data", "--yes")
    layout = Layout.of(home, {})
    assert remains(layout, None) == []
    assert not layout.kube.exists()
