"""Logs: their form, their bound, and what clients ask of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rayctl.embedded.kubelet.logs import LogQuery, read_log, select_lines
from rayctl.embedded.kubelet.shim.logfile import LONGEST, LogFile


def entry(second: int, text: str, tag: str = "F") -> bytes:
    return f"2026-01-01T00:00:{second:02d}.000000001Z stdout {tag} {text}".encode()


ENTRIES = [entry(1, "a"), entry(2, "b", "P"), entry(2, "c"), entry(3, "d")]
SECOND_2 = 1767225602.0


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (LogQuery(), ENTRIES),
        (LogQuery(tail=0), []),
        (LogQuery(tail=1), ENTRIES[3:]),
        (LogQuery(tail=2), ENTRIES[1:]),
        (LogQuery(tail=9), ENTRIES),
        (LogQuery(since=SECOND_2), ENTRIES[1:]),
        (LogQuery(since=SECOND_2, tail=1), ENTRIES[3:]),
    ],
)
def test_which_lines(query: LogQuery, wanted: list[bytes]) -> None:
    assert select_lines(ENTRIES, query) == wanted


def open_log(folder: Path, most: int = 10_000, files: int = 3) -> LogFile:
    return LogFile(os.open(folder, os.O_RDONLY), most, files)


def sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


async def whole(folder: Path, **query: object) -> bytes:
    found = [chunk async for chunk in read_log(folder, LogQuery(**query), lambda: False)]  # type: ignore[arg-type]
    return b"".join(found)


async def test_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    log = open_log(tmp_path, 1_000_000)
    long = b"x" * (LONGEST * 2 + 5)
    for part in (b"one\ntw", b"o\n", b"\n", long[:100], long[100:] + b"\nlast"):
        log.take("stdout", part)
    log.finish()
    assert await whole(tmp_path) == b"one\ntwo\n\n" + long + b"\nlast\n"
    assert await whole(tmp_path, limit=5) == b"one\nt"
    assert (await whole(tmp_path, timestamps=True, tail=1)).endswith(b"Z last\n")
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


async def test_a_log_never_grows_beyond_its_bound(tmp_path: Path) -> None:
    log = open_log(tmp_path, 1_000, 3)
    for number in range(500):
        log.take("stdout", f"line {number}\n".encode())
    log.finish()
    assert sizes(tmp_path).keys() == {"log", "log.1", "log.2"}
    assert sum(sizes(tmp_path).values()) <= 3_000
    lines = (await whole(tmp_path)).decode().splitlines()
    first = int(lines[0].split()[1])
    assert lines == [f"line {number}" for number in range(first, 500)]
