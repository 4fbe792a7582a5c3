"""Columns whose future is known (price, holiday): how they become numbers, in history and over the horizon.

Numbers stay numbers, booleans become 0 and 1, texts one 0/1 column per level. What the levels are is decided on the
training table (`Exogenous.learn`) and kept, so that later tables are coded alike; unknown levels are all zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayctl.automl.forecast.columns import Columns, defect
from rayctl.errors import InvalidData, InvalidRequest

__all__ = ["Exogenous", "check_known_future", "fill_gaps"]

MAX_LEVELS = 30
"""So many most frequent levels of a text column get a column of their own."""


def check_known_future(names: Sequence[str], table_columns: Sequence[str], columns: Columns) -> None:
    """Check that columns with a known future exist and have no other role.

    Raises:
        InvalidData: ``unknown-column``.
        InvalidRequest: ``column-roles``.
    """
    for name in names:
        if name in (*columns.ids, columns.time, columns.target):
            raise InvalidRequest(
                f"The column {name!r} cannot be in known_future: it has another role.",
                code="column-roles",
                hint="Name columns whose values over the horizon are known beforehand: prices, holidays, plans.",
            )
        if name not in table_columns:
            shown = ", ".join(list(table_columns)[:20])
            raise _no_column(name, f"Columns: {shown}.")


def _no_column(name: str, hint: str) -> InvalidData:
    return defect("unknown-column", name, f"There is no column {name!r} in the table (known_future).", hint)


@dataclass(frozen=True)
class Exogenous:
    """The coding of the columns. ``levels`` has the levels of text columns, None for numbers and booleans."""

    names: tuple[str, ...] = ()
    levels: tuple[tuple[str, ...] | None, ...] = ()

    @classmethod
    def learn(cls, table: pa.Table, names: Sequence[str]) -> Exogenous:
        """Decide the coding of the columns of a training table.

        Raises:
            InvalidData: ``column-type``: neither numbers nor booleans nor texts.
        """
        found: list[tuple[str, ...] | None] = []
        for name in names:
            column = table.column(name)
            if _is_number(column.type):
                found.append(None)
            elif _is_text(column.type):
                counts = pc.value_counts(_texts(column).drop_null()).to_pylist()
                counts.sort(key=lambda item: (-item["counts"], item["values"]))
                found.append(tuple(sorted(item["values"] for item in counts[:MAX_LEVELS])))
            else:
                raise defect(
                    "column-type",
                    name,
                    f"The column {name!r} of known_future has type {column.type}.",
                    "Give numbers, booleans or texts.",
                )
        return cls(tuple(names), tuple(found))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the coded columns."""
        coded = []
        for name, levels in zip(self.names, self.levels, strict=True):
            coded += [name] if levels is None else [f"{name}={level}" for level in levels]
        return tuple(coded)

    @property
    def width(self) -> int:
        """Number of coded columns."""
        return len(self.features)

    def encode(self, table: pa.Table) -> np.ndarray:
        """Return the coded columns of a table: float64 (rows, width), NaN for missing and infinite values.

        Raises:
            InvalidData: ``unknown-column``, ``column-type``.
        """
        parts = [np.empty((table.num_rows, 0))]
        for name, levels in zip(self.names, self.levels, strict=True):
            if name not in table.column_names:
                raise _no_column(name, "Send it too: the model was trained with it.")
            column = table.column(name)
            if levels is None and _is_number(column.type):
                values = column.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy()
                parts.append(np.where(np.isfinite(values), values, np.nan)[:, None])
            elif levels is not None and (_is_text(column.type) or _is_quantity(column.type)):
                texts = _texts(column)
                codes = pc.index_in(texts, value_set=pa.array(levels, pa.string())).fill_null(-1).to_numpy()
                coded = (codes[:, None] == np.arange(len(levels))).astype(np.float64)
                coded[~np.asarray(texts.combine_chunks().is_valid())] = np.nan
                parts.append(coded)
            else:
                raise defect(
                    "column-type",
                    name,
                    f"The column {name!r} has type {column.type}, another than in training.",
                    "Give texts." if levels is not None else "Give numbers or booleans.",
                )
        return np.concatenate(parts, axis=1)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form kept in bundles."""
        return {"names": list(self.names), "levels": [None if item is None else list(item) for item in self.levels]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Exogenous:
        """Return what `to_json` described."""
        levels = tuple(None if item is None else tuple(map(str, item)) for item in data["levels"])
        return cls(tuple(map(str, data["names"])), levels)


def _is_number(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_boolean(dtype))


def _is_quantity(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype))


def _is_text(dtype: pa.DataType) -> bool:
    text = pa.types.is_string(dtype) or pa.types.is_large_string(dtype)
    return bool(text or (pa.types.is_dictionary(dtype) and _is_text(dtype.value_type)))


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts; numbers as a file has them in which no other level happens to occur."""
    if _is_quantity(column.type):
        whole = (
            int(value) if isinstance(value, float) and value.is_integer() else value for value in column.to_pylist()
        )
        return pa.chunked_array([[value if value is None else str(value) for value in whole]], pa.string())
    return column.cast(pa.string())


def fill_gaps(x: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Fill missing values (NaN) of columns: the last known value of the series, else its first, else 0.

    Args:
        x: (steps, columns), series one after the other.
        offsets: Where each series begins, and the end.
    """
    if not np.isnan(x).any():
        return x
    start = np.repeat(offsets[:-1], np.diff(offsets))[:, None]
    end = np.repeat(offsets[1:], np.diff(offsets))[:, None]
    places = np.arange(len(x))[:, None]
    known = ~np.isnan(x)
    before = np.maximum.accumulate(np.where(known, places, -1), axis=0)
    after = np.minimum.accumulate(np.where(known, places, len(x))[::-1], axis=0)[::-1]
    source = np.where(before >= start, before, np.where(after < end, after, -1))
    filled = np.take_along_axis(x, np.maximum(source, 0), axis=0)
    return np.where(source >= 0, filled, 0.0)
