"""The real HTTP API over a scripted service, on a free port; and the command line pointed at it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from click.testing import CliRunner, Result

from rayctl.api.app import create_app
from rayctl.api.auth import TokenBook
from rayctl.cli.main import cli
from rayctl.client import Connection, connect
from rayctl.settings import ServiceSettings

from .scripted import ScriptedService

TOKEN = "the-token"  # noqa: S105


@dataclass(frozen=True)
class Server:
    url: str
    service: ScriptedService


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("RAYCTL_", "RAY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAYCTL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def _listening() -> Iterator[Server]:
    service = ScriptedService()
    app = create_app(service, tokens=TokenBook([(TOKEN, None)]), settings=ServiceSettings())
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield Server(f"http://127.0.0.1:{listener.getsockname()[1]}", service)
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def server(_listening: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    _listening.service.__init__()  # type: ignore[misc]  # a new state for each test behind the same port
    monkeypatch.setenv("RAYCTL_SERVER", _listening.url)
    monkeypatch.setenv("RAYCTL_TOKEN", TOKEN)
    return _listening


@pytest.fixture
def connection(server: Server) -> Iterator[Connection]:
    with connect() as opened:
        yield opened


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    """Run a command line in this process; its standard output and error come apart."""
    (tmp_path / "data.csv").write_text("a,y\n1,x\n2,z\n")

    def call(*args: str, input: str | None = None) -> Result:
        return CliRunner().invoke(cli, list(args), input=input)

    return call


@pytest.fixture
def submit(run: Callable[..., Result], server: Server) -> Callable[..., str]:
    """Submit a run of a given name; return its id."""

    def call(name: str = "fine") -> str:
        asked = ("--target", "y", "--task", "classification", "--name", name, "-o", "name")
        result = run("automl", "submit", "data.csv", *asked)
        assert result.exit_code == 0, result.stderr
        return str(result.stdout.strip())

    return call
