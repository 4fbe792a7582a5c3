"""What a running service shows to somebody without a token: every socket that it listens on is tried."""

from __future__ import annotations

import http.client
import ipaddress
import secrets
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import Service

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

SHAPES = [
    *(("GET", path) for path in ("/", "/healthz", "/version", "/v1/runs", "/v1/clusters", "/ui/", "/docs", "/metrics")),
    *(("GET", path) for path in ("/api/version", "/api/jobs/", "/api/serve/applications/", "/nodes?view=summary")),
    *(("GET", path) for path in ("/api/v0/actors", "/logs/", "/api/local_raylet_healthz", "/-/routes")),
    *(("POST", path) for path in ("/api/jobs/", "/v1/runs", "/v1/uploads")),
    ("PUT", "/api/serve/applications/"),
    ("DELETE", "/v1/runs/x"),
]
OPEN = {"/", "/healthz", "/docs", "/api/local_raylet_healthz", "/-/routes"}
"""Answered to everybody: whether it lives, the API's documentation, the page of Ray's dashboard, which has no data
without a token, and Ray Serve's word that there is an application."""


def processes(service: Service) -> list[psutil.Process]:
    """Return all processes of this service."""
    home, found = str(service.home), []
    for process in psutil.process_iter():
        try:
            if process.environ().get("RAYCTL_HOME") == home or home in " ".join(process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def listening(service: Service) -> dict[tuple[str, int], str]:
    """Return address and port → the name of the process that listens there."""
    found = {}
    for process in processes(service):
        try:
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.ip, connection.laddr.port] = process.name()
        except psutil.NoSuchProcess:
            continue
    return found


def answer(port: int, method: str, path: str, token: str = "") -> tuple[int, str, bytes]:
    """Ask, without a token if none is given; status 0: what listens there does not speak HTTP/1."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Accept": "*/*", **({"Authorization": f"Bearer {token}"} if token else {})}
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers.get("content-type", ""), response.read(65536)
    except (OSError, http.client.HTTPException):
        return 0, "", b""
    finally:
        connection.close()


@pytest.mark.security("S1")
def test_no_socket_answers_a_stranger(service: Service) -> None:
    sockets = listening(service)
    assert len(sockets) > 5
    talking = set()
    for _, port in sorted(sockets):
        for method, path in SHAPES:
            status, kind, body = answer(port, method, path)
            talking |= {port} if status else set()
            # Ray's metrics, which Prometheus reads, cannot be given a token; they are numbers, on loopback.
            metrics = method == "GET" and kind.startswith("text/plain; version=") and body.startswith(b"# HELP")
            allowed = method == "GET" and path in OPEN
            assert allowed or metrics or not 200 <= status < 300, (port, sockets, method, path, status, body[:200])
    assert int(service.url.rpartition(":")[2]) in talking


@pytest.mark.security("S2")
def test_another_token_is_as_good_as_none(service: Service) -> None:
    """One of the same form, and the HTTP API's own for Ray, and Ray's for the HTTP API."""
    ray_token = (service.home / "ray_token").read_text().strip()
    dashboard = int(str(service.up["dashboard_url"]).rpartition(":")[2])
    api = int(service.url.rpartition(":")[2])
    asked = [("GET", "/api/jobs/"), ("POST", "/api/jobs/"), ("GET", "/api/v0/actors"), ("GET", "/nodes?view=summary")]
    asked += [("PUT", "/api/serve/applications/"), ("DELETE", "/api/serve/applications/")]
    assert answer(dashboard, "GET", "/api/jobs/", ray_token)[0] == 200
    for token in (secrets.token_hex(32), service.token, ray_token[:-1]):
        for method, path in asked:
            assert answer(dashboard, method, path, token)[0] in (401, 403), (method, path)
    assert b"rayctl_automl_up" in answer(api, "GET", "/metrics", service.token)[2]
    for token in (secrets.token_hex(32), ray_token, service.token[:-1]):
        assert answer(api, "GET", "/v1/runs", token)[0] == 401


@pytest.mark.security("S1")
def test_everything_listens_on_loopback_but_for_what_serve_opens_by_itself(service: Service) -> None:
    for (address, port), name in listening(service).items():
        parsed = ipaddress.ip_address(address.removeprefix("::ffff:"))
        assert parsed.is_loopback or name.startswith("ray::Serve"), (address, port, name)


@pytest.mark.security("S2", "S7")
def test_no_token_is_in_any_command_line_or_readable_by_others(service: Service) -> None:
    files = [service.home / "token", service.home / "ray_token"]
    tokens = [word for file in files for word in file.read_text().split() if len(word) > 20]
    assert len(tokens) >= 2
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    for process in processes(service):
        try:
            line = " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue
        assert not [secret for secret in tokens if secret in line], line[:200]
    for log in (service.home / "logs").iterdir():
        text = Path(log).read_text(errors="replace")
        assert not [secret for secret in tokens if secret in text], log
