"""Bounds around a caller's code inside a task process: a time cap and a memory cap.

Both work without killing the process where possible, so that the warm worker survives the trial.
"""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["TimeCapReached", "limited"]

HARD_GRACE_CPU_S = 10
"""CPU seconds after the time cap at which the kernel ends a process whose Python code no longer runs."""


class TimeCapReached(BaseException):
    """The time cap passed. Not an ``Exception``, so that a model's own ``except Exception`` does not eat it."""


@contextmanager
def limited(seconds: float | None, memory_bytes: int | None) -> Iterator[None]:
    """Run the block with at most ``seconds`` of wall time and ``memory_bytes`` of additional memory.

    The time cap interrupts Python code and system calls (`TimeCapReached`). Native code that holds the interpreter
    for good is ended by the kernel's CPU-time timer, with its process. The memory cap makes allocations fail
    (`MemoryError`); it counts private writable memory (``RLIMIT_DATA``) above what the process has already.

    Outside of a main thread signals cannot be set; then only the memory cap holds.
    """
    with _memory_cap(memory_bytes), _time_cap(seconds):
        yield


@contextmanager
def _time_cap(seconds: float | None) -> Iterator[None]:
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise TimeCapReached

    seconds = max(seconds, 0.001)
    before = signal.signal(signal.SIGALRM, interrupt)
    # Repeats: a model that catches even BaseException is interrupted again.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds + HARD_GRACE_CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _memory_cap(memory_bytes: int | None) -> Iterator[None]:
    if memory_bytes is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    cap = _private_bytes() + memory_bytes
    if before[1] != resource.RLIM_INFINITY:
        cap = min(cap, before[1])
    resource.setrlimit(resource.RLIMIT_DATA, (cap, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _private_bytes() -> int:
    """Private writable memory of this process in bytes, as the kernel counts it for ``RLIMIT_DATA``."""
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0
