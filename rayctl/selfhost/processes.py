"""Starting processes so that they outlive us, recognising them later, and ending exactly those.

A process is named by its id *and* its start time, because ids are reused. What belongs to a Ray head is found by the
session that its first process leads: Ray's workers leave the process group but never the session, and its agents
overwrite their command line and environment, so that neither of these alone finds everything.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Proc", "ProcessId", "clean_up", "end", "end_all", "identify", "scan", "spawn", "stray", "wait_gone"]

_PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessId:
    """One process for ever: its id, its start time (clock ticks after boot) and its process group."""

    pid: int
    start_time: int
    pgid: int

    def alive(self) -> bool:
        """Tell whether this very process still runs (a zombie or a successor with the same id does not count)."""
        seen = _read(self.pid)
        return seen is not None and seen.start_time == self.start_time and seen.state not in "ZX"

    def to_dict(self) -> dict[str, int]:
        """Return the fields as they stand in ``up.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any] | None) -> ProcessId | None:
        """Read what `to_dict` wrote; anything else is None."""
        try:
            return cls(int(fields["pid"]), int(fields["start_time"]), int(fields["pgid"])) if fields else None
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True)
class Proc:
    """A row of the process table."""

    pid: int
    ppid: int
    pgid: int
    session: int
    state: str
    start_time: int


def _read(pid: int) -> Proc | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses and may itself contain blanks and parentheses.
    fields = text[text.rfind(")") + 2 :].split()
    return Proc(pid, int(fields[1]), int(fields[2]), int(fields[3]), fields[0], int(fields[19]))


def identify(pid: int) -> ProcessId | None:
    """Return the identity of a running process, or None when there is none."""
    seen = _read(pid)
    return None if seen is None else ProcessId(pid, seen.start_time, seen.pgid)


def scan() -> Iterator[Proc]:
    """Yield every process of the table that has not ended."""
    for entry in os.listdir(_PROC):
        if entry.isdigit():
            seen = _read(int(entry))
            if seen is not None and seen.state not in "ZX":
                yield seen


def spawn(
    argv: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path
) -> tuple[subprocess.Popen[bytes], ProcessId]:
    """Start a process that survives our terminal: own session, nothing on stdin, all output appended to ``log``."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            list(argv),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    found = identify(child.pid)
    return child, found or ProcessId(child.pid, 0, child.pid)


def _mentions(pid: int, file: str, needle: bytes) -> bool:
    try:
        return needle in (_PROC / str(pid) / file).read_bytes()
    except OSError:
        return False


def stray(
    *, sessions: Iterable[ProcessId] = (), path: Path | None = None, marker: str | None = None
) -> list[ProcessId]:
    """Find what is left of our children: only this user's processes, never this one or its ancestors.

    Args:
        sessions: Leaders whose session's members count (also when the leader itself has died).
        path: A folder; processes that name it in their command line count.
        marker: ``NAME=value``; processes started with it in their environment count.
    """
    table = {proc.pid: proc for proc in scan()}
    leaders = {leader.pid: leader.start_time for leader in sessions if not _reused(leader, table)}
    spared = set(_ancestors(table))
    own = os.geteuid()
    found = []
    for proc in table.values():
        if proc.pid in spared or _owner(proc.pid) != own:
            continue
        began = leaders.get(proc.session)
        if (
            (began is not None and proc.start_time >= began)
            or (path is not None and _names_path(proc.pid, path))
            or (marker is not None and _mentions(proc.pid, "environ", marker.encode() + b"\0"))
        ):
            found.append(ProcessId(proc.pid, proc.start_time, proc.pgid))
    return found


def _names_path(pid: int, path: Path) -> bool:
    # Only Ray's own spelling (a path below the folder, or the folder as an option's value), so that an
    # editor or a `tail` that a person has open on a log file is not taken for a part of the cluster.
    try:
        line = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False
    option = re.compile(rb"^--.*=" + re.escape(os.fsencode(path)) + rb"(?:[/\s]|$)", re.DOTALL)
    return any(option.search(part) for part in line.split(b"\0"))


def _owner(pid: int) -> int | None:
    try:
        return os.stat(_PROC / str(pid)).st_uid
    except OSError:
        return None


def _ancestors(table: Mapping[int, Proc]) -> Iterator[int]:
    pid = os.getpid()
    while pid in table:
        yield pid
        pid = table[pid].ppid


def _signal(target: ProcessId, number: int, *, group: bool = False) -> None:
    if not target.alive() and not group:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group:
            os.killpg(target.pgid, number)
        else:
            os.kill(target.pid, number)


def _group_is_ours(target: ProcessId) -> bool:
    """A group may be signalled if we made it: its leader started it, and every member is at least as old as that."""
    if target.pgid != target.pid or target.pgid == os.getpgrp():
        return False
    table = {proc.pid: proc for proc in scan()}
    if _reused(target, table):
        return False
    return any(proc.pgid == target.pgid and proc.start_time >= target.start_time for proc in table.values())


def _reused(leader: ProcessId, table: Mapping[int, Proc]) -> bool:
    # The kernel keeps a process id back while a group or session is named after it. So when another process has
    # the id now, nothing of the old group and session is left, and what carries the number is a stranger's.
    now = table.get(leader.pid)
    return now is not None and now.start_time != leader.start_time


def wait_gone(targets: Sequence[ProcessId], timeout_s: float, reap: Callable[[], object] = lambda: None) -> bool:
    """Wait until none of these processes is alive; ``reap`` collects our own ended children meanwhile."""
    deadline = time.monotonic() + timeout_s
    while True:
        reap()
        if not any(target.alive() for target in targets):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)


def end(target: ProcessId, *, grace_s: float, reap: Callable[[], object] = lambda: None) -> bool:
    """End a process that leads its own group: first politely, after ``grace_s`` the whole group for certain."""
    _signal(target, signal.SIGTERM)
    wait_gone([target], grace_s, reap)
    if _group_is_ours(target):
        _signal(target, signal.SIGKILL, group=True)
    else:
        _signal(target, signal.SIGKILL)
    return wait_gone([target], 5.0, reap)


def end_all(find: Callable[[], Sequence[ProcessId]], timeout_s: float = 10.0) -> list[ProcessId]:
    """Kill what ``find`` finds until it finds nothing more; return what could not be ended."""
    deadline = time.monotonic() + timeout_s
    while left := find():
        if time.monotonic() >= deadline:
            return list(left)
        for target in left:
            _signal(target, signal.SIGKILL)
        wait_gone(left, 1.0)
    return []


def clean_up(
    leader: ProcessId | None, *, path: Path | None, marker: str | None, grace_s: float, reap: Callable[[], object]
) -> list[ProcessId]:
    """End a child with everything it started; return what could not be ended."""
    if leader is not None:
        end(leader, grace_s=grace_s, reap=reap)
    sessions = () if leader is None else (leader,)
    return end_all(lambda: stray(sessions=sessions, path=path, marker=marker))
