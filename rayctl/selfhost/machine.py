"""What this machine (or container) offers to a Ray head: CPUs, memory, shared memory.

Ray would detect most of it itself, but then several clusters on one machine each claim all of it, and a container's
limits are seen by some of Ray's parts and not by others. rayctl measures once and passes explicit numbers.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Machine", "object_store_bytes", "worker_memory_bytes"]

MIB = 1024 * 1024
_SMALLEST_STORE = 100 * MIB  # Ray refuses less than 75 MiB
_LARGEST_DEFAULT_STORE = 2_000_000_000


@dataclass(frozen=True)
class Machine:
    """CPUs that may be used, memory in bytes, free bytes of ``/dev/shm``."""

    cpus: int
    memory: int
    shm_free: int

    @classmethod
    def measure(cls, cgroup: Path = Path("/sys/fs/cgroup")) -> Machine:
        """Look at the affinity mask, the memory, and the container's limits (cgroup v2)."""
        return cls(_cpus(cgroup), _memory(cgroup), _shm_free())


def object_store_bytes(machine: Machine) -> int:
    """Return the object store's size: a fifth of the memory, half of the shared memory, 2 GB at most."""
    wanted = min(machine.memory // 5, machine.shm_free // 2, _LARGEST_DEFAULT_STORE)
    return max(wanted, _SMALLEST_STORE)


def worker_memory_bytes(machine: Machine) -> int:
    """Return the memory that Ray may hand out to tasks and actors: about 70 %, the rest is for Ray itself."""
    return int(machine.memory * 0.7)


def _cpus(cgroup: Path) -> int:
    usable = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()[:2]
        if quota != "max":
            usable = min(usable, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass
    return max(1, usable)


def _memory(cgroup: Path) -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int((cgroup / "memory.max").read_text()))
    except (OSError, ValueError):
        return total


def _shm_free() -> int:
    try:
        seen = os.statvfs("/dev/shm")  # noqa: S108
    except OSError:
        return 0
    return seen.f_bavail * seen.f_frsize
