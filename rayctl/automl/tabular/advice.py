"""What people should know about their table although it can be learned from: likely leaks, repeated rows, identifiers.

Cheap looks at a sample; nothing here changes what is used of the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayctl.automl.metrics import METRICS, score
from rayctl.automl.tabular import columns as col
from rayctl.automl.tabular.columns import Feature
from rayctl.automl.tabular.interactions import unit_ranks
from rayctl.automl.tabular.target import Target

__all__ = ["advise"]

_SAMPLE_ROWS = 5_000
_MIN_ROWS = 30
_LEAK_AUC = 0.995
_LEAK_ACCURACY = 0.995
_LEAK_CORRELATION = 0.999
_ROWS_PER_VALUE = 10
_MIN_CLASS = 10
_REPEATED_SHARE = 0.01
_REPEATED_ROWS = 200_000
_LOOKS = 16
_MISSING_SHARE = 0.95
_FEW_ROWS = 10


def advise(table: pa.Table, features: Sequence[Feature], target: Target, ordered_by: str | None = None) -> list[str]:
    """Return warnings, most serious first.

    Args:
        table: The rows that have a target.
        features: The columns that are used.
        target: Of these rows.
        ordered_by: A column that is known to number the rows (the request's time column).
    """
    columns = [col.canonical(feature, table.column(feature.name)) for feature in features]
    warnings = [*_leaks(features, columns, target), *_few_rows(target), *_repeated(table, features, target)]
    for feature, column in zip(features, columns, strict=True):
        present = len(column) - column.null_count
        if feature.kind == "number":
            values = col.numbers(column)
            present = int((~np.isnan(values)).sum())
            if feature.name != ordered_by and pa.types.is_integer(column.type) and _counts_rows(values):
                warnings.append(
                    f"Column {feature.name!r} holds a different, steadily rising or falling whole number in each of "
                    f"{len(values)} rows: if it only identifies rows, name it in id_columns."
                )
        if present < (1 - _MISSING_SHARE) * len(column):
            warnings.append(f"Column {feature.name!r} has a value in only {present} of {len(column)} rows.")
    return warnings


def _counts_rows(values: np.ndarray) -> bool:
    steps = np.diff(values)
    return len(values) >= _MIN_ROWS and bool((steps > 0).all() or (steps < 0).all())


def _few_rows(target: Target) -> Iterator[str]:
    counts = target.class_counts
    if counts is None or target.classes is None:
        return
    few = [(label, count) for label, count in zip(target.classes, counts, strict=True) if 1 < count < _FEW_ROWS]
    if few:
        shown = ", ".join(f"{label!r}: {count}" for label, count in few[:5]) + (", …" if len(few) > 5 else "")
        what = "1 class has" if len(few) == 1 else f"{len(few)} classes have"
        yield f"{what} fewer than {_FEW_ROWS} rows ({shown}): what is said about them is uncertain."


def _repeated(table: pa.Table, features: Sequence[Feature], target: Target) -> Iterator[str]:
    rows = min(len(table), _REPEATED_ROWS)
    keys = [col.merged(table.column(feature.name).slice(0, rows)) for feature in features]
    enough = max(_REPEATED_SHARE * rows, 2)
    # There are as many different rows as there are different values in any column: mostly that ends it here.
    telling = sorted(range(len(keys)), key=lambda place: features[place].kind != "text")[:_LOOKS]
    if any(rows - pc.count_distinct(keys[place], mode="all").as_py() < enough for place in telling):
        return
    names = [str(index) for index in range(len(keys) + 1)]
    compared = pa.Table.from_arrays([*keys, pa.array(target.values[:rows])], names=names)
    numbered = compared.append_column("row", pa.array(np.arange(rows)))
    found = numbered.group_by(names).aggregate([("row", "count"), ("row", "min"), ("row", "max")])
    extra = rows - len(found)
    if extra < enough:
        return
    found = found.filter(pc.greater(found["row_count"], 1)).slice(0, 3)
    positions = np.arange(rows) if target.rows is None else target.rows
    pairs = zip(found["row_min"].to_pylist(), found["row_max"].to_pylist(), strict=True)
    shown = "; ".join(f"{positions[first]} and {positions[last]}" for first, last in pairs)
    yield (
        f"{extra} of {rows} rows ({extra / rows:.0%}) repeat another row exactly (rows {shown}): with copies in "
        "training and test part scores look better than they are. Remove them, or name a group_column."
    )


def _leaks(features: Sequence[Feature], columns: Sequence[pa.ChunkedArray], target: Target) -> Iterator[str]:
    rows = np.arange(len(target.values))
    if len(rows) < _MIN_ROWS:
        return
    if len(rows) > _SAMPLE_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(len(rows), _SAMPLE_ROWS, replace=False))
    truth = target.values[rows]
    if target.classes is not None and np.sort(np.bincount(truth, minlength=2))[-2] < _MIN_CLASS:
        return  # a few rows are told by chance
    for feature, column in zip(features, columns, strict=True):
        found = _tells(feature, column.take(pa.array(rows)), truth, target)
        if found:
            yield (
                f"Column {feature.name!r} alone tells the target almost exactly ({found} in {len(rows)} rows): "
                "leave it out if it is only known together with the target."
            )


def _tells(feature: Feature, column: pa.ChunkedArray, truth: np.ndarray, target: Target) -> str | None:
    """Return how well one column alone tells the target, if it does so suspiciously well."""
    if feature.kind == "text":
        return None
    if feature.kind == "category":
        codes = pc.dictionary_encode(col.texts(column)).indices.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return _codes_tell(np.where(np.isnan(codes), -1, codes).astype(np.int64) + 1, truth, target)
    if feature.kind == "datetime":
        micros, valid = col.timestamps(column)
        values = np.where(valid, micros.astype(np.float64), np.nan)
    else:
        values = col.numbers(column)
    if target.classes is None:
        present = ~np.isnan(values)
        if present.sum() < _MIN_ROWS:
            return None
        correlation = abs(float(unit_ranks(values[present]) @ unit_ranks(truth[present])))
        return f"rank correlation {correlation:.4f}" if correlation > _LEAK_CORRELATION else None
    if len(target.classes) == 2:
        # Whether there is a value at all may tell it too: missing values count as smallest, then as largest.
        _, ranks = np.unique(values, return_inverse=True)  # NaN comes last
        missing = np.isnan(values)
        orders = (ranks, np.where(missing, -1, ranks)) if missing.any() else (ranks,)
        areas = [score(METRICS["roc_auc"], truth, order.astype(np.float64), 2) for order in orders]
        best = max(max(area, 1 - area) for area in areas)
        return f"ROC AUC {best:.4f}" if best > _LEAK_AUC else None
    found, codes = np.unique(values, return_inverse=True)
    if len(found) <= len(values) // _ROWS_PER_VALUE:
        return _codes_tell(codes.ravel(), truth, target)
    return _neighbours_tell(values, truth)


def _halves(rows: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(rows) % 2 == 0


def _neighbours_tell(values: np.ndarray, truth: np.ndarray) -> str | None:
    """As `_tells` for numbers and three or more classes: each row is told by the nearest row of the other half."""
    values = np.nan_to_num(values, nan=np.finfo(np.float64).min)
    hits, half = 0, _halves(len(truth))
    for known in (half, ~half):
        order = np.argsort(values[known], kind="stable")
        near, classes = values[known][order], truth[known][order]
        above = np.clip(np.searchsorted(near, values[~known]), 1, len(near) - 1)
        closer = np.where(values[~known] - near[above - 1] <= near[above] - values[~known], above - 1, above)
        hits += int((classes[closer] == truth[~known]).sum())
    return _suspicious(hits / len(truth), truth)


def _suspicious(accuracy: float, truth: np.ndarray) -> str | None:
    # Where nearly all rows are of one class, guessing it is no leak: at least 90% of the other rows must be told.
    others = 1 - np.bincount(truth).max() / len(truth)
    return f"accuracy {accuracy:.4f}" if accuracy > _LEAK_ACCURACY and 1 - accuracy < 0.1 * others else None


def _codes_tell(codes: np.ndarray, truth: np.ndarray, target: Target) -> str | None:
    """As `_tells` for codes: each half of the rows is told by what the other half has learned."""
    half = _halves(len(truth))
    size = int(codes.max()) + 1
    if target.classes is None:
        guesses = np.empty(len(truth))
        for known in (half, ~half):
            count = np.bincount(codes[known], minlength=size)
            total = np.bincount(codes[known], truth[known], size)
            means = np.where(count > 0, total / np.maximum(count, 1), truth[known].mean())
            guesses[~known] = means[codes[~known]]
        spread = float(((truth - truth.mean()) ** 2).sum())
        share = 1 - float(((truth - guesses) ** 2).sum()) / spread if spread > 0 else 0.0
        return f"{share:.2%} of its variance" if share > _LEAK_CORRELATION else None
    classes = len(target.classes)
    hits = 0
    for known in (half, ~half):
        votes = np.bincount(codes[known] * classes + truth[known], minlength=size * classes).reshape(size, classes)
        told = np.where(votes.sum(axis=1) > 0, votes.argmax(axis=1), -1)
        hits += int((told[codes[~known]] == truth[~known]).sum())
    return _suspicious(hits / len(truth), truth)
