"""Where a request on a connection ends: by its bytes, however they are cut into pieces; in doubt, nowhere."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayctl.embedded.proxy.boundaries import Boundaries

GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
POST_CHUNKS = b"POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na;x=y\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"

EXCHANGES = [(GET, OK), (GET, CHUNKS), (POST, OK), (POST_CHUNKS, NO_CONTENT), (HEAD, LONG), (POST, CONTINUE + CHUNKS)]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[first:last] for first, last in itertools.pairwise(places) if first < last]


@given(st.lists(st.sampled_from(EXCHANGES), min_size=1, max_size=4), st.lists(st.integers(0, 10_000), max_size=12))
def test_it_is_between_requests_exactly_when_an_answer_is_complete(
    exchanges: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    found = Boundaries()
    assert not found.between
    for request, answer in exchanges:
        for piece in pieces(request, cuts):
            found.sent(piece)
            assert not found.between
        *first, last = pieces(answer, cuts)
        for piece in first:
            found.received(piece)
            assert not found.between
        found.received(last)
        assert found.between
    assert not found.opaque


def test_requests_that_follow_without_waiting_are_all_to_be_answered() -> None:
    found = Boundaries()
    found.sent(GET + HEAD + POST)
    found.received(OK + LONG)
    assert not found.between
    found.received(OK)
    assert found.between


def test_an_answer_before_the_end_of_the_request_is_not_the_end() -> None:
    found = Boundaries()
    found.sent(POST[:-2])
    found.received(OK)
    assert not found.between
    found.sent(POST[-2:])
    assert found.between


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""),
        (b"*1\r\n$4\r\nPING\r\n\r\n", b""),
        (b"\x16\x03\x01\x02\x00" + b"x" * 70_000, b""),
        (b"GET / HTTP/1.0\r\n\r\n", b""),
        (b"GET / HTTP/1.1\nHost: x\n\r\n\r\n", b""),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", b""),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", b""),
        (b"POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", b""),
        (b"POST / HTTP/1.1\r\nContent-Length : 5\r\n\r\n", b""),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", b""),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", b""),
        (b"GET / HTTP/1.1\r\n folded: x\r\n\r\n", b""),
        (GET, b"HTTP/1.1 200 OK\r\n\r\nuntil the connection ends"),
        (GET, b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        (GET, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive, Close\r\n\r\n"),
        (GET, b"not http\r\n\r\n"),
        (b"", OK),
    ],
)
def test_what_is_not_understood_beyond_doubt_stays_so(sent: bytes, received: bytes) -> None:
    found = Boundaries()
    found.sent(sent)
    found.received(received)
    assert found.opaque
    found.sent(GET)
    found.received(OK)
    assert not found.between


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_no_bytes_raise(sent: bytes, received: bytes) -> None:
    found = Boundaries()
    found.sent(GET + sent)
    found.received(OK + received)
    assert found.opaque or found.between in (True, False)
