"""Times in CSV files."""

from __future__ import annotations

import datetime as dt
import io
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest

from rayctl.automl.csv_times import with_short_times

MICROS, ZONED = pa.timestamp("us"), pa.timestamp("us", "Europe/Berlin")
DAY, NOON = dt.datetime(2024, 5, 1), dt.datetime(2024, 5, 1, 12)


@pytest.mark.parametrize(
    ("kind", "times", "written"),
    [
        (MICROS, [DAY, None], ["2024-05-01", ""]),
        (MICROS, [DAY, NOON], ["2024-05-01 00:00:00", "2024-05-01 12:00:00"]),
        (MICROS, [NOON.replace(microsecond=250_000)], ["2024-05-01 12:00:00.250000"]),
        (pa.timestamp("ns"), [DAY], ["2024-05-01"]),
        (ZONED, [DAY.replace(tzinfo=dt.timezone.utc)], ['"2024-05-01 02:00:00+02:00"']),
        (ZONED, [NOON.replace(tzinfo=dt.timezone.utc), None], ['"2024-05-01 14:00:00+02:00"', ""]),
        (pa.int64(), [7], ["7"]),
    ],
)
def test_times_are_as_short_as_they_can_be(kind: pa.DataType, times: list[Any], written: list[str]) -> None:
    sink = io.BytesIO()
    table = pa.table({"ds": pa.array(times, kind), "value": [1] * len(times)})
    pyarrow.csv.write_csv(with_short_times(table), sink, pyarrow.csv.WriteOptions(include_header=False))
    assert [line.partition(",")[0] for line in sink.getvalue().decode().splitlines()] == written
