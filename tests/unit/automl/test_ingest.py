"""The same data is the same table, whatever it came in; what is no table is refused with the reason."""

from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from rayctl.automl.ingest import fingerprint, from_ipc, normalize, to_ipc, to_table
from rayctl.errors import InvalidData

_START = dt.datetime(2024, 1, 1, 12)
_COLUMNS: dict[str, list[Any]] = {
    "whole": [1, 2, 3],
    "gaps": [1, None, 3],
    "real": [1.5, None, -2.25],
    "flag": [True, False, True],
    "text": ["a", None, 'ü, "quoted"'],
    "time": [_START, _START + dt.timedelta(days=1), _START + dt.timedelta(seconds=1)],
    "empty": [None, None, None],
}


def _print_of(data: Any, format: str | None = None) -> str:
    return fingerprint(normalize(to_table(data, format)))


def _code(data: Any, format: str | None = None) -> str:
    with pytest.raises(InvalidData) as caught:
        normalize(to_table(data, format))
    assert caught.value.hint
    return caught.value.code


def _parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pa.parquet.write_table(table, out)
    return out.getvalue()


def _csv(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pa.csv.write_csv(table, out)
    return out.getvalue()


def _arrow_file(table: pa.Table) -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


_ARROW, _PANDAS, _POLARS = pa.table(_COLUMNS), pd.DataFrame(_COLUMNS), pl.DataFrame(_COLUMNS)


@pytest.mark.parametrize(
    "data",
    [
        _ARROW,
        _ARROW.to_batches()[0],
        _PANDAS,
        _PANDAS.convert_dtypes(),
        _PANDAS.assign(text=_PANDAS["text"].astype("category")),
        _PANDAS.assign(time=_PANDAS["time"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")),
        _PANDAS.set_index("whole"),
        _PANDAS.set_axis(["x", "y", "z"]),
        _POLARS,
        _POLARS.lazy(),
        [dict(zip(_COLUMNS, row, strict=True)) for row in zip(*_COLUMNS.values(), strict=True)],
        _csv(_ARROW),
        _PANDAS.to_csv().encode(),
        _PANDAS.to_csv(index=False, sep=";").encode("utf-8-sig"),
        _POLARS.write_csv().encode(),
        _parquet(_ARROW),
        _arrow_file(_ARROW),
        _parquet(pa.Table.from_pandas(_PANDAS.set_axis(["x", "y", "z"]))),
        pa.Table.from_pandas(_PANDAS.set_axis([7, 5, 9])),
        _PANDAS.set_axis([7, 5, 9]).to_csv().encode(),
        _PANDAS.assign(flag=_PANDAS["flag"].astype("Sparse[bool]"), real=_PANDAS["real"].astype("Sparse[float]")),
        to_ipc(_ARROW),
        bytearray(to_ipc(_ARROW)),
        pa.concat_tables([_ARROW.slice(0, 1), _ARROW.slice(1)]),
    ],
)
def test_same_data_same_fingerprint(data: Any) -> None:
    assert _print_of(data) == _print_of(_COLUMNS)


def test_normal_types() -> None:
    types = [str(field.type) for field in normalize(to_table(_COLUMNS)).schema]
    assert types == ["int64", "double", "double", "bool", "string", "timestamp[us]", "double"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1, 2], pa.uint8()), pa.array([1, 2], pa.int64())),
        (pa.array([1.0, 2.0], pa.float32()), pa.array([1, 2], pa.int64())),
        (pa.array([Decimal("1.50"), None]), pa.array([1.5, None], pa.float64())),
        (pa.array([2**64 - 1], pa.uint64()), pa.array([2.0**64], pa.float64())),
        (pa.array([2**62 + 1]), pa.array([2**62 + 1])),
        (pa.array([float("nan"), 1.0]), pa.array([None, 1.0])),
        (pa.array([float("inf"), 1.0]), pa.array([float("inf"), 1.0])),
        (pa.array([dt.date(2024, 1, 1)]), pa.array([dt.datetime(2024, 1, 1)], pa.timestamp("us"))),
        (pa.array([1], pa.timestamp("s")), pa.array([1_000_000], pa.timestamp("us"))),
        (pa.array([1500, None], pa.duration("ms")), pa.array([1.5, None], pa.float64())),
        (pa.array([3_600_000_000_000, 0], pa.duration("ns")), pa.array([3600, 0], pa.int64())),
        (pa.array([dt.time(0, 1), None], pa.time32("s")), pa.array([60.0, None], pa.float64())),
        (pa.array([dt.time(1, 0)], pa.time64("us")), pa.array([3600], pa.int64())),
        (pa.array(["a", "b"]).dictionary_encode(), pa.array(["a", "b"])),
        (pa.array([None, None], pa.string()), pa.array([None, None], pa.float64())),
    ],
)
def test_normalize_column(values: pa.Array, expected: pa.Array) -> None:
    found = normalize(pa.table({"x": values})).column("x")
    assert found.type == expected.type
    assert found.to_pylist() == expected.to_pylist()


def test_normalize_twice_changes_nothing() -> None:
    once = normalize(to_table(_COLUMNS))
    assert normalize(once).equals(once)
    assert normalize(to_table(_PANDAS)).schema.metadata is None


@pytest.mark.parametrize(
    "other",
    [
        {"a": [1, 2], "b": ["x", "y"]} | {"b": ["xy", ""]},
        {"a": [2, 1], "b": ["x", "y"]},
        {"a": [1, None], "b": ["x", "y"]},
        {"a": [1, 2], "c": ["x", "y"]},
        {"b": ["x", "y"], "a": [1, 2]},
        {"a": [1, 2], "b": [None, "y"]},
        {"a": ["1", "2"], "b": ["x", "y"]},
    ],
)
def test_other_data_other_fingerprint(other: dict[str, list[Any]]) -> None:
    assert _print_of(other) != _print_of({"a": [1, 2], "b": ["x", "y"]})


def test_fingerprint_ignores_slicing() -> None:
    texts = pa.table({"t": ["aa", None, "b", "ccc"], "n": [0.0, 1.5, 2.0, 3.0]})
    sliced = texts.slice(1, 2)
    copied = pa.table({"t": [None, "b"], "n": [1.5, 2.0]})
    assert fingerprint(sliced) == fingerprint(copied)


def test_named_index_becomes_columns() -> None:
    frame = pd.DataFrame({"v": [1.5]}, index=pd.MultiIndex.from_tuples([("a", 1)], names=["k", "n"]))
    assert to_table(frame).column_names == ["k", "n", "v"]


def test_text_missing_is_null_but_quoted_empty_is_text() -> None:
    column = normalize(to_table(b'a,b\n1,\n2,""\n3,NA\n')).column("b")
    assert column.to_pylist() == [None, "", None]


def test_csv_times_of_day_stay_text() -> None:
    assert to_table(b"t,x\n12:30,1\n12:45,2\n").column("t").to_pylist() == ["12:30", "12:45"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty-table"),
        (b"a,a\n1,2\n", "duplicate-columns"),
        (b"a,b\n1,2\n3\n", "unreadable-data"),
        (b"PAR1 this is not parquet PAR1", "unreadable-data"),
        (b"\xff\xff\xff\xff\x10\x00\x00\x00junk", "unreadable-data"),
        (b"<!DOCTYPE html><html></html>", "unreadable-data"),
        (b'{"a": [1, 2]}', "unreadable-data"),
        (b"PK\x03\x04rest", "unreadable-data"),
        (b"\x1f\x8b\x08rest", "unreadable-data"),
        ("a,b\n1,2\n".encode("utf-16"), "unreadable-data"),
        ("a,b\n1,Zürich\n".encode("latin-1"), "unreadable-data"),
        (b"a\0b\n1,2\n", "unreadable-data"),
        ({"a": [1, "x"]}, "unreadable-data"),
        ({"a": [1], "b": [1, 2]}, "unequal-columns"),
        ({1: [1], "1": [2]}, "duplicate-columns"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "duplicate-columns"),
        (pd.DataFrame({"a": [1, "x", b"y"]}), "unreadable-data"),
        (pd.DataFrame({("a", "b"): [1]}), "unsupported-data"),
        (pa.table([[1], [2]], names=["a", "a"]), "duplicate-columns"),
        (pa.table({"a": [[1, 2]]}), "unsupported-type"),
        (pa.table({"a": [b"x"]}), "unsupported-type"),
        (pd.DataFrame({"a": pd.cut([1.0, 2.0, 3.0], 2)}), "unsupported-type"),
        (pd.DataFrame({"a": [2**70]}), "unreadable-data"),
        (pa.table({"a": pa.array([2**62], pa.timestamp("s"))}), "out-of-range"),
        (42, "unsupported-data"),
    ],
)
def test_refusals(data: Any, code: str) -> None:
    assert _code(data) == code


def test_declared_format_counts() -> None:
    assert _code(b"a,b\n1,2\n", "parquet") == "unreadable-data"
    assert _code(b"a,b\n1,2\n", "xlsx") == "unknown-format"


def test_unsupported_type_names_column_and_type() -> None:
    with pytest.raises(InvalidData, match=r"'tags'.*list") as caught:
        normalize(pa.table({"ok": [1], "tags": [["a"]]}))
    assert [error["pointer"] for error in caught.value.errors] == ["/data/tags"]


def test_ipc_round_trip_is_zero_copy() -> None:
    table = pa.table({"x": np.arange(1000.0)})
    data = to_ipc(table)
    found = from_ipc(data)
    assert found.equals(table)
    address = found.column("x").chunk(0).buffers()[1].address
    start = pa.py_buffer(data).address
    assert start <= address < start + len(data)
    with pytest.raises(InvalidData):
        from_ipc(b"not arrow")


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a;b (m, n);c\n1;2;3\n", ["a", "b (m, n)", "c"]),
        ('"x, y, z";b;"p"\n1;2;3\n', ["x, y, z", "b", "p"]),
        ('"x\ny";b;c\n1;2;3\n', ["x\ny", "b", "c"]),
        ("\n\na\tb, c\td\n1\t2\t3\n", ["a", "b, c", "d"]),
        ("a|b\n1|2\n", ["a", "b"]),
        ("only\n1\n2\n", ["only"]),
    ],
)
def test_the_sign_between_values_is_the_most_frequent_one_of_the_header(text: str, columns: list[str]) -> None:
    assert to_table(text.encode()).column_names == columns


def test_rows_longer_than_a_block_of_the_reader() -> None:
    long = "word " * 500_000
    table = to_table(f'a,b\n1,short\n2,"{long}"\n'.encode())
    assert table.column("b").to_pylist() == ["short", long]


def test_keys_of_rows_need_not_be_texts() -> None:
    table = to_table([{1: 5, "b": "x"}, {1: 6}])
    assert table.to_pydict() == {"1": [5, 6], "b": ["x", None]}


def test_texts_beside_numbers_in_a_frame_are_text_as_in_a_file() -> None:
    frame = pd.DataFrame({"mixed": [1, "x", None, 2.5, True], "n": [1, 2, 3, 4, 5]})
    assert _print_of(frame) == _print_of(frame.to_csv(index=False).encode())
    assert to_table(frame).column("mixed").to_pylist() == ["1", "x", None, "2.5", "True"]


def test_sparse_columns_are_filled_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = pd.DataFrame({"s": pd.arrays.SparseArray([0, 0, 3]), "t": pd.arrays.SparseArray([np.nan, 1.5, np.nan])})
    assert normalize(to_table(sparse)).to_pydict() == {"s": [0, 0, 3], "t": [None, 1.5, None]}
    monkeypatch.setattr("rayctl.automl.ingest._MOST_DENSE_BYTES", 47)
    with pytest.raises(InvalidData, match="2 sparse columns") as caught:
        to_table(sparse)
    assert caught.value.code == "too-large-dense"


def test_a_single_column_is_no_table() -> None:
    assert _code(pa.chunked_array([[1, 2]])) == "unsupported-data"
