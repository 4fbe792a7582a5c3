"""Addresses that callers may name for data: whatever they write, nothing is connected to beyond what is allowed."""

from __future__ import annotations

import itertools
import socket
from pathlib import Path

import pytest

from rayctl.automl.sources import fetch
from rayctl.errors import Forbidden, SourceUnreachable
from rayctl.settings import ServiceSettings

ALLOWED = "https://data.example/team/"
HOSTS = [
    # this machine, private networks, cloud metadata: in all the ways of writing that some resolver understands
    *("127.0.0.1", "127.1", "127.0.0.1.", "0.0.0.0", "0", "localhost", "LOCALHOST", "localhost.localdomain"),  # noqa: S104
    *("2130706433", "0x7f000001", "017700000001", "0177.0.0.1", "0x7f.1", "127.000.000.001"),
    *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "[::1%25lo]"),
    *("169.254.169.254", "2852039166", "0xa9fea9fe", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "169.254.170.2"),
    *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "[fe80::1]", "[fc00::1]", "224.0.0.1", "[ff02::1]"),
    *("kubernetes.default.svc", "metadata.google.internal", "127.0.0.1.nip.io", "①②⑦.⓪.⓪.①", "ⓛocalhost"),
    # what looks like the allowed host
    *("data.example.evil.test", "evil.test", "xdata.example", "data.example@evil.test", "evil.test#data.example"),
    *("data.example:8443", "data.example\\@evil.test", "data%2eexample", "data.example\t.evil.test", "data。example"),
    *("user:pass@data.example", "@data.example", "data.example:443:80", "[data.example]", "data.example%00.evil.test"),
]
SCHEMES = ["http", "https", "ftp", "s3"]
OTHER = [
    *("file:///etc/passwd", "file://data.example/team/x.csv", "gopher://127.0.0.1:70/x", "dict://127.0.0.1:11211/x"),
    *("data:text/csv,a", "data://text/csv,a", "jar:https://data.example/team/!/x", "ldap://127.0.0.1/x"),
    *("https://data.example/team/../secret", "https://data.example/team/%2e%2e/secret", "https://data.example/team2/x"),
    *("https://data.example/team/..%2fsecret", "https://data.example/team\\..\\secret", "https://data.example/"),
    *("https://data.example/team/%252e%252e/x", "https:/data.example/team/x", "https:data.example/team/x"),
    *("simplecache::https://data.example/team/x", "zip://x::https://data.example/team/x", "//data.example/team/x"),
    *("https://data.example/team/x::http://127.0.0.1/", "HTTPS://127.0.0.1/team/x", "https://", "://", "http:///x"),
    *("github://a:b@c/x", "sftp://127.0.0.1/x", "hdfs://127.0.0.1/x", "smb://127.0.0.1/x", "webhdfs://127.0.0.1/x"),
    *("reference://x", "memory://x", "local:///etc/passwd", "/etc/passwd", "/proc/self/environ", "\\\\host\\share"),
]
CORPUS = [*(f"{scheme}://{host}/team/x.csv" for scheme, host in itertools.product(SCHEMES, HOSTS)), *OTHER]


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """No name is resolved and nothing is connected to, or it is noticed."""
    asked: list[object] = []

    def note(*arguments: object, **_: object) -> None:
        asked.append(arguments[:2])
        raise OSError("a test tried to leave")

    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, note)
    monkeypatch.setattr(socket.socket, "connect", note)
    return asked


@pytest.mark.security("S9")
@pytest.mark.parametrize("allowed", [[], [ALLOWED]], ids=["by default", "with one prefix"])
def test_nothing_else_is_asked(tmp_path: Path, no_way_out: list[object], allowed: list[str]) -> None:
    assert len(CORPUS) > 200
    settings = ServiceSettings(home=tmp_path, allowed_uris=allowed, fetch_timeout_s=2)
    for uri in CORPUS:
        with pytest.raises(Forbidden) as caught:
            fetch(uri, settings)
        assert caught.value.code == "uri-forbidden", uri
        assert "pass@" not in caught.value.message
    assert no_way_out == []


@pytest.mark.security("S9")
def test_what_is_allowed_is_asked(tmp_path: Path, no_way_out: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the test above would show nothing."""
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(SourceUnreachable):
        fetch(f"{ALLOWED}x.csv", ServiceSettings(home=tmp_path, allowed_uris=[ALLOWED], fetch_timeout_s=2))
    assert no_way_out
