"""A service of the test's own, started as its user would: `rayctl up` in a fresh home, `rayctl down` at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from tests.e2e.machine import Machine

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Service:
    """What a user of the service has: a home, a shell, and a folder with a table."""

    home: Path
    folder: Path
    env: dict[str, str] = field(repr=False)

    @property
    def url(self) -> str:
        return str(self.up["http_url"])

    @property
    def up(self) -> dict[str, Any]:
        return json.loads((self.home / "up.json").read_text())  # type: ignore[no-any-return]

    @property
    def token(self) -> str:
        return (self.home / "token").read_text().split()[0]

    def rayctl(self, *words: str, code: int | None = 0, timeout: float = 170) -> subprocess.CompletedProcess[str]:
        """Run the command line; the exit code is checked unless ``code`` is None."""
        done = subprocess.run(
            [str(BIN / "rayctl"), *words],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if code is not None:
            assert done.returncode == code, f"exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def json(self, *words: str, code: int = 0) -> Any:
        """Run the command line with ``-o json`` and return the document."""
        return json.loads(self.rayctl(*words, "-o", "json", code=code).stdout)

    def python(self, program: str, *arguments: str) -> Any:
        """Run a program in a process of its own (Ray's connections belong to a process); returns the JSON it prints."""
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=170)
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="package")
def service() -> Iterator[Service]:
    """A running service for all tests of this folder, with ``table.csv`` and ``new.csv`` in its folder."""
    with tempfile.TemporaryDirectory(prefix="rce-") as name:
        folder = Path(name)
        table: pd.DataFrame = load_breast_cancer(as_frame=True).frame.iloc[:, [0, 1, 2, 3, 4, 5, 30]]
        table.iloc[:400].to_csv(folder / "table.csv", index=False)
        table.iloc[400:].drop(columns="target").to_csv(folder / "new.csv", index=False)
        table.iloc[400:].to_csv(folder / "truth.csv", index=False)
        private = ("RAY", "RAYCTL")
        env = {key: value for key, value in os.environ.items() if not key.startswith(private)}
        env |= {"RAYCTL_HOME": str(folder / "home"), "PYTHONWARNINGS": "ignore", "NO_COLOR": "1"}
        env["PYTHONPATH"] = os.getcwd()
        found = Service(folder / "home", folder, env)
        try:
            found.rayctl("up", "--num-cpus", "2", "--timeout", "160s")
            yield found
        finally:
            found.rayctl("down", code=None)


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A server with kubelet and controllers of the test's own."""
    with tempfile.TemporaryDirectory(prefix="rmc-") as name:
        found = Machine(Path(name))
        try:
            yield found
        finally:
            found.end()
