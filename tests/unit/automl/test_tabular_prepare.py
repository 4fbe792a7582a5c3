"""The prepared form of a table: equal data gives equal arrays, weights, groups, pickling, cost."""

from __future__ import annotations

import datetime as dt
import pickle
import time
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from rayctl.automl.model import RunRequest
from rayctl.automl.tabular.predict import match_columns
from rayctl.automl.tabular.prepare import PreparedTable, prepare_table
from rayctl.errors import InvalidData

DATA: dict[str, list[Any]] = {
    "n": [1.5, None, 3.0, 4.0, 5.0, 6.0],
    "flag": [True, False, None, True, False, True],
    "kind": ["b", "a", None, "b", "c", "b"],
    "day": [dt.date(2024, 2, 28 + i) if i < 2 else dt.date(2025, 1, i) for i in range(6)],
    "y": ["no", "yes", "no", "yes", "no", "yes"],
}


def prepare(data: Any = None, **fields: Any) -> PreparedTable:
    request = RunRequest(**{"task": "classification", "target": "y", "validation": {"folds": 2}, **fields})
    return prepare_table(data if isinstance(data, pa.Table) else pa.table(data or DATA), request)


def test_encoding_by_hand() -> None:
    prepared = prepare()
    assert [feature.kind for feature in prepared.features] == ["number", "bool", "category", "datetime"]
    parts = ("day.ordinal", "day.year", "day.month", "day.day", "day.weekday", "day.dayofyear")
    assert prepared.encoder.tree_names == ("n", "flag", "kind", *parts)
    np.testing.assert_array_equal(prepared.tree[0], [1.5, 1, 0, 19781, 2024, 2, 28, 2, 59])
    np.testing.assert_array_equal(prepared.tree[1], [np.nan, 0, 1, 19782, 2024, 2, 29, 3, 60])
    assert prepared.tree[:, 2].tolist()[3:] == [0, 2, 0]  # by frequency, then by name
    assert np.isnan(prepared.tree[2, 2])
    assert prepared.encoder.categorical == (2,)
    assert prepared.encoder.cardinalities == (3,)
    assert prepared.classes == ("no", "yes")
    assert prepared.target.tolist() == [0, 1, 0, 1, 0, 1]
    assert (prepared.tree.dtype, prepared.dense.dtype, prepared.target.dtype) == (np.float32, np.float32, np.int32)
    assert np.isfinite(prepared.dense).all()
    assert (prepared.weights, prepared.groups, prepared.rows) == (None, None, None)


def test_the_same_data_in_other_arrow_types_gives_the_same_arrays() -> None:
    plain = prepare()
    other = pa.table(
        {
            "n": pa.chunked_array([pa.array(DATA["n"][:2], pa.float32()), pa.array(DATA["n"][2:], pa.float32())]),
            "flag": DATA["flag"],
            "kind": pa.array(DATA["kind"]).dictionary_encode(),
            "day": pa.array(DATA["day"]).cast(pa.timestamp("ns")),
            "y": pa.array(DATA["y"], pa.large_string()),
        }
    )
    from_pandas = pa.Table.from_pandas(pd.DataFrame(DATA).astype({"day": "datetime64[ns]"}), preserve_index=False)
    decimals = pa.table({**DATA, "n": [None if v is None else Decimal(str(v)) for v in DATA["n"]]})
    for data in (other, from_pandas, decimals):
        assert prepare(data).token == plain.token


@pytest.mark.parametrize(
    "change",
    [
        {"n": [1.5, None, 3.0, 4.0, 5.0, 7.0]},
        {"kind": ["c", "a", None, "b", "c", "b"]},
        {"y": ["no", "yes", "no", "yes", "yes", "no"]},
        {"y": ["no", "no!", "no", "no!", "no", "no!"]},
    ],
)
def test_other_data_has_another_token(change: dict[str, Any]) -> None:
    assert prepare({**DATA, **change}).token != prepare().token


def test_hours_are_kept_where_there_are_any_and_zones_become_utc() -> None:
    moments = [dt.datetime(2024, 1, 1, hour, tzinfo=dt.timezone.utc) for hour in range(6)]
    utc = prepare({"t": pa.array(moments, pa.timestamp("us", "UTC")), "y": DATA["y"]})
    there = prepare({"t": pa.array(moments, pa.timestamp("us", "Asia/Tokyo")), "y": DATA["y"]})
    # All six moments are on one day: the other parts are constant and left out.
    assert utc.encoder.tree_names == ("t.ordinal", "t.hour")
    assert utc.tree[:, 1].tolist() == [0, 1, 2, 3, 4, 5]
    assert there.token == utc.token


@pytest.mark.parametrize(
    ("values", "classes"),
    [([2, 10, 2, 10, 2, 10], (2, 10)), ([True, False] * 3, (False, True)), ([0.0, 1.0] * 3, (0.0, 1.0))],
)
def test_classes_keep_their_type_and_natural_order(values: list[Any], classes: tuple[Any, ...]) -> None:
    found = prepare({**DATA, "y": values}).classes
    assert found == classes
    assert found is not None
    assert type(found[0]) is type(classes[0])


def test_pickles_without_copies() -> None:
    prepared = prepare({**DATA, "w": [1.0] * 6}, weight_column="w")
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(prepared, protocol=5, buffer_callback=buffers.append)
    again = pickle.loads(data, buffers=buffers)  # noqa: S301
    for name in ("tree", "dense", "target", "weights"):
        assert np.shares_memory(getattr(again, name), getattr(prepared, name))
    assert again.token == prepared.token
    assert again.encoder.tree_names == prepared.encoder.tree_names


def test_rows_without_target_are_left_out_and_positions_kept() -> None:
    data = {**DATA, "y": [None, *DATA["y"][1:]], "w": [9.0, 1, 1, 1, 1, 1], "g": ["z", "a", "a", "b", "b", "b"]}
    prepared = prepare(data, weight_column="w", validation={"folds": 2, "group_column": "g"})
    assert prepared.rows is not None
    assert prepared.rows.tolist() == [1, 2, 3, 4, 5]
    assert prepared.weights is not None
    assert prepared.weights.tolist() == [1.0] * 5
    assert prepared.groups is not None
    assert prepared.groups.tolist() == [0, 0, 1, 1, 1]
    assert len(prepared.tree) == len(prepared.dense) == len(prepared.target) == 5
    assert {feature.name for feature in prepared.features} == {"n", "flag", "kind", "day"}


def test_weights_are_scaled_to_a_mean_of_one_and_are_no_feature() -> None:
    prepared = prepare({**DATA, "w": [2, 1, 2, 3, 4, 0]}, weight_column="w", features=["n", "kind", "w"])
    assert prepared.weights is not None
    assert prepared.weights.tolist() == pytest.approx([5 / 6, 5 / 12, 5 / 6, 5 / 4, 5 / 3])
    assert prepared.rows is not None
    assert prepared.rows.tolist() == [0, 1, 2, 3, 4]  # a weight of 0 leaves the row out
    assert prepared.weights.dtype == np.float64
    assert [feature.name for feature in prepared.features] == ["n", "kind"]
    huge = prepare({**DATA, "w": [1e308] * 6}, weight_column="w")
    assert huge.weights is not None
    assert huge.weights.tolist() == [1.0] * 6


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1.0, None, 1, 1, 1, 1], "1 missing weights (rows 1)"),
        ([1.0, 1, np.inf, 1, 1, 1], "1 infinite weights (rows 2)"),
        ([1.0, 1, 1, -1, 1, -2], "2 negative weights (rows 3, 5)"),
        ([0.0] * 6, "weight 0 in all 6 rows"),
        (["1"] * 6, "has type string"),
    ],
)
def test_bad_weights(weights: list[Any], said: str) -> None:
    with pytest.raises(InvalidData) as raised:
        prepare({**DATA, "w": weights}, weight_column="w")
    assert raised.value.code == "invalid-weights"
    assert said in raised.value.message


def test_rows_without_a_group_are_groups_of_their_own() -> None:
    prepared = prepare({**DATA, "g": ["a", None, "a", None, "b", "b"]}, validation={"folds": 2, "group_column": "g"})
    assert prepared.groups is not None
    assert prepared.groups.tolist() == [0, 2, 0, 3, 1, 1]
    assert prepared.groups.dtype == np.int64


def test_a_wide_table_of_the_usual_size_is_prepared_in_time() -> None:
    """49,000 rows and 14 columns take 0.4 s on one quiet core; the bound leaves room for a busy one."""
    rng = np.random.default_rng(0)
    rows = 49_000
    columns: dict[str, Any] = {f"n{index}": rng.lognormal(size=rows) for index in range(6)}
    columns |= {f"c{size}": pa.array(rng.integers(0, size, rows)).cast(pa.string()) for size in range(5, 45, 5)}
    table = pa.table({**columns, "y": rng.integers(0, 2, rows)})
    started = time.process_time()
    prepared = prepare(table)
    assert time.process_time() - started < 3.0
    first = table.select([feature.name for feature in prepared.features]).slice(0, 1)
    started = time.process_time()
    for _ in range(10):
        prepared.encoder.transform(first.columns, 1)
    assert (time.process_time() - started) / 10 < 0.02


def test_unusual_types_and_values_give_finite_matrices_from_training_to_prediction() -> None:
    rng = np.random.default_rng(1)
    rows = 60
    table = pa.table(
        {
            "one_value": [None, 3.0, *[None] * (rows - 2)],
            "flag": [True, None, False] * 20,
            "unsigned": pa.array([2**63 + 10_000 * index for index in range(rows)], pa.uint64()),
            "time": pa.array([60 * index for index in range(rows)], pa.time32("s")),
            "span": pa.array([7 * index for index in range(rows)], pa.duration("ns")),
            "half": pa.array(rng.normal(size=rows).astype(np.float16)),
            "old": [dt.date(1, 1, 1 + index % 28) for index in range(rows)],
            "blank": ["", " ", "a"] * 20,
            "marks": ["ä", "💥", "\0x"] * 20,
            "view": pa.array(["p", "q", "r"] * 20, pa.string_view()),
            "money": [f"${1000 * index:,}" for index in range(rows)],
            "tiny": rng.normal(size=rows) * 1e-40,
            "y": [None, *rng.integers(0, 2, rows - 1).tolist()],
        }
    )
    prepared = prepare(table)
    assert len(prepared.features) == 12
    assert np.isfinite(prepared.dense).all()
    assert not np.isinf(prepared.tree).any()
    again = prepared.encoder.transform(match_columns(prepared.features, table.slice(1)), rows - 1)
    np.testing.assert_array_equal(again.tree, prepared.tree)
    np.testing.assert_array_equal(again.dense, prepared.dense)
    nothing = pa.table({feature.name: pa.nulls(2) for feature in prepared.features})
    missing = prepared.encoder.transform(match_columns(prepared.features, nothing), 2)
    known = np.zeros(missing.tree.shape[1], dtype=bool)  # numbers and dates of which none was missing: their median
    known[[place for place in range(len(known)) if place not in prepared.encoder.categorical]] = True
    known &= ~np.isnan(prepared.tree).any(axis=0)
    assert known.sum() >= 7
    assert np.isnan(missing.tree[:, ~known]).all()
    assert np.isfinite(missing.tree[:, known]).all()
    assert np.isfinite(missing.dense).all()
