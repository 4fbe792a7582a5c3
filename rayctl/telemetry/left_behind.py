"""The metrics of a process that opens no port: it writes them to a file, and another one that is asked reads them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["STANDBY", "keep_written", "read_fresh", "standby_file"]

_log = logging.getLogger(__name__)
STANDBY = "standby"
"""Process whose metrics they are, as Prometheus is told."""
EVERY_S = 5.0
FRESH_S = 15.0
"""What is older is of a process that has ended."""


def standby_file(home: Path) -> Path:
    """Return where the standby of a home writes them: in the folder that its other processes have too."""
    return home / "state" / "standby.prom"


async def keep_written(path: Path, text: Callable[[], bytes]) -> None:
    """Write them every few seconds until cancelled; the file is taken away then. That it cannot be is logged."""
    try:
        while True:
            try:
                await asyncio.to_thread(_replace, path, text())
            except OSError as error:
                _log.warning("metrics: %s", error)
            await asyncio.sleep(EVERY_S)
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)


def _replace(path: Path, content: bytes) -> None:
    """Not flushed to the disk: after a crash of the machine nobody wants it.

    The draft has one name, as there is one writer: what a full disk leaves of it is overwritten by the next.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)
    os.replace(temporary, path)


def read_fresh(path: Path, now: float) -> str:
    """Return what is written there; empty if there is nothing, or nothing of late. ``now``: seconds since the epoch."""
    try:
        return path.read_text() if now - path.stat().st_mtime < FRESH_S else ""
    except FileNotFoundError:
        return ""
