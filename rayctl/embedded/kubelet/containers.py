"""The runs of a pod's containers on this machine: started through a shim, found again from their folders after a
restart.

A run has a folder ``containers/<name>/<attempt>`` with what the shim writes (``started.json``, ``exited.json``,
``log``) and a file ``run.json`` of the kubelet's own. What is not in these files is not needed to go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rayctl.embedded.kubelet.backoff import Run
from rayctl.embedded.kubelet.processes import is_alive, send

__all__ = ["Container", "Launch", "RunFolder", "shim_command"]

KEPT_RUNS = 2
"""Runs whose logs stay: the newest and the one before."""


def shim_command(program: str) -> list[str]:
    """Return how one of the shim's programs is started."""
    return [sys.executable, "-E", "-s", "-S", "-B", str(Path(__file__).parent / "shim" / "run.py"), program]


@dataclass(frozen=True)
class Launch:
    """What a shim is told. ``private``: folders inside the run's folder that are made anew."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    log_bytes: int = 10 * 1024 * 1024
    log_files: int = 3
    namespaces: Mapping[str, str] | None = None
    root: Mapping[str, Any] | None = None
    umask: int = 0o077

    def document(self, folder: Path) -> dict[str, Any]:
        """Return the form that the shim reads."""
        return {
            "folder": str(folder),
            "argv": list(self.argv),
            "env": dict(self.env),
            "cwd": self.cwd,
            "log_bytes": self.log_bytes,
            "log_files": self.log_files,
            "namespaces": None if self.namespaces is None else dict(self.namespaces),
            "root": None if self.root is None else dict(self.root),
            "umask": self.umask,
        }


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    def read(self, name: str) -> dict[str, Any] | None:
        """Return a file's document, or None when it is not there."""
        try:
            return dict(json.loads((self.path / name).read_text()))
        except FileNotFoundError:
            return None

    def write(self, name: str, document: Mapping[str, Any]) -> None:
        """Write a file whole or not at all."""
        temporary = self.path / (name + ".new")
        temporary.write_text(json.dumps(document))
        temporary.replace(self.path / name)

    @property
    def held(self) -> bool:
        """Whether a shim has the run in its hand: it holds the lock from before its first step to its end."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


class Container:
    """One container of one pod.

    Args:
        folder: Of its runs.
        changed: Called when a run has ended.
        namespaced: Whether the container has namespaces of its own, which commands have to enter.
    """

    def __init__(self, folder: Path, changed: Callable[[], None], namespaced: bool) -> None:
        self._folder, self._changed, self.namespaced = folder, changed, namespaced
        self._watched = -1
        self._own = False
        self.attempt = -1
        self.row = 0
        self.pid = self.start_time = self.child = 0
        self.started_at = 0.0
        self.running = False
        self.runs: list[Run] = []
        self.kill_reason = ""
        self._find()

    @property
    def run_folder(self) -> RunFolder:
        """The folder of the newest run."""
        return self.folder(self.attempt)

    def folder(self, attempt: int) -> RunFolder:
        """Return the folder of a run, whether it is there or not."""
        return RunFolder(self._folder / str(attempt))

    def _find(self) -> None:
        """Look what is there from before: runs that ended, and one that may still be going on."""
        if not self._folder.is_dir():
            return
        attempts = sorted(int(entry.name) for entry in self._folder.iterdir() if entry.name.isdigit())
        for attempt in attempts[-KEPT_RUNS - 1 :]:
            self.attempt = attempt
            folder = RunFolder(self._folder / str(attempt))
            known = folder.read("run.json") or {}
            self.row = int(known.get("row", 0))
            self.started_at = float(known.get("began_at", 0.0))
            if folder.read("exited.json") is None and folder.held:
                self._follow_old(folder)
            else:
                self._note_end()

    def _follow_old(self, folder: RunFolder) -> None:
        # The shim writes this file within milliseconds of its start.
        for _ in range(200):
            started = folder.read("started.json")
            if started is not None or not folder.held:
                break
            time.sleep(0.01)
        started = folder.read("started.json")
        if started is None:
            self._note_end()
            return
        self._running(started)
        self._watch()

    def _running(self, started: Mapping[str, Any]) -> None:
        self.running = True
        self.pid, self.start_time = int(started["pid"]), int(started["start_time"])
        self.child, self.started_at = int(started["child"]), float(started["started_at"])

    async def start(self, launch: Launch, attempt: int, row: int, prepare: Callable[[], None]) -> None:
        """Begin a run. ``prepare`` is called when its folder is there, and makes what the launch speaks of.

        Raises:
            OSError: The shim cannot be started.
        """
        folder = RunFolder(self._folder / str(attempt))
        if folder.path.exists():
            shutil.rmtree(folder.path)
        folder.path.mkdir(mode=0o700, parents=True)
        prepare()
        folder.write("run.json", {"row": row, "began_at": time.time()})
        lock = os.open(folder.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            shim = subprocess.Popen(  # noqa: ASYNC220
                shim_command("main"),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": os.defpath},
                cwd="/",
                start_new_session=True,
                pass_fds=(lock,),
            )
        finally:
            os.close(lock)
        self.attempt, self.row, self.kill_reason, self._own = attempt, row, "", True
        self.pid, self.child, self.started_at = shim.pid, 0, time.time()
        assert shim.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            shim.stdin.write(json.dumps(launch.document(folder.path)).encode())
            shim.stdin.close()
        for _ in range(1000):
            started = folder.read("started.json")
            if started is not None or not folder.held:
                break
            await asyncio.sleep(0.01)
        started = folder.read("started.json")
        if started is None:
            self._note_end()
        else:
            self._running(started)
            self._watch()
        self._forget_old()

    def _forget_old(self) -> None:
        for entry in self._folder.iterdir():
            if entry.name.isdigit() and int(entry.name) <= self.attempt - KEPT_RUNS:
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name.isdigit() and int(entry.name) < self.attempt:
                for private in ("tmp", "home"):
                    shutil.rmtree(entry / private, ignore_errors=True)

    def _watch(self) -> None:
        try:
            self._watched = os.pidfd_open(self.pid)
        except OSError:
            self._ended()
            return
        if not is_alive(self.pid, self.start_time) and not self._own:
            os.close(self._watched)
            self._watched = -1
            self._ended()
            return
        asyncio.get_running_loop().add_reader(self._watched, self._ended)

    def _ended(self) -> None:
        if self._watched >= 0:
            asyncio.get_running_loop().remove_reader(self._watched)
            os.close(self._watched)
            self._watched = -1
        if self._own:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
        self._note_end()
        self._changed()

    def _note_end(self) -> None:
        """Take down how the newest run ended; without the shim's word it was killed together with it."""
        self.running = False
        folder = self.run_folder
        found = folder.read("exited.json")
        if found is None:
            killed = {"exit_code": 137, "signal": int(signal.SIGKILL), "started_at": self.started_at}
            found = {**killed, "finished_at": time.time()}
            with contextlib.suppress(FileNotFoundError):
                folder.write("exited.json", found)
        run = Run(
            attempt=self.attempt,
            row=self.row,
            started_at=float(found["started_at"]),
            finished_at=float(found["finished_at"]),
            exit_code=int(found["exit_code"]),
            signal=int(found["signal"]),
            error=str(found.get("error", "")),
            reason=str(found.get("reason", "")),
        )
        self.runs = [*self.runs, run][-KEPT_RUNS:]

    def terminate(self) -> None:
        """Ask the container's program to end (SIGTERM)."""
        send(self.pid, self.start_time, signal.SIGTERM)

    def kill(self) -> None:
        """Have everything of the container killed by its shim."""
        send(self.pid, self.start_time, signal.SIGUSR1)

    def kill_shim(self) -> None:
        """Kill the shim itself, when it does not do its work; what it looked after is then swept up by marker."""
        send(self.pid, self.start_time, signal.SIGKILL)

    def close(self) -> None:
        """Look no longer; the run goes on."""
        if self._watched >= 0:
            asyncio.get_running_loop().remove_reader(self._watched)
            os.close(self._watched)
            self._watched = -1
