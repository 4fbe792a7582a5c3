"""The audit log: one line of JSON per change (and per reading of a secret), chained so that tampering shows.

Bodies are never written. While the disk is full requests go on, and the first line that can be written again says how
many were not.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from json.encoder import encode_basestring_ascii as _quoted
from pathlib import Path

from rayctl.embedded.apiserver.requests import Info, Request, User
from rayctl.embedded.apiserver.schema.formats import now_micro

__all__ = ["Audit", "verify"]

_log = logging.getLogger(__name__)
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
        self._missed = 0
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._open()

    def _open(self) -> None:
        descriptor = os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600)
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        self._size = os.fstat(descriptor).st_size
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
        if self._missed and self._append(f'{{"at":"{now_micro(ended)}","missed":{self._missed}'):
            _log.warning("the audit log is written again; %d requests are not in it", self._missed)
            self._missed = 0
        if self._missed or not self._append(raw):
            self._missed += 1
        if self._size > MAX_BYTES:
            self._rotate()

    def _append(self, raw: str) -> bool:
        """Write a line, whose end is lacking; return whether all of it was written. No half of it stays."""
        encoded = f'{raw},"previous":"{self._chain}"}}'.encode()
        try:
            written = self._file.write(encoded + b"\n")
            if written == len(encoded) + 1:
                self._size += written
                self._chain = hashlib.sha256(encoded).hexdigest()
                return True
            reason = "the disk is full"
        except OSError as error:
            reason = str(error)
        os.ftruncate(self._file.fileno(), self._size)
        if not self._missed:
            _log.error("the audit log cannot be written, requests go on without: %s", reason)
        return False

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
