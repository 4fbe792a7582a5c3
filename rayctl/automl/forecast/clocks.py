"""Which clocks a collection's times follow: in which zone answers are given, and where its grid is regular.

Days, weeks, months and business days begin at midnight on the clocks of a place, also after summer time has begun or
ended; hours go on regardless of the clocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rayctl.automl.forecast.frequency import Frequency, infer_frequency, origin_of
from rayctl.automl.zones import UTC, hour_later, is_fixed, texts, to_clocks, to_moments

__all__ = ["Clock", "choose_clock"]

_D = 86_400_000_000


@dataclass(frozen=True)
class Clock:
    """``zone``: that answers are given in; None: the caller's times name none, and the answers neither.

    ``grid``: the zone on whose clocks the steps are regular. Times of the grid are what its clocks show.
    """

    zone: str | None = None
    grid: str = UTC

    def on_grid(self, moments: np.ndarray) -> np.ndarray:
        """Return what the grid's clocks show at moments (int64, microseconds since 1970 in UTC)."""
        return to_clocks(moments, self.grid)

    def moments(self, times: np.ndarray) -> np.ndarray:
        """Return the moments of times of the grid."""
        return to_moments(times, self.grid)

    def shown(self, times: np.ndarray) -> np.ndarray:
        """Return what clocks of the answers' zone show at times of the grid: the day and hour that people live by."""
        if self.zone is None or self.grid != UTC:
            return times
        return to_clocks(times, self.zone)

    def array(self, moments: np.ndarray, calendar: bool) -> pa.Array:
        """Return the column of times of an answer; without ``calendar`` they are the caller's whole numbers."""
        return pa.array(moments).cast(pa.timestamp("us", self.zone)) if calendar else pa.array(moments)

    def text(self, time: int, calendar: bool) -> str:
        """Return one time of the grid as text for messages."""
        if not calendar:
            return str(int(time))
        moment = self.moments(np.array([time], np.int64))
        if self.zone is not None:
            return texts(moment, self.zone)[0]
        return str(pa.scalar(int(moment[0]), pa.timestamp("us")).as_py())


def choose_clock(moments: np.ndarray, offsets: np.ndarray, zone: str | None, wanted: Frequency | None) -> Clock:
    """Return the clock on which the times of all series are most regular.

    Args:
        moments: int64, ascending within a series; series ``i`` is ``offsets[i]:offsets[i + 1]``.
        offsets: Where each series begins, and the end.
        zone: Of the times; None: they have none, and are taken as they are.
        wanted: The frequency that the caller gave.
    """
    if zone is None:
        return Clock()
    grids = list(dict.fromkeys([zone, hour_later(zone), UTC] if is_fixed(zone) else [zone, UTC]))
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    found = []
    for place, grid in enumerate(grids):
        times = to_clocks(moments, grid)
        origin = origin_of(times, offsets, True)
        frequency = wanted or infer_frequency(times, offsets, origin, True)
        if frequency is None or frequency.unit == "step":
            continue
        by_row = origin.take(rows)
        steps, fits = frequency.positions(times, by_row)
        # In moments: a day without midnight begins when it does.
        off = float(np.abs(moments - to_moments(frequency.times(steps, by_row), grid)).sum())
        parts_of_a_day = frequency.unit == "us" and frequency.count % _D != 0
        # Where several are as good: hours in UTC, days where the caller lives.
        rank = int(grid != UTC) if parts_of_a_day else place
        if fits.all() and off == 0.0 and rank == 0:
            return Clock(zone, grid)
        found.append((int((~fits).sum()), off, rank, place))
    return Clock(zone, grids[min(found)[-1]] if found else zone)
