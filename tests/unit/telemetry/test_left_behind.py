"""Metrics in a file, and a disk without room for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rayctl.telemetry import left_behind
from rayctl.telemetry.left_behind import keep_written, standby_file
from tests.full_disk import no_room


async def test_a_full_disk_is_survived_and_gathers_no_drafts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_behind, "EVERY_S", 0.0)
    file, asked = standby_file(tmp_path), asyncio.Event()

    def texts() -> Iterator[bytes]:
        for _ in range(3):
            yield b"lost"
        asked.set()
        while True:
            yield b"told"

    text = texts()
    writing = asyncio.ensure_future(keep_written(file, lambda: next(text)))
    with no_room():
        await asyncio.wait_for(asked.wait(), 10)
        assert not file.exists()
        assert len(list(file.parent.iterdir())) <= 1
    while not file.exists():  # noqa: ASYNC110  # a thread writes it
        await asyncio.sleep(0.01)  # until the thread has written
    assert file.read_bytes() == b"told"
    writing.cancel()
    with suppress(asyncio.CancelledError):
        await writing
    assert not file.exists()
