"""Reading containers' logs as clients ask for them: the last lines, since a time, with times, following."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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


def _entries(folder: Path) -> Iterator[bytes]:
    for path in _files(folder):
        try:
            yield from path.read_bytes().splitlines()
        except FileNotFoundError:
            continue


async def read_log(folder: Path, query: LogQuery, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Yield a run's log. Following ends when the run has ended and all of it was read.

    Raises:
        OSError: The log cannot be read.
    """
    place = folder / "log"
    position, inode = 0, 0
    if place.exists():
        found = place.stat()
        position, inode = found.st_size, found.st_ino
    sent = 0
    for entry in select_lines(await asyncio.to_thread(lambda: list(_entries(folder))), query):
        line = _line(entry, query.timestamps)
        if query.limit is not None and sent + len(line) > query.limit:
            yield line[: query.limit - sent]
            return
        sent += len(line)
        yield line
    # What was written between the two looks is told twice at most for the current file; so it is read by position.
    pending = b""
    while query.follow:
        alive = running()
        if place.exists():
            found = place.stat()
            if found.st_ino != inode and inode:
                position = 0
            inode = found.st_ino
            with place.open("rb") as file:
                file.seek(position)
                data = file.read(1 << 20)
            position += len(data)
            *entries, pending = (pending + data).split(b"\n")
            if entries:
                yield b"".join(_line(entry, query.timestamps) for entry in entries)
            if data:
                continue
        if not alive:
            return
        await asyncio.sleep(POLL_S)
