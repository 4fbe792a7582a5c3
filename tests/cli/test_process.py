"""The command as a process of its own: start-up cost, colours, broken pipes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Server

Submit = Callable[..., str]

HELP_BUDGET_S = 0.4  # about 0.11 on a quiet machine; what must not be loaded is tested below
HEAVY = {"ray", "pandas", "pyarrow", "httpx2", "rich", "pydantic", "kubernetes", "yaml", "sklearn"}
ENTRY = "from rayctl.cli.main import main; main()"


def rayctl(*args: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ENTRY, *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,  # type: ignore[call-overload]
    )


def cpu_seconds(*args: str) -> float:
    before = os.times()
    assert rayctl(*args).returncode == 0
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


@pytest.mark.parametrize("args", [["--help"], ["automl", "--help"]])
def test_help_is_quick(args: list[str]) -> None:
    assert min(cpu_seconds(*args) for _ in range(5)) <= HELP_BUDGET_S


@pytest.mark.parametrize("args", [["--help"], ["automl", "--help"], ["automl", "submit", "--help"]])
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    code = f"import atexit, sys; atexit.register(lambda: print(sorted(sys.modules), file=sys.stderr)); {ENTRY}"
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.partition(".")[0] for name in done.stderr.strip("[]\n").replace("'", "").split(", ")}
    assert "click" in loaded
    assert loaded & HEAVY == set()


def test_reading_needs_no_models_and_no_frames(submit: Submit) -> None:
    submit()
    code = f"import atexit, sys; atexit.register(lambda: print(sorted(sys.modules), file=sys.stderr)); {ENTRY}"
    command = [sys.executable, "-c", code, "automl", "list", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.partition(".")[0] for name in done.stderr.strip("[]\n").replace("'", "").split(", ")}
    assert loaded & HEAVY == {"httpx2"}
    assert len(json.loads(done.stdout)) == 1


def test_no_colours_without_a_terminal(submit: Submit) -> None:
    run_id = submit()
    for args in (["list"], ["leaderboard", run_id], ["watch", run_id]):
        done = rayctl("automl", *args)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(("variable", "expected"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_in_a_terminal(submit: Submit, variable: dict[str, str], expected: bool) -> None:
    run_id = submit()
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm"} | variable
    command = [sys.executable, "-c", ENTRY, "automl", "watch", run_id]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, env=environment, check=False, timeout=60)
    os.close(theirs)
    output = b""
    try:
        while chunk := os.read(ours, 65536):
            output += chunk
    except OSError:
        pass  # how Linux says that the other side has closed
    finally:
        os.close(ours)
    assert done.returncode == 0, done.stderr
    assert (b"\x1b[" in output) is expected
    assert b"linear" in output


def test_broken_pipe_is_quiet(server: Server, submit: Submit) -> None:
    for _ in range(3):
        submit()
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", ENTRY, "automl", "list", "-o", "json"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    os.close(write)
    assert done.stderr == ""
    assert done.returncode != 0


def test_the_local_service_is_found(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAYCTL_SERVER")
    token = os.environ["RAYCTL_TOKEN"]
    monkeypatch.delenv("RAYCTL_TOKEN")
    home = tmp_path / "elsewhere"
    home.mkdir()
    (home / "token").write_text(token + "\n")
    up = {"http_url": server.url, "token_file": str(home / "token"), "ray_token_file": None, "pids": {}}
    (home / "up.json").write_text(json.dumps(up))
    assert rayctl("automl", "list", "--home", str(home)).returncode == 0
    assert rayctl("automl", "list").returncode == 8
