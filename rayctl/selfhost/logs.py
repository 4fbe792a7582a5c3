"""What the supervisor and its children log, their log files, and what Ray leaves in its temp dir."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
from pathlib import Path

__all__ = ["remove_sessions", "rotate", "rotate_if_large", "tail", "tell_on_stdout"]

_LARGEST = 20_000_000
_LINE = "%(asctime)s %(levelname)s %(message)s"


def tell_on_stdout(line: str = _LINE) -> None:
    """Let a process log to its standard output; not every request that it makes, which are some a second."""
    logging.basicConfig(level=logging.INFO, format=line, stream=sys.stdout)
    logging.getLogger("httpx2").setLevel(logging.WARNING)


def rotate(path: Path, *, larger_than: int = 0) -> None:
    """Keep the previous content of a log as ``<name>.1`` and let the next writer begin with an empty file."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > larger_than:
            os.replace(path, path.with_name(path.name + ".1"))


def rotate_if_large(path: Path) -> None:
    """Rotate between two lives of a child only when the log has become large: the reason of the death is in it."""
    rotate(path, larger_than=_LARGEST)


def tail(path: Path, lines: int = 20, at_most: int = 64_000) -> str:
    """Return the last lines of a log, or an empty text."""
    try:
        with path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - at_most))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.rstrip().splitlines()[-lines:])


def remove_sessions(temp_dir: Path) -> None:
    """Remove what a Ray head that no longer runs left in its temp dir, and the folder itself if that empties it.

    Ray never removes its session folders. ``ray_current_cluster`` must go before a restart: while it names the
    address of a head of which any process still lives, ``ray start`` refuses to start.
    """
    if temp_dir.is_symlink() or not temp_dir.is_dir() or temp_dir.stat().st_uid != os.geteuid():
        return
    for entry in list(temp_dir.iterdir()):
        if entry.name.startswith("session_") and entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name in {"ray_current_cluster", "session_latest", "prom_metrics_service_discovery.json"}:
            with contextlib.suppress(OSError):
                entry.unlink()
    with contextlib.suppress(OSError):
        temp_dir.rmdir()
