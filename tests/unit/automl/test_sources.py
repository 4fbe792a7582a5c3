"""Only what the operator allows is read, within its limits, and messages give nothing away."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from rayctl.automl.sources import fetch
from rayctl.errors import Forbidden, RayctlError, SourceUnreachable, TooLarge
from rayctl.settings import ServiceSettings


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a b.csv").write_bytes(b"x\n1\n")
    (tmp_path / "secret.csv").write_bytes(b"secret\n")
    (tmp_path / "data-too").mkdir()
    (tmp_path / "data-too" / "x.csv").write_bytes(b"x\n")
    return folder


def _settings(allowed: Path, **more: Any) -> ServiceSettings:
    return ServiceSettings(home=allowed.parent / "home", allowed_paths=[allowed], **more)


def _refused(uri: str, settings: ServiceSettings) -> Forbidden:
    with pytest.raises(Forbidden) as caught:
        fetch(uri, settings)
    assert caught.value.code == "uri-forbidden"
    return caught.value


def test_reads_allowed_files(allowed: Path) -> None:
    settings = _settings(allowed)
    assert fetch(str(allowed / "a b.csv"), settings) == (b"x\n1\n", "csv")
    assert fetch(f"file://{allowed}/a%20b.csv", settings) == (b"x\n1\n", "csv")
    (allowed / "noname").write_bytes(b"y")
    assert fetch(str(allowed / "noname"), settings) == (b"y", None)


@pytest.mark.parametrize(
    "path", ["{0}/../secret.csv", "file://{0}/%2e%2e/secret.csv", "{0}-too/x.csv", "/etc/passwd", "data/a b.csv", "~/x"]
)
@pytest.mark.security("S9")
def test_paths_outside_are_forbidden(allowed: Path, path: str) -> None:
    error = _refused(path.format(allowed), _settings(allowed))
    assert "RAYCTL_ALLOWED_PATHS" in str(error.hint)


def test_nothing_is_allowed_by_default(allowed: Path) -> None:
    _refused(str(allowed / "a b.csv"), ServiceSettings(home=allowed.parent / "home"))


@pytest.mark.security("S9")
def test_links_out_of_the_folder_are_forbidden(allowed: Path) -> None:
    (allowed / "link.csv").symlink_to(allowed.parent / "secret.csv")
    (allowed / "folder").symlink_to(allowed.parent)
    settings = _settings(allowed)
    _refused(str(allowed / "link.csv"), settings)
    _refused(str(allowed / "folder" / "secret.csv"), settings)


def test_links_within_and_a_linked_folder_are_followed(allowed: Path) -> None:
    (allowed / "inner.csv").symlink_to(allowed / "a b.csv")
    other = allowed.parent / "other"
    other.symlink_to(allowed)
    assert fetch(str(other / "inner.csv"), _settings(other))[0] == b"x\n1\n"


def test_existence_outside_is_not_revealed(allowed: Path) -> None:
    settings = _settings(allowed)
    texts = [_refused(str(allowed.parent / name), settings).message for name in ("secret.csv", "missing.csv")]
    assert texts[0].replace("secret", "missing") == texts[1]


def test_the_services_own_folder_is_not_included(allowed: Path) -> None:
    home = allowed.parent / "home"
    home.mkdir()
    (home / "token").write_bytes(b"t")
    _refused(str(home / "token"), ServiceSettings(home=home, allowed_paths=[allowed.parent]))
    (home / "demo").mkdir()
    (home / "demo" / "d.csv").write_bytes(b"d")
    settings = ServiceSettings(home=home, allowed_paths=[home / "demo"])
    assert fetch(str(home / "demo" / "d.csv"), settings)[0] == b"d"


def test_missing_file(allowed: Path) -> None:
    with pytest.raises(SourceUnreachable) as caught:
        fetch(str(allowed / "none.csv"), _settings(allowed))
    assert caught.value.code == "source-not-found"


def test_folders_and_pipes_are_not_read(allowed: Path) -> None:
    os.mkfifo(allowed / "pipe")
    for name in ("", "pipe"):
        with pytest.raises(SourceUnreachable):
            fetch(str(allowed / name), _settings(allowed))


@pytest.mark.security("S9")
def test_size_limit(allowed: Path) -> None:
    (allowed / "big.csv").write_bytes(b"x" * 11)
    with pytest.raises(TooLarge):
        fetch(str(allowed / "big.csv"), _settings(allowed, max_data_bytes=10))
    assert len(fetch(str(allowed / "big.csv"), _settings(allowed, max_data_bytes=11))[0]) == 11


@pytest.fixture
def memory(allowed: Path) -> ServiceSettings:
    files = fsspec.filesystem("memory")
    for name in ("/team/a.parquet", "/team2/b.csv", "/other/c.csv"):
        files.pipe(name, b"data")
    return ServiceSettings(home=allowed, allowed_uris=["memory://team", "s3://bucket/p/"], max_data_bytes=10)


def test_remote_prefix(memory: ServiceSettings) -> None:
    assert fetch("memory://team/a.parquet", memory) == (b"data", "parquet")
    with pytest.raises(SourceUnreachable) as caught:
        fetch("memory://team/none.csv", memory)
    assert caught.value.code == "source-not-found"


@pytest.mark.parametrize(
    "uri",
    [
        "memory://team2/b.csv",
        "memory://other/c.csv",
        "memory://team/../other/c.csv",
        "memory://team/%2e%2e/other/c.csv",
        "memory://team/%252e%252e/other/c.csv",
        "simplecache::memory://team/a.parquet",
        "memory://TEAM/a.parquet",
        "s3://bucket/private/x.csv",
        "s3://bucket/p/../x.csv",
        "s3://bucket",
        "https://team/a.csv",
        "http://[bad",
        "://x",
    ],
)
@pytest.mark.security("S9")
def test_remote_outside_is_forbidden(memory: ServiceSettings, uri: str) -> None:
    _refused(uri, memory)


@pytest.mark.security("S7")
def test_credentials_are_refused_and_not_shown(memory: ServiceSettings) -> None:
    error = _refused("s3://key:hunter2@bucket/p/x.csv?signature=abcdef", memory)
    assert "s3://bucket/p/x.csv" in error.message
    assert "hunter2" not in error.message
    assert "abcdef" not in error.message


def test_unknown_scheme_says_so(allowed: Path) -> None:
    settings = ServiceSettings(home=allowed, allowed_uris=["nosuch://host"])
    with pytest.raises(SourceUnreachable) as caught:
        fetch("nosuch://host/x.csv", settings)
    assert caught.value.code == "source-unsupported"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/d/redirect"):
            self.send_response(302)
            self.send_header("Location", "/private/x.csv")
            self.end_headers()
            return
        found = {
            "/d/ok.csv": b"x\n1\n",
            "/private/x.csv": b"secret",
            "/d/big.csv": b"x" * 100,
            "/d/short.csv": b"x",
        }.get(self.path)
        self.send_response(200 if found else 404)
        if found and self.path != "/d/big.csv":  # its length shows only while reading
            self.send_header("Content-Length", str(len(found) + 40 * (self.path == "/d/short.csv")))
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, *_: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.mark.security("S9")
def test_http(server: str, allowed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    settings = ServiceSettings(home=allowed, allowed_uris=[f"{server}/d/"], max_data_bytes=50)
    assert fetch(f"{server}/d/ok.csv", settings) == (b"x\n1\n", "csv")

    def code(path: str) -> str:
        with pytest.raises(RayctlError) as caught:
            fetch(server + path, settings)
        return caught.value.code

    assert code("/d/none.csv") == "source-not-found"
    assert code("/d/redirect.csv") == "source-redirected"
    assert code("/d/big.csv") == "too-large"
    assert code("/d/short.csv") == "source-unreachable"
    assert code("/private/x.csv") == "uri-forbidden"


@pytest.mark.security("S9")
def test_hanging_source_times_out(allowed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(*_: Any) -> bytes:
        released.wait(20)
        return b""

    monkeypatch.setattr("rayctl.automl.sources._read_local", hang)
    with pytest.raises(SourceUnreachable) as caught:
        fetch(str(allowed / "a b.csv"), _settings(allowed, fetch_timeout_s=0.05))
    released.set()
    assert caught.value.code == "source-timeout"
    assert "0.05" in caught.value.message
