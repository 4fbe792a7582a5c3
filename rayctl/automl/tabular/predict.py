"""Prediction with a tabular bundle: the check of a table against the training schema, and the output table."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayctl.automl.tabular.columns import Feature, Kind, kind_of, numbers, texts
from rayctl.automl.tabular.formats import is_mark, parse
from rayctl.automl.tabular.target import Label, examples
from rayctl.automl.tabular.validate import duplicates
from rayctl.errors import FieldError, InvalidData

__all__ = ["match_columns", "output_table"]

_WANTED = {
    "number": "numbers",
    "bool": "true/false values or numbers",
    "datetime": "dates",
    "category": "text",
    "text": "text",
}
_TYPES = {"number": pa.float64(), "datetime": pa.timestamp("us"), "category": pa.string()}


def match_columns(features: Sequence[Feature], table: pa.Table) -> list[pa.ChunkedArray]:
    """Return the columns that a model needs, converted to the kinds it was trained on; others are ignored.

    Whole numbers serve as categories or text, and texts as numbers or dates if every value reads as one; where training
    read them from text, other values are missing, as they were there. Categories that were not seen in training are
    allowed.

    Raises:
        InvalidData: ``empty-table``, ``duplicate-columns``, ``missing-column``, ``wrong-type``, ``non-finite``.
    """
    if len(table) == 0:
        raise InvalidData("The table is empty: there are no rows to predict.", code="empty-table")
    needed = [feature.name for feature in features]
    repeated = [name for name in duplicates(table.column_names) if name in needed]
    if repeated:
        raise _defect("duplicate-columns", {name: f"column {name!r} occurs more than once" for name in repeated})
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        others = [name for name in table.column_names if name not in needed]
        close = [(found[0], name) for name in missing if (found := difflib.get_close_matches(name, others, n=1))]
        hint = f"Did you mean {close[0][0]!r} by {close[0][1]!r}?" if close else _columns_hint(needed)
        raise _defect("missing-column", {name: f"column {name!r} is missing" for name in missing}, hint)
    converted, wrong = [], {}
    for feature in features:
        column = _convert(feature, table.column(feature.name))
        if isinstance(column, str):
            wrong[feature.name] = f"column {feature.name!r} must hold {_WANTED[feature.kind]}, but {column}"
        else:
            converted.append(column)
    if wrong:
        raise _defect("wrong-type", wrong, "Send the columns with the types that the model was trained on.")
    infinite = {}
    for feature, column in zip(features, converted, strict=True):
        if feature.kind == "number" and np.isinf(values := numbers(column)).any():
            rows = examples(np.isinf(values))
            infinite[feature.name] = f"column {feature.name!r} has infinite values (rows {rows})"
    if infinite:
        raise _defect("non-finite", infinite, "Replace infinities by numbers, or by missing values.")
    return converted


def _columns_hint(needed: Sequence[str]) -> str:
    more = f" and {len(needed) - 20} more" if len(needed) > 20 else ""
    return f"The model needs the columns {', '.join(map(repr, needed[:20]))}{more}; values may be missing."


def _defect(code: str, problems: dict[str, str], hint: str | None = None) -> InvalidData:
    errors: list[FieldError] = [{"pointer": f"/data/{name}", "message": text} for name, text in problems.items()]
    return InvalidData(
        f"The table does not fit the model: {'; '.join(problems.values())}.", code=code, hint=hint, errors=errors
    )


def _convert(feature: Feature, column: pa.ChunkedArray) -> pa.ChunkedArray | str:
    """Return the column in the feature's kind, or what is wrong with it."""
    kind = kind_of(column.type)
    wanted = {"bool": "number", "text": "category", "empty": "number"}.get(feature.kind, feature.kind)
    if kind == wanted or (kind == "bool" and wanted == "number"):
        return column
    if kind == "empty" or column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), _TYPES[wanted])])
    if kind == "category":
        return _read(feature, column) if feature.reading else _parse(column, feature.kind)
    if wanted == "category" and kind in ("number", "bool"):
        return _as_text(column)
    return f"has type {column.type}"


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray | str:
    """Return numbers as text, whole ones without a decimal point, however they are stored."""
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        if not pc.all(pc.equal(pc.trunc(column), column)).as_py():
            return f"has type {column.type}"
        column = column.cast(pa.int64(), safe=False)
    return column.cast(pa.string())


def _read(feature: Feature, column: pa.ChunkedArray) -> pa.ChunkedArray | str:
    """Read text as in training: what does not read so is missing, unless nothing does."""
    values = texts(column)
    parsed = parse(values, feature.reading)
    others = values.filter(pc.invert(is_mark(values))).drop_null()
    if parsed.null_count == len(parsed) and len(others):
        shown = ", ".join(map(repr, dict.fromkeys(others.slice(0, 20).to_pylist())))
        return f"none of its {len(others)} values reads like those of training (for example {shown[:120]})"
    return pa.chunked_array([parsed])


def _parse(column: pa.ChunkedArray, kind: Kind) -> pa.ChunkedArray | str:
    # Arrow reads texts with a zone offset and texts without one into different types; a column has one kind.
    targets = [pa.timestamp("us"), pa.timestamp("us", "UTC")] if kind == "datetime" else [pa.float64()]
    values = texts(column)
    if kind == "bool":
        values = _digits_for_booleans(values)
    for target in targets:
        try:
            return pa.chunked_array([values.cast(target)])
        except pa.ArrowInvalid:
            continue
    bad = [text for text in values.to_pylist() if text is not None and not _parses(text, targets[0])]
    shown = ", ".join(map(repr, dict.fromkeys(bad[:20])))
    return f"{len(bad)} of {len(values)} values are other text (for example {shown[:120]})"


def _digits_for_booleans(values: pa.Array) -> pa.Array:
    """Put 1 and 0 for the words that Arrow reads as booleans in a CSV file, where other texts kept it from doing so."""
    words = pc.utf8_lower(values)
    return pc.if_else(pc.equal(words, "true"), "1", pc.if_else(pc.equal(words, "false"), "0", values))


def _parses(text: str, target: pa.DataType) -> bool:
    try:
        pa.scalar(text).cast(target)
    except pa.ArrowInvalid:
        return False
    return True


def output_table(predicted: np.ndarray, classes: Sequence[Label] | None) -> pa.Table:
    """Return the table of predictions, column ``prediction``.

    Args:
        predicted: (n,) numbers or class codes, or (n, classes) probabilities.
        classes: The class labels in their own type; None for regression.
    """
    if classes is None:
        return pa.table({"prediction": pa.array(predicted)})
    codes = predicted.argmax(axis=1) if predicted.ndim == 2 else predicted
    return pa.table({"prediction": pa.array(list(classes)).take(pa.array(codes))})
