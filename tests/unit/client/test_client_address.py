"""Where ``connect()`` goes, and with which token."""
# ruff: noqa: S105, S106 (the tokens here open nothing)

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rayctl.client.address import read_token, resolve
from rayctl.errors import InvalidRequest, ServerUnreachable


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in [name for name in os.environ if name.startswith(("RAYCTL_", "RAY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAYCTL_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
    return tmp_path


@pytest.fixture
def up(home: Path) -> Path:
    (home / "token").write_text("# who may call\nlocal-token team-a\n")
    known = {
        "http_url": "http://127.0.0.1:8000",
        "ray_client_address": "ray://127.0.0.1:10001",
        "ray_address": "127.0.0.1:6390",
        "token_file": str(home / "token"),
        "ray_token_file": str(home / "ray_token"),
        "pids": {"supervisor": 1},
    }
    (home / "up.json").write_text(json.dumps(known))
    return home


def test_nothing_known() -> None:
    with pytest.raises(ServerUnreachable) as caught:
        resolve(None)
    assert "rayctl up" in str(caught.value.hint)


def test_the_local_service_with_its_token(up: Path) -> None:
    found = resolve(None)
    assert (found.kind, found.url, found.token) == ("http", "http://127.0.0.1:8000", "local-token")
    assert "local-token" not in repr(found)


def test_the_local_token_goes_nowhere_else(up: Path) -> None:
    assert resolve("http://elsewhere:8000").token is None
    assert resolve("http://127.0.0.1:8001").token is None
    assert resolve("http://127.0.0.1:8000/").token == "local-token"


def test_the_environment_comes_before_the_local_service(up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYCTL_SERVER", "https://rayctl.example")
    monkeypatch.setenv("RAYCTL_TOKEN", "mine")
    found = resolve(None)
    assert (found.url, found.token) == ("https://rayctl.example", "mine")
    assert resolve(None, token="given").token == "given"


def test_ray_client_of_the_local_service_gets_its_token_file(up: Path) -> None:
    found = resolve("ray://127.0.0.1:10001")
    assert found.kind == "ray-client"
    assert found.ray_env["RAY_AUTH_TOKEN_PATH"] == str(up / "ray_token")
    assert found.ray_env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert resolve("ray://elsewhere:10001").ray_env == {}


def test_a_chosen_auth_mode_stays(up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert "RAY_AUTH_TOKEN_PATH" not in resolve("ray://127.0.0.1:10001").ray_env


def test_auto_is_ray_client_where_the_cluster_is_a_pods(up: Path) -> None:
    document = json.loads((up / "up.json").read_text())
    document.pop("ray_address", None)
    (up / "up.json").write_text(
        json.dumps({**document, "kubeconfig": "/k", "ray_client_address": "ray://127.0.0.1:10001"})
    )
    found = resolve("auto")
    assert (found.kind, found.url, found.is_local) == ("ray-client", "ray://127.0.0.1:10001", True)
    assert found.ray_env["RAY_AUTH_MODE"] == "token"


def test_auto_is_the_local_cluster(up: Path) -> None:
    found = resolve("auto")
    assert (found.kind, found.url) == ("ray", "127.0.0.1:6390")
    assert found.ray_env["RAY_AUTH_MODE"] == "token"


def test_inside_a_cluster(up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.5:6379")
    found = resolve(None)
    assert (found.kind, found.url, found.ray_env) == ("ray", "10.0.0.5:6379", {})
    monkeypatch.setenv("RAY_ADDRESS", "http://10.0.0.5:8265")
    assert resolve(None).kind == "http", "a dashboard's address is nothing to join"
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: True))
    assert resolve(None).kind == "ray"


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://x", "http://", "nonsense", "http://user:secret@host"])
def test_unusable_addresses(address: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(address)
    assert "secret" not in str(caught.value)


def test_token_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read_token(token_file=str(tmp_path / "none"))
    with pytest.raises(InvalidRequest) as caught:
        read_token("two words")
    assert "two words" not in str(caught.value)


def test_a_damaged_record_is_told(home: Path) -> None:
    (home / "up.json").write_text("{")
    with pytest.raises(InvalidRequest, match=r"up\.json"):
        resolve(None)
