"""A server under test: `rayctl kube serve` in a folder of its own, ended with the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 60.0


@dataclass
class Running:
    """A running server; ``process`` may be killed and `start` called again."""

    folder: Path
    users: Path | None
    durability: str
    process: subprocess.Popen[str]
    port: int = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def token(self) -> str:
        return (self.folder / "data" / "admin.token").read_text().strip()

    @property
    def authority(self) -> Path:
        return self.folder / "data" / "ca.crt"


def start(folder: Path, users: Path | None = None, durability: str = "normal", port: int = 0) -> Running:
    """Start a server and wait until it is ready."""
    command = [sys.executable, "-c", "from rayctl.cli.main import main; main()", "kube", "serve"]
    command += ["--data-dir", str(folder / "data"), "--port", str(port), "--durability", durability]
    command += ["--write-kubeconfig", str(folder / "kubeconfig")]
    if users is not None:
        command += ["--token-file", str(users)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=(folder / "stderr").open("w"), text=True, env={**os.environ}
    )
    running = Running(folder, users, durability, process)
    assert process.stdout is not None
    began = time.monotonic()
    line = process.stdout.readline()
    assert line.startswith("Kubernetes API ready at https://127.0.0.1:"), (line, (folder / "stderr").read_text())
    assert time.monotonic() - began < START_S
    running.port = int(line.strip().rpartition(":")[2])
    return running


@contextmanager
def serving(folder: Path, users: Path | None = None, durability: str = "normal") -> Iterator[Running]:
    """A server for the time of a block."""
    running = start(folder, users, durability)
    try:
        yield running
    finally:
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
