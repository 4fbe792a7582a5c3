"""When to try again, and how long to wait before it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from rayctl.errors import DeadlineExceeded, RayctlError, ServerUnreachable, Unavailable

__all__ = ["OUTAGE_S", "Patience", "is_outage", "retrying"]

T = TypeVar("T")

OUTAGE_S = 60.0
"""How long watching and waiting survive a service that is away (a restart takes seconds)."""

_MAX_DELAY_S = 5.0
_sleep = time.sleep  # a name of its own, so that tests replace waiting and nothing else


def is_outage(error: RayctlError) -> bool:
    """Whether the service was not there or did not answer, as opposed to having said no."""
    return isinstance(error, (ServerUnreachable, Unavailable, DeadlineExceeded))


def retrying(call: Callable[[int], T], *, may_repeat: Callable[[RayctlError], bool], attempts: int = 3) -> T:
    """Run ``call(attempt)`` until it succeeds, at most ``attempts`` times.

    ``may_repeat`` decides per error; the last error is raised as it is. Waits 0.2 s, 0.4 s, … with jitter, or
    what the server asked for where that is not longer than a person would wait.
    """
    for attempt in range(attempts):
        try:
            return call(attempt)
        except RayctlError as error:
            asked = error.retry_after_s or 0.0
            if attempt == attempts - 1 or asked > _MAX_DELAY_S or not may_repeat(error):
                raise
            _sleep(max(asked, _delay(attempt)))
    raise AssertionError("attempts must be at least 1")


class Patience:
    """Counts one outage: `pause` waits a little longer each time, and raises the error when it lasts too long."""

    def __init__(self, limit_s: float = OUTAGE_S) -> None:
        self._limit_s = limit_s
        self._waited_s = 0.0
        self._failures = 0

    def reset(self) -> None:
        """The service answered: the next failure starts a new outage."""
        self._waited_s = 0.0
        self._failures = 0

    def pause(self, error: RayctlError, at_most_s: float | None = None) -> None:
        """Wait before the next try, or raise ``error`` once the limit is reached."""
        if self._waited_s >= self._limit_s:
            raise error
        delay = max(error.retry_after_s or 0.0, _delay(self._failures))
        if at_most_s is not None:
            delay = min(delay, max(0.0, at_most_s))
        self._failures += 1
        self._waited_s += max(delay, 0.1)
        _sleep(delay)


def pause_briefly(seconds: float) -> None:
    """Sleep; for loops whose other side answered sooner than it was asked to."""
    _sleep(seconds)


def _delay(failures: int) -> float:
    return min(_MAX_DELAY_S, 0.2 * 2.0 ** min(failures, 10)) * random.uniform(0.75, 1.25)
