"""Reading containers' logs as clients ask for them: the last lines, since a time, with times, following."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rayctl.embedded.apiserver.schema.formats import parse_time

__all__ = ["LogQuery", "read_log", "select_lines"]

POLL_S = 0.2


@dataclass(frozen=True)
class LogQuery:
    """What is asked. ``since``: seconds since 1970; ``limit``: bytes."""

    follow: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: float | None = None
    limit: int | None = None


def _line(entry: bytes, timestamps: bool) -> bytes:
    """Turn an entry of the log file (time, stream, tag, text) into what clients see."""
    parts = entry.split(b" ", 3)
    if len(parts) < 4:
        return b""
    text = parts[3] if parts[2] == b"P" else parts[3] + b"\n"
    return parts[0] + b" " + text if timestamps else text


def _at(entry: bytes) -> float:
    try:
        return parse_time(entry.split(b" ", 1)[0].decode()).timestamp()
    except ValueError:
        return 0.0


def select_lines(entries: list[bytes], query: LogQuery) -> list[bytes]:
    """Return the entries that are asked for. Pure."""
    if query.since is not None:
        entries = [entry for entry in entries if _at(entry) >= query.since]
    if query.tail is not None:
        # A line that was cut into pieces counts once.
        ends = [index for index, entry in enumerate(entries) if entry.split(b" ", 3)[2:3] != [b"P"]]
        first = ends[-query.tail - 1] + 1 if 0 < query.tail < len(ends) else 0
        entries = entries[first:] if query.tail else []
    return entries


def _files(folder: Path) -> list[Path]:
    older = sorted(folder.glob("log.[0-9]*"), key=lambda path: -int(path.suffix[1:]))
    return [*older, folder / "log"]


async def read_log(folder: Path, query: LogQuery, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Yield a run's log. Following ends when the run has ended and all of it was read.

    Raises:
        OSError: The log cannot be read.
    """
    place = folder / "log"
    # Held open from the first look to the last, so that nothing is lost when the pod's folder goes.
    file = place.open("rb")
    try:
        data = file.read()
        *newest, pending = data.split(b"\n")
        older = [entry for path in _files(folder)[:-1] for entry in path.read_bytes().splitlines()]
        sent = 0
        for entry in select_lines([*older, *newest], query):
            line = _line(entry, query.timestamps)
            if query.limit is not None and sent + len(line) > query.limit:
                yield line[: query.limit - sent]
                return
            sent += len(line)
            yield line
        while query.follow:
            alive = running()
            data = file.read(1 << 20)
            *entries, pending = (pending + data).split(b"\n")
            if entries:
                yield b"".join(_line(entry, query.timestamps) for entry in entries)
            if data:
                continue
            if _is_another(place, file):
                file.close()
                file = place.open("rb")
            elif not alive:
                return
            else:
                await asyncio.sleep(POLL_S)
    finally:
        file.close()


def _is_another(place: Path, file: BinaryIO) -> bool:
    """Tell whether the log was begun anew because it had grown too long."""
    try:
        return place.stat().st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False
