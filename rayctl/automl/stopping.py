"""Tasks of folds that are being stopped: they may end by themselves, are asked to, and are killed at last. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rayctl.automl.actions import StopTask

__all__ = ["STOP_GRACE_S", "Stops"]

STOP_GRACE_S = 0.5
"""A task that was asked to stop and is still there after this time is killed with its worker process."""

Key = tuple[int, int]
"""(trial, fold)"""


@dataclass
class _Stop:
    since: float
    ask_at: float
    asked: bool = False
    forced: bool = False


class Stops:
    """The tasks that are being stopped; a task is one until it `ended`. Times are seconds of the caller's clock."""

    def __init__(self) -> None:
        self._stops: dict[Key, _Stop] = {}
        self._at_once: list[Key] = []

    def __len__(self) -> int:
        return len(self._stops)

    def __contains__(self, key: object) -> bool:
        return key in self._stops

    def __iter__(self) -> Iterator[Key]:
        return iter(self._stops)

    def add(self, key: Key, now: float, ask_at: float | None = None) -> None:
        """Stop a task; until ``ask_at`` (default: now) it may end by itself. Nothing happens if it is being stopped."""
        self._stops.setdefault(key, _Stop(now, now if ask_at is None else ask_at))

    def kill(self, key: Key) -> None:
        """Kill a task at once whose fold goes on being waited for: it will be lost, and repeated."""
        self._at_once.append(key)

    def ended(self, key: Key) -> None:
        """A task is over, in whatever way."""
        self._stops.pop(key, None)

    def plan(self, now: float) -> Iterator[StopTask]:
        """Yield what is due."""
        yield from (StopTask(*key, force=True) for key in self._at_once)
        self._at_once = []
        for key, stop in self._stops.items():
            if not stop.asked and now >= stop.ask_at:
                stop.asked = True
                yield StopTask(*key, force=False)
            elif now - stop.since >= STOP_GRACE_S and not stop.forced:
                stop.forced = True
                yield StopTask(*key, force=True)

    def kill_all(self) -> Iterator[StopTask]:
        """Yield the end of all that is still there: nobody will ask again."""
        return (StopTask(*key, force=True) for key, stop in self._stops.items() if not stop.forced)

    def due_at(self, now: float) -> list[float]:
        """Return when `plan` has something to do because time has passed."""
        waiting = [stop for stop in self._stops.values() if not stop.forced]
        return [stop.since + STOP_GRACE_S if stop.asked else max(stop.ask_at, now) for stop in waiting]
