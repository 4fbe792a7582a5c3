"""When a fit has to end: by the clock, or after as many steps as an earlier fit was given."""

from __future__ import annotations

import time
from collections.abc import Callable

from rayctl.errors import TrialError

__all__ = ["Clock", "timed_out"]

_RESERVE = 0.08
_RESERVE_MIN_S = 0.03
_RESERVE_MAX_S = 1.0


class Clock:
    """Asked by a fit after every step (round, tree, epoch) whether that was the last one.

    Args:
        deadline: ``now()`` seconds by which everything must be over; a little is kept back for predicting and
            packing the model. None: no limit.
        stop_at: End after exactly so many steps: the repetition of a fit that ended early.
        now: A monotonic clock.

    Attributes:
        after_step_s: Seconds that each step costs again after the fit, for storing it and predicting with it.
        stopped_at: Steps after which the fit was ended; None as long as it was not.
    """

    def __init__(
        self, deadline: float | None = None, stop_at: int | None = None, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._last = now()
        self._done = 0
        self._step_s = 0.0
        self._end = float("inf")
        if deadline is not None:
            share = _RESERVE * (deadline - self._last)
            self._end = deadline - min(_RESERVE_MAX_S, max(_RESERVE_MIN_S, share))
        self.after_step_s = 0.0
        self.stop_at = stop_at
        self.stopped_at: int | None = None

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self.stop_at is not None or self._end != float("inf")

    @property
    def now(self) -> float:
        """The time of this clock."""
        return self._now()

    @property
    def left_s(self) -> float:
        """Seconds left for fitting (infinite without a deadline)."""
        return self._end - self._now()

    def start(self) -> None:
        """Begin the first step.

        Raises:
            TrialError: ``trial-timeout``: there is no time for a single step.
        """
        self._last, self._done = self._now(), 0
        if self._last >= self._end:
            raise timed_out()

    def ends(self, done: int) -> bool:
        """Whether the fit is over after ``done`` steps: the next one would not end in time, or was not wanted."""
        moment = self._now()
        if done > self._done:
            # The slower of "like the last" and "like the slowest, forgotten slowly": steps are not equally long.
            step_s = (moment - self._last) / (done - self._done)
            self._step_s = max(step_s, 0.9 * self._step_s)
        self._last, self._done = moment, done
        late = moment + self._step_s + (done + 1) * self.after_step_s > self._end
        if late or (self.stop_at is not None and done >= self.stop_at):
            self.stopped_at = done
            return True
        return False

    def steps_left(self, most: int) -> int:
        """Return how many steps (1 to ``most``) can be taken at once before `ends` should be asked again."""
        if self.stop_at is not None:
            most = min(most, self.stop_at - self._done)
        if self._step_s > 0 and self._end != float("inf"):
            left_s = self._end - self._now() - self._done * self.after_step_s
            most = min(most, int(left_s / (self._step_s + self.after_step_s) / 2))
        return max(1, most)


def timed_out() -> TrialError:
    """Return the error of a fit that had no time for anything."""
    return TrialError(
        "There was no time to fit anything of this model.",
        code="trial-timeout",
        hint="Raise the time budget, or the time of a trial.",
    )
