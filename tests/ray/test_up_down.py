"""The whole life of a home: up, status, killed parts, down. Real processes, real Ray; minutes on a busy machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rayctl.selfhost import processes
from rayctl.selfhost.down import down, remains
from rayctl.selfhost.layout import Layout
from rayctl.selfhost.upfile import read_up

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1200)]

START_S = 400.0


def rayctl(home: Path, *arguments: str, code: int = 0, **env: str) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYCTL_"))}
    done = subprocess.run(
        [sys.executable, "-c", "from rayctl.cli.main import main; main()", *arguments],
        env={**environ, "RAYCTL_HOME": str(home), **env},
        capture_output=True,
        text=True,
        timeout=START_S + 60,
    )
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout


def status(home: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(rayctl(home, "status", "-o", "json"))
    return document


def until(true: Callable[[], bool], what: str, timeout_s: float = START_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)  # between two looks at other processes; the condition decides


def kill(home: Path, part: str) -> int:
    up = read_up(home / "up.json")
    process = up.process(part) if up else None
    assert process is not None
    assert process.alive()
    os.kill(process.pid, signal.SIGKILL)
    return process.pid


def back_with_another(home: Path, part: str, before: int) -> Callable[[], bool]:
    def check() -> bool:
        up = read_up(home / "up.json")
        process = up.process(part) if up else None
        return up is not None and process is not None and process.pid != before and up.state == "ready"

    return check


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    yield folder
    down(Layout.of(folder, {}), timeout_s=30, delete_data=True)


def up(home: Path, *more: str, **env: str) -> dict[str, Any]:
    timeout = f"{START_S:.0f}s"
    document: dict[str, Any] = json.loads(
        rayctl(home, "up", "--no-kubernetes", "--timeout", timeout, "-o", "json", *more, **env)
    )
    return document


MARK = "swordfish-0815-4711"
USE_IT = """
import rayctl
def use():
    found = rayctl.secret("key")
    print("using", found, rayctl.current_config())
    return len(found.get_secret_value())
def fail():
    raise RuntimeError(f"cannot use {rayctl.secret('key')}")
tenant = {"tenant": "shop", "secrets": {"key": "tenant:key"}}
with rayctl.connect("ray", tenant=tenant) as connection:
    connection.tenants.create(tenant)
    print(connection.get(connection.submit(use)))
    try:
        connection.get(connection.submit(fail))
    except RuntimeError as error:
        print(error)
"""


def a_tenants_secret_is_found_nowhere(home: Path, dashboard: str) -> None:
    """Used in a task and named in an exception: not in the state API, logs, database, or what the program was told."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYCTL_"))}
    done = subprocess.run(
        [sys.executable, "-c", USE_IT],
        env={**environ, "RAYCTL_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert str(len(MARK)) in done.stdout.split()
    token = (home / "ray_token").read_text().strip()
    told = [done.stdout.encode(), done.stderr.encode()]
    for what in ("tasks", "actors", "jobs", "workers", "runtime_envs", "objects"):
        url = f"{dashboard}/api/v0/{what}?detail=1&limit=10000"
        answer = httpx2.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=60)
        assert answer.status_code == 200, answer.text
        told.append(answer.content)
    assert b"use" in told[2], "the state API knows the task"
    folders = [home, Layout.of(home, {}).ray_temp_dir]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.name == "rayctl.db" for path in files)
    assert any("worker-" in path.name for path in files)
    assert not any(MARK.encode() in text for text in told)
    assert [path for path in files if MARK.encode() in path.read_bytes()] == []


def test_life_of_a_home(home: Path, tmp_path: Path) -> None:
    assert status(home)["state"] == "not-running"
    rayctl(home, "down")

    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "key").write_text(MARK)
    document = up(home, "--num-cpus", "2", RAYCTL_SECRETS_DIR=str(tmp_path))
    assert document["state"] == "ready"
    assert not document["already"]
    seen = status(home)
    assert seen["state"] == "ready"
    assert seen["info"]["cluster"]["resources"]["CPU"] == 2
    assert (home / "token").stat().st_mode & 0o777 == 0o600
    assert (home / "ray_token").stat().st_mode & 0o777 == 0o600
    assert (home / "up.json").stat().st_mode & 0o777 == 0o600
    secrets = [(home / name).read_bytes().strip() for name in ("token", "ray_token")]
    layout = Layout.of(home, {})
    for process in remains(layout, read_up(layout.up_file)):
        line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert not any(secret in line for secret in secrets), "a secret is on a command line"

    a_tenants_secret_is_found_nowhere(home, str(seen["dashboard_url"]))

    assert up(home)["already"]
    rayctl(home, "up", "--num-cpus", "3", code=6)
    assert "RAYCTL_SERVER=" in rayctl(home, "env")

    # The resident dies: the supervisor starts another one.
    before = kill(home, "resident")
    until(back_with_another(home, "resident", before), "the resident did not come back")
    assert status(home)["parts"]["resident"]["restarts"] == 1

    # The supervisor dies: nothing else does, and the next `up` takes over.
    ray_before = read_up(home / "up.json")
    kill(home, "supervisor")
    until(lambda: status(home)["state"] == "broken", "the dead supervisor was not noticed", 20)
    assert up(home)["state"] == "ready"
    ray_after = read_up(home / "up.json")
    assert ray_before is not None
    assert ray_after is not None
    assert ray_before.ray == ray_after.ray

    # Down: nothing of this home is left, data is.
    last = read_up(layout.up_file)
    rayctl(home, "down")
    assert last is not None
    assert remains(layout, last) == []
    assert not any(last.alive(part) for part in ("supervisor", "ray", "resident"))
    assert not layout.ray_temp_dir.exists()
    assert not layout.up_file.exists()
    assert (home / "token").exists()
    assert "not running" in rayctl(home, "down")
    assert status(home)["state"] == "not-running"
    rayctl(home, "down", "--delete-data", code=2)
    rayctl(home, "down", "--delete-data", "--yes")
    assert not (home / "token").exists()


def test_head_that_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    # A store larger than Ray accepts on this memory would depend on the machine; a broken `ray` does not.
    broken = tmp_path / "path" / "ray" / "scripts"
    broken.mkdir(parents=True)
    for package in (broken.parent, broken):
        (package / "__init__.py").write_text("")
    (broken / "scripts.py").write_text("raise SystemExit('no Ray today')")
    home = tmp_path / "home"
    rayctl(home, "up", "--no-kubernetes", "--timeout", "60s", code=8, PYTHONPATH=str(tmp_path / "path"))
    assert status(home)["state"] == "failed"
    assert remains(Layout.of(home, {}), None) == []
    rayctl(home, "down")
    assert status(home)["state"] == "not-running"


def test_stop_remains_without_any_record(tmp_path: Path) -> None:
    layout = Layout.of(tmp_path / "home", {})
    layout.home.mkdir()
    marked = dict(os.environ, RAYCTL_PART=f"ray-{layout.id}")
    code = "import time; time.sleep(60)"
    popen, process = processes.spawn([sys.executable, "-c", code], env=marked, log=tmp_path / "log", cwd=tmp_path)
    assert remains(layout, None) == [process]
    assert down(layout, timeout_s=20).was_running
    popen.wait(5)
    assert not process.alive()
