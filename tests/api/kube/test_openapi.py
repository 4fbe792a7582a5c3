"""The OpenAPI document is true: schemathesis sends what it allows and what it does not, and reads the answers."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import httpx2
import pytest
import uvicorn

from rayctl.api.app import create_app
from rayctl.api.auth import Role, TokenBook
from rayctl.kube.kinds import FLEETS, RAY_CLUSTERS, RAY_SERVICES
from rayctl.settings import ServiceSettings

from ..memory import MemoryService
from .conftest import Kubernetes, cluster, fleet, service_document

ENDLESS = ("/v1/changes", "/v1/runs/{run_id}/events")
"""Streams: they end when the reader goes."""
VERBS = ("get", "put", "post", "delete", "patch")


async def _serve(told: Future[tuple[str, uvicorn.Server]]) -> None:
    kubernetes = await Kubernetes().start()
    await kubernetes.create(FLEETS, fleet("llm"))
    await kubernetes.create(RAY_CLUSTERS, cluster("demo"))
    await kubernetes.create(RAY_SERVICES, service_document("chat"))
    settings = ServiceSettings(max_request_bytes=256 * 1024, max_data_bytes=256 * 1024)
    book = TokenBook([("admin-token", None, Role.ADMIN)])
    app = create_app(MemoryService(), tokens=book, settings=settings, kubernetes=lambda: kubernetes.transport)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    # With proto=0, as uvicorn makes it, asyncio would not set TCP_NODELAY: 40 ms an answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    told.set_result((f"http://127.0.0.1:{listener.getsockname()[1]}", server))
    await server.serve([listener])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The service with a Kubernetes API behind it, in a thread with a loop of its own."""
    told: Future[tuple[str, uvicorn.Server]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(told)), daemon=True)
    thread.start()
    address, server = told.result(60)
    yield address
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.version_info < (3, 11), reason="schemathesis needs Python 3.11")
@pytest.mark.security("S24")
def test_the_document_is_true(url: str, tmp_path: Path) -> None:
    """No 5xx, documented answers only, wrong data and wrong methods refused as documented, nothing without a token."""
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{url}/openapi.json"]
    command += ["--header", "Authorization: Bearer admin-token", "--phases", "coverage,fuzzing", "--max-examples", "2"]
    command += ["--generation-deterministic", "--request-timeout", "20", "--no-color", "--warnings", "off"]
    # A name that nobody has created is 404, and a document that no cluster could be made of is 400, as they should be.
    command += ["--exclude-checks", "positive_data_acceptance"]
    for path in ENDLESS:
        command += ["--exclude-path", path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    paths = httpx2.get(f"{url}/openapi.json", timeout=20).json()["paths"]
    wanted = sum(verb in VERBS for path, verbs in paths.items() if path not in ENDLESS for verb in verbs)
    assert wanted > 90
    assert f"Tested: {wanted}" in done.stdout, done.stdout[-1500:]
