"""How a column is used: its kind, how its text is read, or why it is not used at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayctl.automl.tabular import columns as col
from rayctl.automl.tabular import formats
from rayctl.automl.tabular.columns import Feature
from rayctl.automl.tabular.target import examples

__all__ = ["Decision", "decide"]

_FEW_NUMBERS = 20
_FEW_TEXTS = 20
_ID_SHARE = 0.9
_TEXT_WORDS = 2.5
_TEXT_SHARE = 0.3
_LONG_CHARS = 12
_PROBE, _PROBE_CHARS = 2_000, 2_000


@dataclass(frozen=True)
class Decision:
    """``feature`` None: the column is not used, ``why`` says so. ``note``: what was done that people may not expect."""

    feature: Feature | None
    why: str = ""
    note: str = ""


def decide(name: str, column: pa.ChunkedArray, positions: np.ndarray | None = None) -> Decision:
    """Decide how a column of the training table is used, by its type and its values.

    ``positions``: of its rows in the caller's table, for what is said of single rows; None: it has all of them.
    """
    kind = col.kind_of(column.type)
    if kind is None:
        return Decision(None, f"values of type {column.type} are not supported")
    if kind == "category":
        return _decide_text(name, col.texts(column), positions)
    if kind == "datetime":
        micros, valid = col.timestamps(column)
        values = np.where(valid, micros.astype(np.float64), np.nan)
    else:
        values = col.numbers(column)
    why = _empty_or_constant(values)
    if why and kind == "number" and pc.count_distinct(column).as_py() > 1:
        why = "its values are so large that they are one and the same floating-point number"
    return Decision(None, why) if why else Decision(Feature(name, kind))


def _empty_or_constant(values: np.ndarray) -> str:
    gone = np.isnan(values)
    if gone.all():
        return "all its values are missing"
    if not gone.any() and values.min() == values.max():
        return f"all {len(values)} rows have the same value"
    return ""


def _decide_text(name: str, values: pa.Array, positions: np.ndarray | None) -> Decision:
    distinct = values.drop_null().unique()
    rows = len(values) - values.null_count
    if not len(distinct):
        return Decision(None, "all its values are missing")
    if len(distinct) == 1 and not values.null_count:
        return Decision(None, f"all {len(values)} rows have the same value")
    reading = formats.find_reading(values)
    few = len(distinct) <= _FEW_NUMBERS and formats.is_plain(distinct)
    if reading is not None and not (reading.startswith("number") and few):
        return _read(name, values, reading, positions)
    if len(distinct) <= _FEW_TEXTS:
        return Decision(Feature(name, "category"))
    if len(distinct) > _TEXT_SHARE * rows and _is_prose(distinct):
        return Decision(Feature(name, "text"))
    if len(distinct) > _ID_SHARE * rows:
        shown = ", ".join(map(repr, distinct.slice(0, 2).to_pylist()))
        return Decision(
            None, f"it is text with {len(distinct)} different values in {rows} rows, like an identifier ({shown[:80]})"
        )
    return Decision(Feature(name, "category"))


def _is_prose(distinct: pa.Array) -> bool:
    """Whether values have several words, or are long sentences in a script without spaces."""
    probe = distinct.take(pa.array(range(0, len(distinct), max(1, len(distinct) // _PROBE))))
    probe = pc.utf8_slice_codeunits(probe, 0, _PROBE_CHARS)
    words = 1 + (pc.mean(pc.count_substring_regex(probe, r"\S\s+\S")).as_py() or 0.0)
    if words >= _TEXT_WORDS:
        return True
    foreign = pc.mean(pc.match_substring_regex(probe, r"[\x{0e00}-\x{0e7f}\x{3040}-\x{9fff}]{4}")).as_py()
    return bool(foreign > 0.5 and pc.mean(pc.utf8_length(probe)).as_py() > _LONG_CHARS)


def _read(name: str, values: pa.Array, reading: str, positions: np.ndarray | None) -> Decision:
    parsed = formats.parse(values, reading)
    lost = np.asarray(values.is_valid()) & ~np.asarray(parsed.is_valid())
    kind: col.Kind = "datetime" if reading.startswith("date") else "number"
    as_floats = parsed.cast(pa.int64()).cast(pa.float64(), safe=False) if kind == "datetime" else parsed
    why = _empty_or_constant(as_floats.to_numpy(zero_copy_only=False).astype(np.float64))
    if why:
        return Decision(None, why)
    first = int(np.flatnonzero(np.asarray(parsed.is_valid()))[0])
    example = f"{values[first].as_py()!r} is {parsed[first].as_py()}"
    what = "dates" if kind == "datetime" else "hours" if reading == "number:clock" else "numbers"
    note = f"Column {name!r} is text and was read as {what} ({example})"
    if lost.any():
        rows = examples(lost, positions=positions)
        texts = ", ".join(map(repr, dict.fromkeys(values.filter(pa.array(lost)).slice(0, 20).to_pylist())))
        note += f"; {int(lost.sum())} values that do not read so count as missing ({texts[:80]}; rows {rows})"
    return Decision(Feature(name, kind, reading), note=note + ".")
