"""Prediction with a tabular bundle: the check of a table against the training schema, and the output table."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayctl.automl.tabular.columns import Feature, Kind, kind_of, merged, numbers, texts
from rayctl.automl.tabular.formats import is_mark, parse
from rayctl.automl.tabular.target import Label, examples
from rayctl.automl.tabular.validate import duplicates
from rayctl.errors import FieldError, InvalidData

__all__ = ["match_columns", "output_table"]

_LISTED = 20
_COMPARED, _COMPARED_WITH = 5, 2_000

_WANTED = {
    "number": "numbers",
    "bool": "true/false values or numbers",
    "datetime": "dates",
    "category": "text",
    "text": "text",
}
_TYPES = {"number": pa.float64(), "datetime": pa.timestamp("us"), "category": pa.string()}


def match_columns(
    features: Sequence[Feature], table: pa.Table, known: Mapping[str, Sequence[str]] | None = None
) -> list[pa.ChunkedArray]:
    """Return the columns that a model needs, converted to the kinds it was trained on; others are ignored.

    Numbers and true/false values serve as categories or text, written as the category of that value was; texts serve
    as numbers or dates if every value reads as one or marks a missing value; where training read them from text, other
    values are missing, as they were there. Categories that were not seen in training are allowed.

    Args:
        features: Of the model.
        table: What is to be predicted.
        known: Feature → its categories, for those that have some.

    Raises:
        InvalidData: ``empty-table``, ``duplicate-columns``, ``missing-column``, ``wrong-type``, ``non-finite``.
    """
    if len(table) == 0:
        raise InvalidData(
            "The table is empty: there are no rows to predict.",
            code="empty-table",
            hint="Send at least one row with the columns that the model was trained on.",
        )
    needed = {feature.name: None for feature in features}  # in order
    repeated = [name for name in duplicates(table.column_names) if name in needed]
    if repeated:
        raise _defect(
            "duplicate-columns",
            {name: f"column {name!r} occurs more than once" for name in repeated},
            "Send every column once.",
        )
    there = set(table.column_names)
    missing = [name for name in needed if name not in there]
    if missing:
        hint = _proposal(missing, [name for name in table.column_names if name not in needed])
        problems = {name: f"column {name!r} is missing" for name in missing}
        raise _defect("missing-column", problems, hint or _columns_hint(list(needed)))
    converted, wrong = [], {}
    for feature in features:
        column = _convert(feature, table.column(feature.name), (known or {}).get(feature.name, ()))
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


def _proposal(missing: Sequence[str], others: Sequence[str]) -> str | None:
    """Return a guess which of the table's other columns is meant. Of very many not all are compared: it takes long."""
    for name in missing[:_COMPARED]:
        found = difflib.get_close_matches(name, others[:_COMPARED_WITH], n=1)
        if found:
            return f"Did you mean {found[0]!r} by {name!r}?"
    return None


def _columns_hint(needed: Sequence[str]) -> str:
    more = f" and {len(needed) - 20} more" if len(needed) > 20 else ""
    return f"The model needs the columns {', '.join(map(repr, needed[:20]))}{more}; values may be missing."


def _defect(code: str, problems: Mapping[str, str], hint: str) -> InvalidData:
    shown = dict(list(problems.items())[:_LISTED])
    errors: list[FieldError] = [{"pointer": f"/data/{name}", "message": text} for name, text in shown.items()]
    more = f"; and {len(problems) - len(shown)} more" if len(problems) > len(shown) else ""
    message = f"The table does not fit the model: {'; '.join(shown.values())}{more}."
    return InvalidData(message, code=code, hint=hint, errors=errors)


def _convert(feature: Feature, column: pa.ChunkedArray, known: Sequence[str]) -> pa.ChunkedArray | str:
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
        return _as_text(column, known)
    return f"has type {column.type}"


def _as_text(column: pa.ChunkedArray, known: Sequence[str]) -> pa.ChunkedArray | str:
    """Return numbers and true/false values as text: as a known category of the same value is written, else plainly.

    A table from another source may have numbers where training had texts such as ``01``, ``1.0`` or ``True``.
    """
    array = merged(column)
    types = pa.types
    if types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    elif not (types.is_integer(array.type) or types.is_boolean(array.type) or types.is_decimal(array.type)):
        return f"has type {column.type}"
    encoded = pc.dictionary_encode(array)
    values = encoded.dictionary.to_pylist()
    if types.is_boolean(array.type):
        words = {text.lower(): text for text in reversed(known)}
        texts = [words.get(str(value).lower(), str(value).lower()) for value in values]
    else:
        written = _numbers_written(known)
        fractions = any(number != int(number) for number in written)
        if not all(math.isfinite(value) and (fractions or value == int(value)) for value in values):
            return f"has type {column.type}"
        plain = [str(int(value) if value == int(value) else value) for value in values]
        there = set(known)
        texts = [text if text in there else written.get(value, text) for value, text in zip(values, plain, strict=True)]
    return pa.chunked_array([pa.array(texts, pa.string()).take(encoded.indices)])


def _numbers_written(known: Sequence[str]) -> dict[float, str]:
    """Return the categories that are finite numbers, by their value; the most frequent one of equal ones."""
    found: dict[float, str] = {}
    for text in known:
        try:
            value = int(text) if text.strip().lstrip("+-").isdecimal() else float(text)
            if math.isfinite(value):
                found.setdefault(value, text)
        except (ValueError, OverflowError):
            continue
    return found


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
    values = pc.utf8_trim_whitespace(texts(column))
    values = pc.if_else(is_mark(values), pa.scalar(None, pa.string()), values)
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
