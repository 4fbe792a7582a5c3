"""Environments on a node: built once, told apart from half-built ones, listed, kept while somebody runs in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from rayctl.tenancy import overlay
from tests.ray.wheels import wheel


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of environments of the test's own."""
    made = tmp_path / "environments"
    made.mkdir(mode=0o700)
    monkeypatch.setattr(overlay, "folder", lambda: str(made))
    return made


def build(name: str, *requirements: str, timeout_s: float = 60) -> dict[str, object]:
    return overlay.build(name, list(requirements), timeout_s)


def test_an_environment_lies_on_top_of_the_nodes_own(base: Path, tmp_path: Path) -> None:
    line = wheel(tmp_path, "rctiny", "1.5")
    assert build("one", line)["built"] is True
    assert build("one", line)["built"] is False
    program = "import rctiny, pydantic, rayctl, sys; print(rctiny.VERSION, pydantic.__file__.startswith(sys.prefix))"
    done = subprocess.run([str(base / "one/bin/python"), "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["1.5", "False"], done.stderr
    [found] = overlay.inventory()
    assert (found["name"], found["requirements"], found["in_use"]) == ("one", [line], False)
    assert 1000 < int(str(found["bytes"])) < 10_000_000


def test_a_broken_requirement_leaves_nothing_and_says_what_the_installer_said(base: Path, tmp_path: Path) -> None:
    found = build("one", f"rctiny @ file://{tmp_path}/none-1.0-py3-none-any.whl")
    assert found["ok"] is False
    assert "none-1.0" in str(found["message"])
    assert overlay.inventory() == []
    assert not (base / "one").exists()


def test_packages_that_break_ray_are_an_error_instead_of_calls_without_an_end(base: Path, tmp_path: Path) -> None:
    found = build("one", wheel(tmp_path, "ray", "0.1"))
    assert found["ok"] is False
    assert "with these packages Ray itself does not start" in str(found["message"])
    assert not (base / "one").exists()


def test_an_environment_whose_base_is_another_is_built_again(base: Path, tmp_path: Path) -> None:
    """Its processes would not find Ray, should the other installation be gone, and would find another one if not."""
    line = wheel(tmp_path, "rctiny", "1.0")
    build("one", line)
    ready = base / "one" / "ready.json"
    ready.write_text(ready.read_text().replace(json.dumps(sys.prefix), '"/gone"'))
    assert overlay.inventory()[0]["base"] == "/gone"
    assert build("one", line)["built"] is True
    assert build("one", line)["built"] is False


def test_what_falls_back_on_an_installation_that_is_gone_goes_whatever_its_size(base: Path, tmp_path: Path) -> None:
    line = wheel(tmp_path, "rctiny", "1.0")
    for name in ("gone", "good"):
        build(name, line)
        ready = base / name / "ready.json"
        if name == "gone":
            ready.write_text(ready.read_text().replace(json.dumps(sys.prefix), json.dumps(str(tmp_path / "none"))))
        os.utime(ready, (1000, 1000))
    assert overlay.prune(10**9) == ["gone"]
    assert [found["name"] for found in overlay.inventory()] == ["good"]


def test_an_installation_ends_within_its_time_with_everything_that_it_started(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a package does whose build hangs: the build is a child of the installer and holds its output open."""
    (tmp_path / "bin").mkdir()
    installer = tmp_path / "bin" / "uv"
    installer.write_text(f"#!/bin/sh\nsleep 300 &\necho $! > {tmp_path}/child\nwait\n")
    installer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{installer.parent}:{os.environ['PATH']}")
    began = time.monotonic()
    found = build("one", "anything", timeout_s=1.0)
    assert (found["ok"], found["message"]) == (False, "the installation did not end within 1 s")
    assert time.monotonic() - began < 20
    with suppress(psutil.NoSuchProcess):
        child = psutil.Process(int((tmp_path / "child").read_text()))
        assert child.status() == psutil.STATUS_ZOMBIE or psutil.wait_procs([child], timeout=20)[0] == [child]


def test_a_password_in_an_address_is_not_shown() -> None:
    assert "hunter2" not in overlay._tail("cannot fetch https://user:hunter2@host/x.whl")


def test_what_was_left_half_built_is_built_again(base: Path, tmp_path: Path) -> None:
    (base / "one" / "bin").mkdir(parents=True)
    assert overlay.inventory() == []
    assert build("one", wheel(tmp_path, "rctiny", "1.0"))["built"] is True


def test_what_is_unused_for_the_longest_time_is_removed_first(base: Path, tmp_path: Path) -> None:
    line = wheel(tmp_path, "rctiny", "1.0")
    for number, name in enumerate(("old", "new", "fresh")):
        build(name, line)
        if name != "fresh":
            os.utime(base / name / "ready.json", (1000 + number, 1000 + number))
    size = int(str(overlay.inventory()[0]["bytes"]))
    assert overlay.prune(10 * size) == []
    assert overlay.prune(2 * size + 100) == ["old"]
    assert overlay.prune(0) == ["new"], "what was asked for a moment ago is about to be used"
    assert [found["name"] for found in overlay.inventory()] == ["fresh"]


def test_what_a_process_runs_in_stays(base: Path, tmp_path: Path) -> None:
    build("one", wheel(tmp_path, "rctiny", "1.0"))
    os.utime(base / "one" / "ready.json", (1000, 1000))
    program = "import sys; print('up', flush=True); sys.stdin.read()"
    running = subprocess.Popen(
        [str(base / "one/bin/python"), "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert running.stdin is not None
    assert running.stdout is not None
    assert running.stdout.readline() == "up\n"
    assert [found["in_use"] for found in overlay.inventory()] == [True]
    assert overlay.prune(0) == []
    running.stdin.close()
    assert running.wait(30) == 0
    running.stdout.close()
    assert [found["in_use"] for found in overlay.inventory()] == [False]
    assert overlay.prune(0) == ["one"]


def test_a_folder_that_is_open_to_others_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = Path(overlay.folder())
    assert place.stat().st_mode & 0o777 == 0o700
    place.chmod(0o755)
    with pytest.raises(RuntimeError, match="not this user's alone"):
        overlay.folder()


def test_look_says_what_the_nodes_python_is() -> None:
    found = overlay.look()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["missing"] == []
    assert found["rayctl"]
    assert "container_runtime" in found
