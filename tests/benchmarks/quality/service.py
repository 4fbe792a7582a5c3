"""rayctl's own service for the benchmark: `rayctl up` in a home of its own, and everything gone afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from .processes import MARK, Tree

__all__ = ["Service", "ServiceFailed"]

READY_S = 300
SETTLE_S = 40.0
QUIET_CORES = 0.4


class ServiceFailed(RuntimeError):
    """rayctl could not be started: a failure of rayctl, not of the benchmark."""


class Service:
    """One service with two CPUs. It is warm before it is used: its start is in nobody's clock."""

    def __init__(self, cores: frozenset[int], environment: dict[str, str]) -> None:
        self._cores = cores
        # Ray's sockets live below the home's Ray folder and their paths may not be long.
        self.home = Path(tempfile.mkdtemp(prefix="rq-"))
        self.tree = Tree(f"service-{uuid.uuid4().hex}")
        self._environment = environment | {"RAYCTL_HOME": str(self.home), MARK: self.tree.mark}
        self.url = ""
        self.token_file = ""

    def start(self) -> None:
        """Start and wait until the service is ready and its warm-up is over.

        Raises:
            ServiceFailed: `stop` is still to be called.
        """
        try:
            known = self._rayctl(
                "up", "--no-kubernetes", "--num-cpus", str(len(self._cores)), "--output", "json", timeout_s=READY_S
            )
            document: dict[str, Any] = json.loads(known[known.index("{") :])
            self.url, self.token_file = document["http_url"], document["token_file"]
        except (subprocess.SubprocessError, OSError, ValueError, KeyError) as error:
            raise ServiceFailed(f"rayctl up: {error}") from error
        self._settle()

    def _settle(self) -> None:
        deadline = time.monotonic() + SETTLE_S
        before = self.tree.sample().cpu_s
        while time.monotonic() < deadline:
            time.sleep(2)
            now = self.tree.sample().cpu_s
            if now - before < 2 * QUIET_CORES:
                return
            before = now

    def stop(self) -> None:
        """End the service and remove all that it wrote; never raises, for it runs after errors too."""
        try:
            self._rayctl("down", "--delete-data", "--yes", timeout_s=90)
        except (subprocess.SubprocessError, OSError) as error:
            print(f"rayctl down: {error}", flush=True)
        left = self.tree.kill()
        if left:
            print(f"{left} processes of the service outlived `rayctl down` and were killed", flush=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def _rayctl(self, *arguments: str, timeout_s: float) -> str:
        command = [str(Path(sys.executable).parent / "rayctl"), *arguments]
        cores = self._cores
        done = subprocess.run(
            command, env=self._environment, stdout=subprocess.PIPE, text=True, timeout=timeout_s, check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip
        return done.stdout
