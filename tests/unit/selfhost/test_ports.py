from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from rayctl.errors import Conflict
from rayctl.selfhost.ports import PortClaims, Wanted, answers, is_free


@pytest.fixture
def listener() -> Iterator[tuple[socket.socket, int]]:
    with socket.socket() as server:
        # The way Ray's proxies bind: everybody else who asks for it may share the port.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server, server.getsockname()[1]


def test_shared_port_is_not_free(listener: tuple[socket.socket, int]) -> None:
    server, port = listener
    assert not is_free(port)
    assert answers(port)
    server.close()
    assert is_free(port)
    assert not answers(port)


def test_wildcard_listener_takes_the_loopback_port() -> None:
    with socket.socket() as server:
        server.bind(("", 0))
        server.listen()
        assert not is_free(server.getsockname()[1])


def test_port_with_connections_in_time_wait_is_free(listener: tuple[socket.socket, int]) -> None:
    server, port = listener
    client = socket.create_connection(("127.0.0.1", port))
    accepted, _ = server.accept()
    accepted.close()  # the side that closes first keeps the port in TIME_WAIT
    client.close()
    server.close()
    assert is_free(port)


def test_default_moves_and_explicit_does_not(listener: tuple[socket.socket, int]) -> None:
    _, port = listener
    claims = PortClaims()
    assert claims.choose([Wanted("http", port)])["http"] > port
    with pytest.raises(Conflict) as caught:
        claims.choose([Wanted("http", port, explicit=True)])
    assert caught.value.code == "port-taken"
    assert "--port" in str(caught.value.hint)
    claims.release()


def test_two_homes_never_get_the_same_port(listener: tuple[socket.socket, int]) -> None:
    _, port = listener
    one, other = PortClaims(), PortClaims()
    wanted = [Wanted("http", port), Wanted("gcs", port)]
    mine, theirs = one.choose(wanted), other.choose(wanted)
    assert len({*mine.values(), *theirs.values()}) == 4
    one.release()
    assert other.claim(mine["http"])
    other.release()


def test_defaults_keep_away_from_explicit_ports() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    claims = PortClaims()
    chosen = claims.choose([Wanted("dashboard", port), Wanted("http", port, explicit=True)])
    assert chosen["http"] == port != chosen["dashboard"]
    claims.release()
