"""The encoder: what each kind of column becomes, and that a model sees the same rows after a trip through a bundle."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rayctl.automl.bundle import Member
from rayctl.automl.tabular.arrays import pack_arrays, unpack_arrays
from rayctl.automl.tabular.columns import Feature, Kind
from rayctl.automl.tabular.encoder import Encoded, TableEncoder
from rayctl.errors import InvalidRequest


def fit(kind: Kind, values: Any) -> tuple[TableEncoder, Encoded]:
    column = pa.chunked_array([values])
    return TableEncoder.fit_encode([Feature("x", kind)], [column], len(column), 0)


def transform(encoder: TableEncoder, values: Any) -> Encoded:
    column = pa.chunked_array([values])
    return encoder.transform([column], len(column))


def test_numbers_stay_as_they_are_in_the_tree_matrix() -> None:
    _, encoded = fit("number", [1.5, None, -3.0, 1e6])
    np.testing.assert_array_equal(encoded.tree[:, 0], [1.5, np.nan, -3.0, 1e6])


def test_large_whole_numbers_stay_distinct() -> None:
    values = np.arange(1_700_000_000_000, 1_700_000_000_400)  # milliseconds since 1970: all one float32
    assert len(np.unique(values.astype(np.float32))) < 5
    encoder, encoded = fit("number", values)
    assert len(np.unique(encoded.tree)) == 400
    np.testing.assert_array_equal(transform(encoder, values[:5]).tree, encoded.tree[:5])


def test_numbers_beyond_the_range_of_float32_stay_finite_and_ordered() -> None:
    encoder, encoded = fit("number", np.array([1e300, 2e300, -3e300, 5.0]))
    assert np.isfinite(encoded.tree).all()
    assert np.argsort(encoded.tree[:, 0]).tolist() == [2, 3, 0, 1]
    assert np.isfinite(transform(encoder, [1e308]).tree).all()
    _, small = fit("number", np.array([1e-300, 2e-300, 3e-300]))
    assert len(np.unique(small.tree)) == 3


def test_categories_are_coded_by_frequency() -> None:
    encoder, encoded = fit("category", ["b", "a", "b", None, "c", "a", "b"])
    np.testing.assert_array_equal(encoded.tree[:, 0], [0, 1, 0, np.nan, 2, 1, 0])
    assert (encoder.categorical, encoder.cardinalities) == ((0,), (3,))
    # Not seen before: missing, in all one-hot columns zero.
    unseen = transform(encoder, ["new", None])
    assert np.isnan(unseen.tree).all()
    assert unseen.dense[0].tolist() == unseen.dense[1].tolist()


def test_rare_categories_share_one_code_also_those_that_were_not_seen() -> None:
    values = [f"common{index % 40}" for index in range(400)] + [f"once{index}" for index in range(30)]
    encoder, encoded = fit("category", values)
    assert encoder.cardinalities == (41,)
    assert set(encoded.tree[400:, 0]) == {40.0}
    assert transform(encoder, ["once3", "never", None]).tree[:2, 0].tolist() == [40.0, 40.0]
    # 31 columns for the most frequent ones, one for the rest, the frequency; no flag, as none is missing.
    assert encoded.dense.shape[1] == 33
    assert (encoded.dense[:, :32].sum(axis=1) == 1).all()


def test_two_categories_without_gaps_need_one_dense_column() -> None:
    assert fit("category", ["m", "f", "m"])[1].dense.tolist() == [[0], [1], [0]]
    assert fit("category", ["m", "f", None])[1].dense.shape[1] == 3


def test_dense_numbers_are_normal_scores_whatever_their_distribution() -> None:
    values = np.random.default_rng(0).lognormal(0, 3, 5000)
    encoder, encoded = fit("number", values)
    dense = encoded.dense[:, 0]
    assert abs(dense.mean()) < 0.05
    assert abs(dense.std() - 1) < 0.05
    assert np.abs(dense).max() < 4
    assert (np.diff(dense[np.argsort(values)]) >= 0).all()
    extreme = transform(encoder, [-1e30, 1e30]).dense[:, 0]
    assert extreme.tolist() == [dense.min(), dense.max()]


def test_skewed_numbers_are_also_there_in_proportion() -> None:
    values = np.random.default_rng(0).lognormal(0, 1, 5000)
    encoder, encoded = fit("number", values)
    assert encoded.dense.shape[1] == 2
    inner = values < np.quantile(values, 0.6)  # bent only at the ends
    assert np.corrcoef(encoded.dense[inner, 1], values[inner])[0, 1] > 0.999
    assert abs(np.median(encoded.dense[:, 1])) < 1e-6
    assert np.abs(transform(encoder, [-1e30, 1e30]).dense[:, 1]).max() <= 3.0
    symmetric = np.random.default_rng(0).normal(size=5000)
    assert fit("number", symmetric)[1].dense.shape[1] == 1  # here it would say the same twice


def test_a_column_that_is_mostly_zero_keeps_zero_near_the_others() -> None:
    values = np.r_[np.zeros(9_200), np.random.default_rng(0).lognormal(8, 1, 800)]
    dense = fit("number", values)[1].dense[:, 0]
    assert abs(dense[0]) < 0.5  # and not at minus five


def test_missing_numbers_are_the_median_and_flagged() -> None:
    values = np.r_[np.arange(100.0), np.nan]
    dense = fit("number", values)[1].dense
    assert dense[:, -1].tolist() == [0.0] * 100 + [1.0]
    assert (dense[49, :-1] <= dense[100, :-1]).all()
    assert (dense[100, :-1] <= dense[50, :-1]).all()


def test_few_whole_numbers_are_one_hot_as_well() -> None:
    _, encoded = fit("number", [1, 2, 3, 1, 2, 3])
    assert encoded.tree[:, 0].tolist() == [1, 2, 3, 1, 2, 3]
    np.testing.assert_array_equal(encoded.dense[:3, 1:], np.eye(3))
    assert fit("number", np.arange(40) % 9)[1].dense.shape[1] == 1


def test_dates_are_expanded_and_what_goes_round_is_an_angle() -> None:
    days = [dt.date(2023, 12, 31), dt.date(2024, 1, 1), dt.date(2024, 7, 1), None]
    encoder, encoded = fit("datetime", days)
    assert encoder.tree_names == ("x.ordinal", "x.year", "x.month", "x.day", "x.weekday", "x.dayofyear")
    assert np.isnan(encoded.tree[3]).all()
    angles = [place for place, source in enumerate(encoder.dense.sources) if source == 5]
    end, start, summer = encoded.dense[:3, angles]
    assert np.linalg.norm(end - start) < 0.05 < np.linalg.norm(start - summer)
    assert np.isfinite(encoded.dense).all()


def test_seconds_of_one_day_stay_distinct() -> None:
    start = dt.datetime(2024, 5, 1, 12)
    moments = [start + dt.timedelta(seconds=index) for index in range(300)]
    _, encoded = fit("datetime", moments)
    assert len(np.unique(encoded.tree[:, 0])) == 300


MIXED: dict[str, tuple[Kind, list[Any]]] = {
    "number": ("number", [1.5, None, 2.5, 7.0, 1e30] * 20),
    "large": ("number", list(range(1_700_000_000_000, 1_700_000_000_100))),
    "flag": ("bool", [True, None, False, True, True] * 20),
    "kind": ("category", ["a", "b", None, "ü", "d"] * 20),
    "many": ("category", [f"id{index // 2}" if index < 60 else f"only{index}" for index in range(100)]),
    "day": ("datetime", [dt.datetime(2024, 1, 1 + index % 28, index % 24) for index in range(99)] + [None]),
    "note": ("text", [f"the {index % 7} quick brown fox number {index % 5}" for index in range(99)] + [None]),
}


def mixed() -> tuple[TableEncoder, Encoded, list[pa.ChunkedArray]]:
    features = [Feature(name, kind) for name, (kind, _) in MIXED.items()]
    columns = [pa.chunked_array([values]) for _, values in MIXED.values()]
    encoder, encoded = TableEncoder.fit_encode(features, columns, 100, 0)
    return encoder, encoded, columns


def test_the_encoder_survives_a_bundle_exactly() -> None:
    encoder, encoded, columns = mixed()
    info, members = encoder.to_members()
    again = TableEncoder.from_members(json.loads(json.dumps(info)), members)
    for got in (encoder.transform(columns, 100), again.transform(columns, 100)):
        np.testing.assert_array_equal(got.tree, encoded.tree)
        np.testing.assert_array_equal(got.dense, encoded.dense)
    assert again.features == encoder.features
    assert again.tree_names == encoder.tree_names
    assert again.to_members() == (info, members)
    assert {member.stored for member in members.values()} <= {"json", "raw"}
    assert all(name.startswith("encoder/") for name in members)


def test_one_row_is_encoded_like_many() -> None:
    encoder, encoded, columns = mixed()
    for row in (0, 1, 50, 99):
        one = encoder.transform([column.slice(row, 1) for column in columns], 1)
        np.testing.assert_array_equal(one.tree, encoded.tree[[row]])
        np.testing.assert_allclose(one.dense, encoded.dense[[row]], atol=1e-6)


def test_only_the_wanted_matrix_is_made() -> None:
    encoder, encoded, columns = mixed()
    tree = encoder.transform(columns, 100, want=("tree",))
    assert (tree.tree.shape, tree.dense.shape) == (encoded.tree.shape, (100, 0))
    dense = encoder.transform(columns, 100, want=("dense",))
    assert (dense.tree.shape, dense.dense.shape) == ((100, 0), encoded.dense.shape)


def test_every_column_of_the_matrices_belongs_to_one_input_column() -> None:
    encoder, encoded, columns = mixed()
    places = range(len(MIXED))
    assert sorted(place for index in places for place in encoder.tree_of(index)) == list(range(encoded.tree.shape[1]))
    assert sorted(place for index in places for place in encoder.dense_of(index)) == list(range(encoded.dense.shape[1]))
    for index in places:  # what changes when a column changes is what belongs to it
        changed = list(columns)
        changed[index] = columns[index].take(pa.array(np.arange(100)[::-1]))
        got = encoder.transform(changed, 100)
        same = np.array_equal(got.tree, encoded.tree, equal_nan=True)
        assert not same
        for matrix, before, own in (
            (got.tree, encoded.tree, encoder.tree_of(index)),
            (got.dense, encoded.dense, encoder.dense_of(index)),
        ):
            others = [place for place in range(before.shape[1]) if place not in own]
            np.testing.assert_array_equal(matrix[:, others], before[:, others])


def test_damaged_encoders_are_refused() -> None:
    encoder, _, _ = mixed()
    info, members = encoder.to_members()
    state = json.loads(members["encoder/columns.json"].data)
    shorter = {**members, "encoder/arrays": Member(members["encoder/arrays"].data[:-8])}
    unknown = {**members, "encoder/columns.json": Member(json.dumps({**state, "parts": [{"kind": "x"}]}).encode())}
    misplaced = [[99, *step[1:]] for step in state["dense"]]
    beyond = {**members, "encoder/columns.json": Member(json.dumps({**state, "dense": misplaced}).encode())}
    for damaged in (shorter, unknown, beyond, {}):
        with pytest.raises(InvalidRequest) as raised:
            TableEncoder.from_members(info, damaged)
        assert raised.value.code == "invalid-bundle"


def test_arrays_are_packed_without_their_sizes_being_trusted() -> None:
    arrays = {"a": np.arange(6, dtype=np.float64).reshape(2, 3), "b": np.empty(0, np.int32)}
    directory, data = pack_arrays(arrays)
    again = unpack_arrays(json.loads(json.dumps(directory)), data)
    assert all(np.array_equal(again[name], arrays[name]) and again[name].shape == arrays[name].shape for name in arrays)
    claims = [{"a": ["<f8", [10**12]]}, {"a": ["|O", [6]]}, {"a": ["<f8", [-1, -6]]}, {"a": ["<f8", [2]]}]
    for claimed in claims:
        with pytest.raises(InvalidRequest):
            unpack_arrays(claimed, data)
    with pytest.raises(ValueError, match="not stored"):
        pack_arrays({"a": np.array(["text"], dtype=object)})


def test_what_is_missing_only_in_prediction_is_the_median() -> None:
    """Models that have seen no missing value take them for zero, or go anywhere with them."""
    encoder, _ = fit("number", [2000.0, 1990.0, 2010.0])
    assert transform(encoder, [None, 1995.0]).tree[:, 0].tolist() == [2000.0, 1995.0]
    flags, _ = fit("bool", [True, True, False])
    assert transform(flags, pa.array([None, False])).tree[:, 0].tolist() == [1.0, 0.0]
    days = [dt.date(2024, 3, 1), dt.date(2023, 1, 31), dt.date(2024, 7, 4)]
    dates, _ = fit("datetime", days)
    unknown = transform(dates, pa.array([None, days[0]], pa.date32())).tree
    assert unknown[0].tolist() == unknown[1].tolist()
    gaps, _ = fit("number", [2000.0, None, 2010.0])
    assert np.isnan(transform(gaps, [None, 1.0]).tree[0, 0])
