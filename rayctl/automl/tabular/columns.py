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

from rayctl.automl.tabular import formats

__all__ = [
    "DATE_PARTS",
    "Feature",
    "Kind",
    "canonical",
    "date_parts",
    "kind_of",
    "merged",
    "numbers",
    "take",
    "texts",
    "timestamps",
]

Kind = Literal["number", "bool", "datetime", "category", "text", "empty"]

DATE_PARTS = ("year", "month", "day", "weekday", "dayofyear", "ordinal", "hour")
_US_PER_DAY = 86_400_000_000
_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


@dataclass(frozen=True)
class Feature:
    """One input column as the model knows it.

    ``reading``: for numbers and dates that came as text, how the text is read (see `rayctl.automl.tabular.formats`).
    """

    name: str
    kind: Kind
    reading: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form kept in bundles."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Feature:
        """Rebuild a feature from its JSON form."""
        return cls(value["name"], value["kind"], value["reading"])


def kind_of(dtype: pa.DataType) -> Kind | None:
    """Return how a column of this type is used; None for types that are not used (lists, structs, binary, …).

    Text is ``category`` here; `rayctl.automl.tabular.kinds` looks at the values and may decide otherwise. Durations
    and times of day are numbers (seconds).
    """
    types = pa.types
    if types.is_dictionary(dtype):
        return kind_of(dtype.value_type)
    if types.is_boolean(dtype):
        return "bool"
    if types.is_integer(dtype) or types.is_floating(dtype) or types.is_decimal(dtype):
        return "number"
    if types.is_duration(dtype) or types.is_time(dtype):
        return "number"
    if types.is_string(dtype) or types.is_large_string(dtype) or types.is_string_view(dtype):
        return "category"
    if types.is_timestamp(dtype) or types.is_date(dtype):
        return "datetime"
    return "empty" if types.is_null(dtype) else None


def take(table: pa.Table, rows: np.ndarray | None) -> pa.Table:
    """Return some rows of a table (None: all of them), with texts in a type for which Arrow can do so."""
    for index, field in enumerate(table.schema):
        if pa.types.is_string_view(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pa.string()))
    return table if rows is None else table.take(pa.array(rows))


def merged(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one Arrow array; dictionaries become their values."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no chunk, or more data than one Arrow array can hold
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    return array


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Return a number or boolean column as float64, shape (rows,), with NaN for missing values."""
    array = merged(column)
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan)
    per_second = 1.0
    if pa.types.is_duration(array.type) or pa.types.is_time(array.type):
        per_second = _PER_SECOND[array.type.unit]
        array = array.cast(pa.int32() if pa.types.is_time32(array.type) else pa.int64())
    values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    return values if per_second == 1.0 else values / per_second


def texts(column: pa.ChunkedArray) -> pa.Array:
    """Return a text column as an Arrow array of type string."""
    array = merged(column)
    return array if pa.types.is_string(array.type) else array.cast(pa.string())


def timestamps(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Return a date or time column as (microseconds since 1970 in UTC, int64; valid, bool). Invalid ones are 0."""
    array = merged(column)
    array = array.cast(pa.timestamp("us", tz=getattr(array.type, "tz", None)), safe=False).cast(pa.int64())
    valid = np.asarray(array.is_valid())
    return array.fill_null(0).to_numpy(zero_copy_only=False), valid


def canonical(feature: Feature, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a training column in the feature's own kind: text that is read as numbers or dates is parsed."""
    if not feature.reading or kind_of(column.type) != "category":
        return column
    return pa.chunked_array([formats.parse(texts(column), feature.reading)])


def date_parts(column: pa.ChunkedArray, parts: Sequence[str]) -> np.ndarray:
    """Expand dates: float64 (rows, len(parts)), NaN for missing.

    ``parts`` of `DATE_PARTS`: month, day and dayofyear count from 1, weekday from 0 (Monday); ``ordinal`` is days since
    1970, with fraction; ``hour`` has a fraction too.
    """
    micros, valid = timestamps(column)
    days = np.floor_divide(micros, _US_PER_DAY)
    dates = days.astype("datetime64[D]")
    months, years = dates.astype("datetime64[M]"), dates.astype("datetime64[Y]")
    expanded = np.empty((len(micros), len(parts)))
    for index, part in enumerate(parts):
        if part == "year":
            values = years.astype(np.int64) + 1970
        elif part == "month":
            values = months.astype(np.int64) % 12 + 1
        elif part == "day":
            values = (dates - months.astype("datetime64[D]")).astype(np.int64) + 1
        elif part == "dayofyear":
            values = (dates - years.astype("datetime64[D]")).astype(np.int64) + 1
        elif part == "weekday":
            values = (days + 3) % 7  # 1970-01-01 was a Thursday
        elif part == "ordinal":
            values = micros / _US_PER_DAY
        else:
            values = (micros % _US_PER_DAY) / 3_600_000_000
        expanded[:, index] = np.where(valid, values, np.nan)
    return expanded
