"""Bounds around a caller's code inside a task process: a time cap and a memory cap.

Both work without killing the process where possible, so that the warm worker survives the trial.
"""

from __future__ import annotations

import _thread
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["TimeCapReached", "be_patient", "limited"]

HARD_GRACE_CPU_S = 10
"""CPU seconds after the time cap at which the kernel ends a process whose Python code no longer runs."""


IMPORT_PATIENCE_S = 15.0
"""An import is not interrupted before this time: what it leaves behind would break every later task of the process."""
_LOOK_AGAIN_S = 0.05
_ASK_AGAIN_S = 1.0
_MOST_ASKED = 4
"""So often code is interrupted after its time; what goes on all the same would keep process and CPU for good."""


class TimeCapReached(BaseException):
    """The time cap passed. Not an ``Exception``, so that a model's own ``except Exception`` does not eat it."""


@contextmanager
def limited(seconds: float | None, memory_bytes: int | None) -> Iterator[None]:
    """Run the block with at most ``seconds`` of wall time and ``memory_bytes`` of additional memory.

    The time cap interrupts Python code and system calls (`TimeCapReached`). Native code that holds the interpreter
    for good is ended by the kernel's CPU-time timer, with its process; code that goes on after several interruptions is
    ended with its process as well. The memory cap makes allocations fail (`MemoryError`); it counts private writable
    memory (``RLIMIT_DATA``) above what the process has already.

    Neither the time cap nor a cancellation interrupts an import that is under way (for `IMPORT_PATIENCE_S`); a memory
    cap cannot wait, so whatever the block needs should be imported before. Outside of a main thread signals cannot be
    set; then only the memory cap holds.
    """
    be_patient()
    with _memory_cap(memory_bytes), _time_cap(seconds):
        yield


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _after_imports(again: Callable[[], None], act: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
    """Return a signal handler that acts, or while an import is under way asks to be called again a little later."""
    first: list[float] = []

    def handle(_number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        first.append(now)
        if _is_importing(frame) and now - first[0] < IMPORT_PATIENCE_S:
            again()
        else:
            act()

    return handle


class _PatientInterrupt:
    """A handler of SIGINT that lets an import which is under way come to its end."""

    def __init__(self) -> None:
        self._asked_at: float | None = None

    def __call__(self, _number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
        if _is_importing(frame) and now - self._asked_at < IMPORT_PATIENCE_S:
            timer = threading.Timer(_LOOK_AGAIN_S, _thread.interrupt_main)
            timer.daemon = True
            timer.start()
            return
        self._asked_at = None  # the next cancellation waits anew
        raise KeyboardInterrupt


def be_patient() -> None:
    """From now on a cancellation of this process's tasks (SIGINT, as Ray sends it) waits for imports under way."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and not isinstance(signal.getsignal(signal.SIGINT), _PatientInterrupt):
        signal.signal(signal.SIGINT, _PatientInterrupt())


@contextmanager
def _time_cap(seconds: float | None) -> Iterator[None]:
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    asked = 0

    def again() -> None:
        signal.setitimer(signal.ITIMER_REAL, _LOOK_AGAIN_S, _ASK_AGAIN_S)

    def act() -> None:
        nonlocal asked
        asked += 1
        if asked > _MOST_ASKED:
            os.kill(os.getpid(), signal.SIGKILL)
        raise TimeCapReached

    seconds = max(seconds, 0.001)
    before = signal.signal(signal.SIGALRM, _after_imports(again, act))
    # Repeats: a model that catches even BaseException is interrupted again, and at last ended with its process.
    signal.setitimer(signal.ITIMER_REAL, seconds, _ASK_AGAIN_S)
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
