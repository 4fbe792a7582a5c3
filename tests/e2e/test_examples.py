"""Every numbered example runs as a reader would run it, against a running service."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Service

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("[0-9]*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(service: Service, example: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(example)], env=service.env, cwd=service.folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.stdout.strip()
