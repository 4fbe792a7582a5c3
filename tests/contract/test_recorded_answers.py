"""Every recorded answer of a real kube-apiserver, asked of the embedded one; and of a real one where there is one.

``RAYCTL_TEST_APISERVER`` (URL), ``RAYCTL_TEST_APISERVER_TOKEN`` and ``RAYCTL_TEST_APISERVER_USERS`` name another
server to ask the same; see README.md here for what it must be set up like.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.contract.servers import serving

HERE = Path(__file__).parent
CEL = ["--optional"] if find_spec("cel_expr_python") else []
"""Rules in CEL are answered only with the package for them."""


def ask(url: str, token: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, "run.py", "--server", url, f"--token={token}", "--insecure", "--json"]
    command += ["--check", "answers", *options, "scenarios"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=170)
    assert done.returncode in (0, 1), done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.security("S6")
def test_the_embedded_server_answers_like_a_real_one(tmp_path: Path) -> None:
    with serving(tmp_path, HERE / "users.csv") as server:
        found = ask(server.url, server.token, *CEL)
    assert [d for d in found["differences"] if d["kind"] != "message"] == []
    assert sum(area["steps"] for area in found["summary"]["by_area"].values()) >= 1033


@pytest.mark.skipif("RAYCTL_TEST_APISERVER" not in os.environ, reason="no other API server is named")
def test_another_server_answers_like_that_as_well() -> None:
    users = os.environ.get("RAYCTL_TEST_APISERVER_USERS", "users.csv")
    url, token = os.environ["RAYCTL_TEST_APISERVER"], os.environ["RAYCTL_TEST_APISERVER_TOKEN"]
    found = ask(url, token, "--users", users)
    assert [d for d in found["differences"] if d["kind"] != "message"] == []
