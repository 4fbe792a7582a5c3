"""The audit log: one line of JSON per change (and per reading of a secret), chained so that tampering shows.

Bodies are never written.
"""

from __future__ import annotations

import hashlib
import json
import os
from json.encoder import encode_basestring_ascii as _quoted
from pathlib import Path

from rayctl.embedded.apiserver.requests import Info, Request, User
from rayctl.embedded.apiserver.schema.formats import now_micro

__all__ = ["Audit", "verify"]

_READS = frozenset({"get", "list", "watch", "head", "options"})
MAX_BYTES = 50_000_000
"""A file that has grown beyond this is set aside as ``.1``."""


class Audit:
    """Appends to a file with mode 0600. Every line carries the digest of the one before it.

    Raises:
        OSError: The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._open()

    def _open(self) -> None:
        descriptor = os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600)
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        self._chain = _last_digest(self._path)

    def note(self, request: Request, info: Info, user: User | None, code: int, began: float, ended: float) -> None:
        """Write a line for a request, if it is one to be written down."""
        if info.verb in _READS and info.resource != "secrets":
            return
        # Put together by hand, because every write waits for it.
        raw = (
            f'{{"at":"{now_micro(began)}","user":{_quoted(user.name if user else "")},"verb":{_quoted(info.verb)},'
            f'"code":{code},"latency_ms":{(ended - began) * 1000:.3f},'
            f'"agent":{_quoted(request.headers.get("user-agent", "")[:200])}'
        )
        for name in ("group", "version", "resource", "subresource", "namespace", "name"):
            value = getattr(info, name)
            if value:
                raw += f',"{name}":{_quoted(value)}'
        if not info.is_resource:
            raw += f',"path":{_quoted(info.path[:500])}'
        if request.first("dryRun"):
            raw += ',"dryRun":true'
        encoded = f'{raw},"previous":"{self._chain}"}}'.encode()
        self._chain = hashlib.sha256(encoded).hexdigest()
        self._file.write(encoded + b"\n")
        if self._file.tell() > MAX_BYTES:
            self._rotate()

    def _rotate(self) -> None:
        self._file.close()
        os.replace(self._path, self._path.with_name(self._path.name + ".1"))
        chain = self._chain
        self._open()
        self._chain = chain

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _last_digest(path: Path) -> str:
    size = path.stat().st_size
    if not size:
        return ""
    with path.open("rb") as file:
        file.seek(max(0, size - 65_536))
        lines = file.read().splitlines()
    return hashlib.sha256(lines[-1]).hexdigest() if lines else ""


def verify(path: Path) -> int:
    """Return the number of lines of an unbroken log.

    Raises:
        ValueError: A line was changed, taken away or added; says which.
    """
    previous: str | None = None
    count = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            raw = raw.rstrip(b"\n")
            try:
                line = json.loads(raw)
            except ValueError:
                raise ValueError(f"line {number} cannot be read") from None
            if previous is not None and line.get("previous") != previous:
                raise ValueError(f"the chain is broken at line {number}: it or the line before it was changed")
            previous = hashlib.sha256(raw).hexdigest()
            count = number
    return count
