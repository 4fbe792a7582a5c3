"""How times look in CSV files that rayctl writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["with_short_times"]


def with_short_times(table: pa.Table) -> pa.Table:
    """Return a table for a CSV file: days where all times of a column are at midnight, else no empty fractions.

    Otherwise Arrow writes ``2024-05-01 00:00:00.000000`` for what stood as ``2024-05-01`` in the caller's file. Times
    with a zone become texts with its offset, for which Arrow would need the zones of the operating system.
    """
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            column = table.column(place)
            short = _short(column) if field.type.tz is None else _with_offset(column, field.type.tz)
            table = table.set_column(place, field.name, short)
    return table


def _short(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    for target in (pa.date32(), pa.timestamp("s")):
        found = column.cast(target, safe=False)
        if found.cast(column.type).equals(column):  # nothing is lost
            return found
    return column


def _with_offset(column: pa.ChunkedArray, zone: str) -> pa.ChunkedArray:
    import pyarrow as pa

    from rayctl.automl.zones import UTC, is_known, texts

    moments = column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
    valid = moments.drop_null().to_numpy()
    written = iter(texts(valid, zone if is_known(zone) else UTC))
    return pa.chunked_array([[None if item is None else next(written) for item in moments.to_pylist()]], pa.string())
