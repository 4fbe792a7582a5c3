"""Process trees by /proc: who belongs to a run, what it uses, and how it is ended.

A tree is found by a mark in the environment and by descent, because Ray's daemons leave their parents and its workers
overwrite the memory in which their environment was.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["MARK", "Tree", "Usage", "busy_s"]

MARK = "RAYCTL_QUALITY_MARK"
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# A process that is younger may not have replaced its parent's environment by its own yet.
_SETTLED_S = 2.0


@dataclass(frozen=True)
class Usage:
    """CPU seconds so far (of ended members as well), and bytes now.

    ``rss`` counts shared pages once for each process; ``private`` counts none of them. The truth lies between.
    """

    cpu_s: float
    rss: int
    private: int


@dataclass
class Tree:
    """All processes that carry ``mark`` or descend from one that does."""

    mark: str
    _cpu_s: dict[tuple[int, int], float] = field(default_factory=dict)
    _strangers: set[tuple[int, int]] = field(default_factory=set)

    def sample(self) -> Usage:
        """Look at all processes of the machine once."""
        rss = private = 0
        for pid, stat in self._members().items():
            self._cpu_s[(pid, int(stat[19]))] = (int(stat[11]) + int(stat[12])) / _TICK
            with contextlib.suppress(OSError, IndexError):
                pages = Path(f"/proc/{pid}/statm").read_text().split()
                rss += int(pages[1]) * _PAGE
                private += (int(pages[1]) - int(pages[2])) * _PAGE
        return Usage(sum(self._cpu_s.values()), rss, private)

    def kill(self) -> int:
        """End every member by its id; return how many there were. Repeats, since a dying parent may start another."""
        ended = 0
        for _ in range(5):
            members = self._members()
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    ended += 1
            if not members:
                break
            time.sleep(0.2)
        return ended

    def _members(self) -> dict[int, list[str]]:
        """Return the fields of /proc/pid/stat, from the state on, for each living member."""
        stats = {int(name): stat for name in os.listdir("/proc") if name.isdigit() and (stat := _stat(int(name)))}
        found: dict[int, bool] = {}
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME)

        def belongs(pid: int) -> bool:
            if pid not in found:
                found[pid] = False  # also ends the search should parents ever form a ring
                stat = stats.get(pid)
                if stat is not None:
                    found[pid] = self._is_marked(pid, int(stat[19]), now_s) or belongs(int(stat[1]))
            return found[pid]

        return {pid: stat for pid, stat in stats.items() if belongs(pid) and stat[0] != "Z"}

    def _is_marked(self, pid: int, started: int, now_s: float) -> bool:
        identity = (pid, started)
        if identity in self._cpu_s:
            return True
        if identity in self._strangers:
            return False
        try:
            marked = f"{MARK}={self.mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False
        if not marked and now_s - started / _TICK > _SETTLED_S:
            self._strangers.add(identity)
        return marked


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/pid/stat behind the name, which may hold spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def busy_s(cores: frozenset[int]) -> float:
    """CPU seconds since boot that these cores spent on anything, the hypervisor's other guests included."""
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            user, nice, system, _idle, _wait, irq, softirq, steal = map(int, ticks[:8])
            total += user + nice + system + irq + softirq + steal
    return total / _TICK
