"""The encoded form of a table, its folds and its views."""

from __future__ import annotations

import datetime as dt
import json
import pickle
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayctl.automl.model import RunRequest, Validation
from rayctl.automl.tabular.columns import Feature, encode
from rayctl.automl.tabular.folds import make_folds
from rayctl.automl.tabular.prepare import PreparedTable, prepare_table
from rayctl.automl.tabular.views import DenseEncoder, clear_cache, dense_view, tree_view

DATA: dict[str, list[Any]] = {
    "n": [1.5, None, 3.0, 4.0, 5.0, 6.0],
    "flag": [True, False, None, True, False, True],
    "kind": ["b", "a", None, "b", "c", "a"],
    "day": [dt.date(2024, 2, 28 + i) if i < 2 else dt.date(2025, 1, i) for i in range(6)],
    "y": ["no", "yes", "no", "yes", "no", "yes"],
}
REQUEST = RunRequest(task="classification", target="y", validation={"folds": 2})


def prepare(data: pa.Table | None = None, request: RunRequest = REQUEST) -> PreparedTable:
    return prepare_table(pa.table(DATA) if data is None else data, request)


def test_encoding_by_hand() -> None:
    prepared = prepare()
    assert [f.kind for f in prepared.features] == ["number", "bool", "category", "datetime"]
    assert prepared.features[2].categories == ("a", "b", "c")
    assert prepared.features[3].parts == ("year", "month", "day", "weekday", "ordinal")
    np.testing.assert_array_equal(prepared.numeric[0], [1.5, 1, 2024, 2, 28, 2, 19781])
    np.testing.assert_array_equal(prepared.numeric[1], [np.nan, 0, 2024, 2, 29, 3, 19782])
    np.testing.assert_array_equal(prepared.codes[:, 0], [1, 0, -1, 1, 2, 0])
    assert prepared.classes == ("no", "yes")
    assert prepared.target.tolist() == [0, 1, 0, 1, 0, 1]
    assert (prepared.codes.dtype, prepared.target.dtype) == (np.int32, np.int32)


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


def test_hours_are_kept_where_there_are_any_and_zones_become_utc() -> None:
    moments = [dt.datetime(2024, 1, 1, hour, tzinfo=dt.timezone.utc) for hour in range(6)]
    utc = prepare(pa.table({"t": pa.array(moments, pa.timestamp("us", "UTC")), "y": DATA["y"]}))
    there = prepare(pa.table({"t": pa.array(moments, pa.timestamp("us", "Asia/Tokyo")), "y": DATA["y"]}))
    assert utc.features[0].parts[-1] == "hour"
    assert utc.numeric[:, -1].tolist() == [0, 1, 2, 3, 4, 5]
    assert there.token == utc.token


@pytest.mark.parametrize(
    ("values", "classes"),
    [([2, 10, 2, 10, 2, 10], (2, 10)), ([True, False] * 3, (False, True)), ([0.0, 1.0] * 3, (0.0, 1.0))],
)
def test_classes_keep_their_type_and_natural_order(values: list[Any], classes: tuple[Any, ...]) -> None:
    found = prepare(pa.table({**DATA, "y": values})).classes
    assert found == classes
    assert found is not None
    assert type(found[0]) is type(classes[0])


def test_pickles_without_copies() -> None:
    prepared = prepare()
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(prepared, protocol=5, buffer_callback=buffers.append)
    again = pickle.loads(data, buffers=buffers)  # noqa: S301
    assert len(buffers) == 3
    assert np.shares_memory(again.numeric, prepared.numeric)
    assert again.token == prepared.token


def test_rows_without_target_are_left_out_and_positions_kept() -> None:
    prepared = prepare(pa.table({**DATA, "y": [None, "yes", "no", "yes", "no", "yes"]}))
    assert prepared.rows is not None
    assert prepared.rows.tolist() == [1, 2, 3, 4, 5]
    assert len(prepared.numeric) == len(prepared.target) == 5


def test_unknown_categories_are_missing() -> None:
    feature = Feature("k", "category", categories=("a", "b"))
    _, codes = encode([feature], [pa.chunked_array([["b", "new", None]])], 3)
    assert codes[:, 0].tolist() == [1, -1, -1]


def test_the_dense_view_knows_training_rows_only() -> None:
    numeric = np.array([[0.0], [2.0], [np.nan], [1000.0]])
    codes = np.array([[0], [1], [-1], [2]], dtype=np.int32)
    encoder = DenseEncoder.fit(numeric[:3], codes[:3], [3])
    assert encoder.medians == (1.0,)
    assert encoder.kept == ((0, 1),)
    dense = encoder.transform(numeric, codes)
    # standardised number, "was missing", one column for each of the two seen categories
    np.testing.assert_allclose(dense[2], [0.0, 1.0, 0.0, 0.0], atol=1e-12)
    assert dense[3, 1:].tolist() == [0.0, 0.0, 0.0]
    assert np.isfinite(dense).all()
    assert DenseEncoder.from_json(json.loads(json.dumps(encoder.to_json()))) == encoder


def test_rare_categories_share_a_column() -> None:
    codes = np.r_[np.arange(40), np.zeros(5)].astype(np.int32)[:, None]
    encoder = DenseEncoder.fit(np.empty((45, 0)), codes, [41])
    assert encoder.other == (True,)
    assert len(encoder.kept[0]) == 32
    dense = encoder.transform(np.empty((45, 0)), codes)
    assert dense.shape == (45, 33)
    assert (dense.sum(axis=1) == 1).all()


def test_views_are_cached_and_read_only() -> None:
    clear_cache()
    prepared, train = prepare(), np.arange(4, dtype=np.int32)
    assert tree_view(prepared) is tree_view(prepare())
    assert dense_view(prepared, train)[1] is dense_view(prepared, train.copy())[1]
    assert dense_view(prepared, train)[1] is not dense_view(prepared, train[:3])[1]
    with pytest.raises(ValueError, match="read-only"):
        tree_view(prepared)[0, 0] = 1.0


@given(
    st.lists(st.integers(0, 3), min_size=10, max_size=80),
    st.integers(2, 6),
    st.sampled_from(["kfold", "holdout", "time_series"]),
    st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_folds_partition_the_rows_evenly(labels: list[int], count: int, scheme: Any, seed: int) -> None:
    target = np.array(labels, dtype=np.int32)
    validation = Validation(scheme=scheme, folds=count if scheme == "kfold" else None)
    if scheme == "time_series" and len(target) < 12:
        return
    folds = make_folds(target, 4, validation, seed)
    for fold in folds:
        assert fold.train.dtype == fold.test.dtype == np.int32
        assert len(fold.train)
        assert len(fold.test)
        assert not set(fold.train) & set(fold.test)
        assert (np.diff(fold.train) > 0).all()
        assert (np.diff(fold.test) > 0).all()
    if scheme == "kfold":
        assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(target)))
        for code in range(4):
            spread = [int((target[fold.test] == code).sum()) for fold in folds]
            assert max(spread) - min(spread) <= 1
    if scheme == "time_series":
        assert len(folds) == 5
        assert all(fold.train.max() < fold.test.min() for fold in folds)
        assert folds[-1].test[-1] == len(target) - 1
    again = make_folds(target, 4, validation, seed)
    assert all((a.test == b.test).all() for a, b in zip(folds, again, strict=True))


def test_fold_counts_follow_size_and_request() -> None:
    big = np.arange(30_000, dtype=float)
    assert len(make_folds(big, None, Validation(), 0)) == 3
    assert len(make_folds(big[:100], None, Validation(), 0)) == 5
    assert len(make_folds(big[:100], None, Validation(folds=7), 0)) == 7
    holdout = make_folds(big[:100], None, Validation(scheme="holdout", holdout_fraction=0.2), 0)
    assert [len(fold.test) for fold in holdout] == [20]
    first, second = (make_folds(big[:100], None, Validation(), seed)[0].test for seed in (0, 1))
    assert first.tolist() != second.tolist()
