"""Where one request on a connection ends and the next may begin: HTTP/1.1 followed by its bytes, none of them changed.

Between two requests a connection may be carried on to another backend, and nobody notices. Whatever is not understood
beyond doubt (another protocol, an upgrade, two lengths that contradict each other) makes the connection opaque for
good: it stays where it is. Framing: RFC 9112, section 6.3.
"""

from __future__ import annotations

import re
from collections import deque

__all__ = ["Boundaries"]

MOST_HEAD = 64 * 1024
_REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) [^ \x00-\x1f]+ HTTP/1\.1\Z")
_RESPONSE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9])(?: |\Z)")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*\Z", re.DOTALL)
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\Z", re.DOTALL)
_NO_BODY = (b"204", b"304")


class _OpaqueError(Exception):
    """What came is not understood."""


class _Messages:
    """The messages of one direction. What a head means for its body is `_body`'s to say."""

    def __init__(self) -> None:
        self._held = b""
        self._left = 0
        self._chunked = False
        self._trailing = False

    @property
    def between(self) -> bool:
        """Whether the last message is complete and no other has begun."""
        return not (self._held or self._left or self._chunked)

    def take(self, data: bytes) -> None:
        """Follow what came. Raises _OpaqueError."""
        if self._left >= len(data) and not self._held:  # in the middle of a body, mostly
            self._left -= len(data)
            data = b""
        data = self._held + data
        while data:
            if self._left:
                skipped = min(self._left, len(data))
                self._left -= skipped
                data = data[skipped:]
                continue
            end = b"\r\n" if self._chunked else b"\r\n\r\n"
            found = data.find(end)
            if found < 0:
                if len(data) > MOST_HEAD:
                    raise _OpaqueError
                break
            line, data = data[:found], data[found + len(end) :]
            if self._chunked:
                self._chunk(line)
            else:
                self._head(line)
        self._held = data

    def _chunk(self, line: bytes) -> None:
        if self._trailing:
            self._chunked = self._trailing = bool(line)
            return
        size = _SIZE.match(line)
        if size is None:
            raise _OpaqueError
        number = int(size[1], 16)
        if number:
            self._left = number + 2  # and the end of its line
        else:
            self._trailing = True

    def _head(self, text: bytes) -> None:
        first, *lines = text.split(b"\r\n")
        if b"\n" in text.replace(b"\r\n", b"") or b"\r" in text.replace(b"\r\n", b""):
            raise _OpaqueError
        fields: dict[bytes, bytes] = {}
        for line in lines:
            field = _FIELD.match(line)
            if field is None:
                raise _OpaqueError
            name = field[1].lower()
            if name in fields and name in (b"content-length", b"transfer-encoding"):
                raise _OpaqueError
            fields[name] = fields[name] + b"," + field[2] if name in fields else field[2]
        if b"upgrade" in fields or b"close" in fields.get(b"connection", b"").lower():
            raise _OpaqueError
        body = self._body(first, fields)
        if body is None:
            self._chunked = True
            return
        self._left = body

    def _body(self, first: bytes, fields: dict[bytes, bytes]) -> int | None:
        """Return how long the body is; None: it comes in chunks."""
        raise NotImplementedError


def _length(fields: dict[bytes, bytes], otherwise: int | None) -> int | None:
    """Return the length of a body; None: chunks. ``otherwise``: where none is given, None: that is not understood."""
    coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
    if coding is not None:
        if coding.lower() != b"chunked" or length is not None:
            raise _OpaqueError
        return None
    if length is not None:
        if not length.isdigit() or len(length) > 18:
            raise _OpaqueError
        return int(length)
    if otherwise is None:
        raise _OpaqueError  # it lasts until the connection ends
    return otherwise


class _Requests(_Messages):
    def __init__(self, asked: deque[bytes]) -> None:
        super().__init__()
        self._asked = asked

    def _body(self, first: bytes, fields: dict[bytes, bytes]) -> int | None:
        found = _REQUEST.match(first)
        if found is None or found[1] == b"CONNECT":
            raise _OpaqueError
        self._asked.append(found[1])
        return _length(fields, 0)


class _Responses(_Messages):
    def __init__(self, asked: deque[bytes]) -> None:
        super().__init__()
        self._asked = asked

    def _body(self, first: bytes, fields: dict[bytes, bytes]) -> int | None:
        found = _RESPONSE.match(first)
        if found is None or not self._asked or found[1] == b"101":
            raise _OpaqueError
        if found[1].startswith(b"1"):
            return 0  # the answer proper is still to come
        method = self._asked.popleft()
        return 0 if method == b"HEAD" or found[1] in _NO_BODY else _length(fields, None)


class Boundaries:
    """One connection, from its first byte on. `opaque`: it is not understood, and will not be."""

    def __init__(self) -> None:
        asked: deque[bytes] = deque()
        self._asked = asked
        self._requests, self._responses = _Requests(asked), _Responses(asked)
        self.opaque = self._answered = False

    @property
    def between(self) -> bool:
        """Whether all that was asked has been answered, to the last byte, and nothing else has begun.

        Never before the first answer: until then it may be a protocol in which the server speaks first.
        """
        return self._answered and not self._asked and self._requests.between and self._responses.between

    def sent(self, data: bytes) -> None:
        """Follow what the client sent."""
        self._take(self._requests, data)

    def received(self, data: bytes) -> None:
        """Follow what the backend answered."""
        self._take(self._responses, data)
        self._answered = not self.opaque

    def _take(self, messages: _Messages, data: bytes) -> None:
        if self.opaque:
            return
        try:
            messages.take(data)
        except _OpaqueError:
            self.opaque = True
            self._requests, self._responses = _Requests(self._asked), _Responses(self._asked)
