"""Thirty steps with each client library that people use, against the server as it is.

``RAYCTL_TEST_CLIENTS_PYTHON`` names a Python that has the libraries which are no dependencies of rayctl (kr8s,
lightkube); without it these are skipped, unless this Python has them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.servers import Running, serving

OTHER = os.environ.get("RAYCTL_TEST_CLIENTS_PYTHON", sys.executable)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("clients")) as running:
        yield running


@pytest.mark.parametrize(
    ("script", "module", "python"),
    [
        ("official_sync", "kubernetes", sys.executable),
        ("official_aio", "kubernetes", sys.executable),
        ("with_lightkube", "lightkube", OTHER),
        ("with_kr8s", "kr8s", OTHER),
    ],
)
def test_thirty_steps(server: Running, tmp_path: Path, script: str, module: str, python: str) -> None:
    # The dynamic client leaves its cache in the folder for temporary files; this one is the test's own.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    found = subprocess.run([python, "-c", f"import {module}"], env=environment, capture_output=True)
    if found.returncode:
        pytest.skip(f"{module} is not installed")
    command = [python, "-m", f"tests.contract.clients.{script}", str(server.kubeconfig)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
