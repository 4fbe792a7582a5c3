"""Processes of this machine as the kubelet meets them: recognised for ever by id and start time, ended for certain."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Process", "holding", "is_alive", "scan", "send", "strays"]

_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One process for ever. ``start_time``: clock ticks after boot; ``terminal``: 0 for none."""

    pid: int
    start_time: int
    parent: int = 0
    session: int = 0
    state: str = ""
    terminal: int = 0


def _read(pid: int) -> Process | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses and may itself contain blanks and parentheses.
    fields = text[text.rfind(")") + 2 :].split()
    return Process(pid, int(fields[19]), int(fields[1]), int(fields[3]), fields[0], int(fields[4]))


def is_alive(pid: int, start_time: int) -> bool:
    """Tell whether this very process still runs; a zombie or a successor with the same id does not count."""
    found = _read(pid)
    return found is not None and found.start_time == start_time and found.state not in "ZX"


def scan() -> Iterator[Process]:
    """Yield all processes that have not ended."""
    for entry in os.listdir(_PROC):
        if entry.isdigit():
            found = _read(int(entry))
            if found is not None and found.state not in "ZX":
                yield found


def send(pid: int, start_time: int, number: signal.Signals) -> bool:
    """Signal a process if it is still the same; the kernel keeps the id for us while we hold its descriptor."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not is_alive(pid, start_time):
            return False
        signal.pidfd_send_signal(descriptor, number)
        return True
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def holding(namespace: str | None) -> Iterator[tuple[int, int] | None]:
    """Give (device, inode) of a namespace by its path, for the time of a block; None: there is none.

    It is kept open meanwhile: the kernel gives the inode of a namespace that is gone to the next one that is made, and
    the processes in that would be taken for this one's.
    """
    if namespace is None:
        yield None
        return
    try:
        descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        seen = os.fstat(descriptor)
        yield seen.st_dev, seen.st_ino
    finally:
        os.close(descriptor)


def strays(marker: str, folders: Iterable[str] = (), net: tuple[int, int] | None = None) -> list[Process]:
    """Find what is left of a pod though its shims have ended: only this user's processes, never this one.

    Args:
        marker: ``NAME=value`` in the environment that they were started with.
        folders: Processes without a terminal whose working folder is in one of these, or with an option that names a
            path in it, count; a person who looks around there has a terminal.
        net: (device, inode) of a network namespace, see `holding`; all processes in it count.
    """
    own = os.geteuid()
    below = [folder.rstrip("/") + "/" for folder in folders]
    found = []
    for process in scan():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(OSError):
            place = _PROC / str(process.pid)
            if place.stat().st_uid == own and _belongs(place, marker.encode(), [] if process.terminal else below, net):
                found.append(process)
    return found


def _belongs(place: Path, marker: bytes, below: list[str], net: tuple[int, int] | None) -> bool:
    if net is not None:
        seen = (place / "ns" / "net").stat()
        if (seen.st_dev, seen.st_ino) == net:
            return True
    if marker in (place / "environ").read_bytes().split(b"\0"):
        return True
    line = (place / "cmdline").read_bytes().split(b"\0")
    texts = [os.readlink(place / "cwd") + "/"]
    # Only as the value of an option or as a path of its own: a person's `tail -f` of a log is not a part of the pod,
    # so plain arguments do not count.
    texts += [os.fsdecode(word.partition(b"=")[2]) for word in line if word.startswith(b"--")]
    return any(text.startswith(folder) for text in texts for folder in below)
