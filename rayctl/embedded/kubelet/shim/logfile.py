"""A container's log: one line per line that it writes, with time and stream; never more than a bound.

Lines are those of the container runtimes: ``2026-01-02T03:04:05.000000006Z stdout F text``; ``P`` marks a piece of a
line that was too long. Part of the shim: nothing of rayctl may be imported here.
"""

from __future__ import annotations

import os
import time

LONGEST = 16 * 1024
"""Bytes of one piece of a line."""


class LogFile:
    """Args: the folder (descriptor) it is in; bytes per file; how many files. ``log`` is the newest, then ``log.1``."""

    def __init__(self, folder: int, most_bytes: int, files: int) -> None:
        self._folder, self._most, self._files = folder, most_bytes, max(1, files)
        self._pending: dict[str, bytes] = {}
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open("log", flags, 0o600, dir_fd=self._folder)
        self._size = os.fstat(self._file).st_size

    def take(self, stream: str, data: bytes) -> None:
        """Write what came; an unfinished line waits for its end or for `finish`."""
        *lines, rest = (self._pending.pop(stream, b"") + data).split(b"\n")
        out = [self._entry(stream, line) for line in lines]
        while len(rest) > LONGEST:
            out.append(self._piece(stream, b"P", rest[:LONGEST]))
            rest = rest[LONGEST:]
        if rest:
            self._pending[stream] = rest
        self._write(b"".join(out))

    def finish(self) -> None:
        """Write what was left without an end."""
        for stream, rest in self._pending.items():
            self._write(self._entry(stream, rest))
        self._pending = {}
        os.close(self._file)

    def _entry(self, stream: str, line: bytes) -> bytes:
        out = []
        while len(line) > LONGEST:
            out.append(self._piece(stream, b"P", line[:LONGEST]))
            line = line[LONGEST:]
        out.append(self._piece(stream, b"F", line))
        return b"".join(out)

    def _piece(self, stream: str, tag: bytes, text: bytes) -> bytes:
        now = time.time_ns()
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)) + f".{now % 10**9:09d}Z {stream} "
        return at.encode() + tag + b" " + text + b"\n"

    def _write(self, data: bytes) -> None:
        if not data:
            return
        if self._size and self._size + len(data) > self._most:
            self._rotate()
        try:
            os.write(self._file, data)
        except OSError:
            return  # a full disk: the container goes on, its words are lost
        self._size += len(data)

    def _rotate(self) -> None:
        os.close(self._file)
        for number in range(self._files - 1, 0, -1):
            old = "log" if number == 1 else f"log.{number - 1}"
            try:
                os.replace(old, f"log.{number}", src_dir_fd=self._folder, dst_dir_fd=self._folder)
            except FileNotFoundError:
                continue
        if self._files == 1:
            os.unlink("log", dir_fd=self._folder)
        self._open()
