"""Arrow columns as numpy arrays, and the description of a feature that a model keeps for prediction.

The same table gives the same arrays whether it came from pandas, polars or a file: integer widths, float
widths, decimals, dictionaries, chunks and time units make no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "Feature",
    "Kind",
    "date_parts",
    "describe",
    "encode",
    "kind_of",
    "needs_hour",
    "numbers",
    "texts",
    "timestamps",
]

Kind = Literal["number", "bool", "datetime", "category", "empty"]

_DATE_PARTS = ("year", "month", "day", "weekday", "ordinal")
_US_PER_DAY = 86_400_000_000


@dataclass(frozen=True)
class Feature:
    """One input column as the model knows it.

    ``parts``: what a date is expanded to. ``categories``: the known texts, sorted; their position is their code.
    """

    name: str
    kind: Kind
    parts: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form kept in bundles."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Feature:
        """Rebuild a feature from its JSON form."""
        return cls(value["name"], value["kind"], tuple(value["parts"]), tuple(value["categories"]))


def kind_of(dtype: pa.DataType) -> Kind | None:
    """Return how a column of this type is used; None for types that are not used (lists, structs, binary, …)."""
    types = pa.types
    if types.is_dictionary(dtype):
        return kind_of(dtype.value_type)
    if types.is_boolean(dtype):
        return "bool"
    if types.is_integer(dtype) or types.is_floating(dtype) or types.is_decimal(dtype):
        return "number"
    if types.is_string(dtype) or types.is_large_string(dtype) or types.is_string_view(dtype):
        return "category"
    if types.is_timestamp(dtype) or types.is_date(dtype):
        return "datetime"
    return "empty" if types.is_null(dtype) else None


def _plain(column: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    merged = column.combine_chunks()
    if isinstance(merged, pa.ChunkedArray):  # no chunk, or more data than one Arrow array can hold
        merged = pa.concat_arrays(merged.chunks) if merged.num_chunks else pa.array([], merged.type)
    return merged


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Return a number or boolean column as float64, shape (rows,), with NaN for missing values."""
    array = _plain(column)
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan)
    return array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)


def texts(column: pa.ChunkedArray) -> pa.Array:
    """Return a text column as an Arrow array of type string."""
    array = _plain(column)
    return array if pa.types.is_string(array.type) else array.cast(pa.string())


def timestamps(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Return a date or time column as (microseconds since 1970 in UTC, int64; valid, bool). Invalid ones are 0."""
    array = _plain(column).cast(pa.timestamp("us", tz=getattr(column.type, "tz", None)), safe=False).cast(pa.int64())
    valid = np.asarray(array.is_valid())
    return array.fill_null(0).to_numpy(zero_copy_only=False), valid


def needs_hour(column: pa.ChunkedArray) -> bool:
    """Whether any value has a time of day other than midnight."""
    micros, _ = timestamps(column)
    return bool((micros % _US_PER_DAY != 0).any())


def date_parts(column: pa.ChunkedArray, parts: Sequence[str]) -> np.ndarray:
    """Expand dates: float64 (rows, len(parts)), NaN for missing. ``ordinal`` is days since 1970, with fraction."""
    micros, valid = timestamps(column)
    days = np.floor_divide(micros, _US_PER_DAY)
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    values = {
        "year": dates.astype("datetime64[Y]").astype(np.int64) + 1970,
        "month": months.astype(np.int64) % 12 + 1,
        "day": (dates - months).astype(np.int64) + 1,
        "weekday": (days + 3) % 7,  # 1970-01-01 was a Thursday; Monday is 0
        "ordinal": micros / _US_PER_DAY,
        "hour": (micros % _US_PER_DAY) / 3_600_000_000,
    }
    expanded = np.empty((len(micros), len(parts)))
    for index, part in enumerate(parts):
        expanded[:, index] = np.where(valid, values[part], np.nan)
    return expanded


def describe(name: str, kind: Kind, column: pa.ChunkedArray) -> Feature:
    """Return the feature for a training column."""
    if kind == "datetime":
        return Feature(name, kind, parts=(*_DATE_PARTS, "hour") if needs_hour(column) else _DATE_PARTS)
    if kind == "category":
        return Feature(name, kind, categories=tuple(sorted(texts(column).drop_null().unique().to_pylist())))
    return Feature(name, kind)


def encode(features: Sequence[Feature], columns: Sequence[pa.ChunkedArray], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Encode columns of the features' own kinds.

    Returns:
        Numbers: float64, shape (rows, numeric parts), NaN for missing; features in order, dates expanded.
        Codes: int32, shape (rows, category features), -1 for missing and unknown categories.
    """
    blocks: list[np.ndarray] = []
    codes: list[np.ndarray] = []
    for feature, column in zip(features, columns, strict=True):
        if feature.kind == "category":
            found = pc.index_in(texts(column), value_set=pa.array(feature.categories, pa.string()), skip_nulls=True)
            codes.append(found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32))
        elif feature.kind == "datetime":
            blocks.append(date_parts(column, feature.parts))
        else:
            blocks.append(numbers(column)[:, None])
    numeric = np.concatenate(blocks, axis=1) if blocks else np.empty((rows, 0))
    return np.ascontiguousarray(numeric), np.column_stack(codes) if codes else np.empty((rows, 0), dtype=np.int32)
