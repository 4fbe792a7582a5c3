"""How times look in CSV files that rayctl writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["with_short_times"]


def with_short_times(table: pa.Table) -> pa.Table:
    """Return a table for a CSV file: days where all times of a column are at midnight, else no empty fractions.

    Otherwise Arrow writes ``2024-05-01 00:00:00.000000`` for what stood as ``2024-05-01`` in the caller's file.
    """
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            column = _short(table.column(place), field.type.tz)
            table = table.set_column(place, field.name, column)
    return table


def _short(column: pa.ChunkedArray, zone: str | None) -> pa.ChunkedArray:
    import pyarrow as pa

    shorter = [pa.timestamp("s", zone)] if zone else [pa.date32(), pa.timestamp("s")]
    for target in shorter:
        found = column.cast(target, safe=False)
        if found.cast(column.type).equals(column):  # nothing is lost
            return found
    return column
