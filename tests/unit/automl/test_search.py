"""Search spaces: order, completeness, repeatability."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rayctl.automl.engine import Candidate
from rayctl.automl.model import SearchEntry
from rayctl.automl.search import (
    Range,
    candidate_key,
    count_candidates,
    derive_seed,
    distinct,
    expand_search_space,
    int_log_uniform,
    interleave,
    log_uniform,
    sample_params,
    seed_key,
    uniform,
    variations,
)


def entry(model: str, **params: list[object]) -> SearchEntry:
    return SearchEntry(model=model, params=params)


def test_entries_take_turns_and_every_combination_comes_once() -> None:
    entries = [entry("a", x=[1, 2], y=[3, 4]), entry("b"), entry("c", z=[0, 1])]
    got = [(c.model, c.params) for c in expand_search_space(entries)]
    assert got == [
        ("a", {"x": 1, "y": 3}),
        ("b", {}),
        ("c", {"z": 0}),
        ("a", {"x": 1, "y": 4}),
        ("c", {"z": 1}),
        ("a", {"x": 2, "y": 3}),
        ("a", {"x": 2, "y": 4}),
    ]
    assert count_candidates(entries) == len(got)


def test_equal_candidates_come_once_but_types_count() -> None:
    entries = [entry("a", x=[1, 1, True, 1.0, "1"]), entry("a", x=[1])]
    assert [c.params["x"] for c in expand_search_space(entries)] == [1, True, 1.0, "1"]


def test_huge_grids_are_not_built() -> None:
    huge = entry("a", **{f"p{i}": list(range(100)) for i in range(10)})
    assert len(list(islice(expand_search_space([huge]), 3))) == 3


def test_keys_ignore_the_order_of_parameters_and_understand_nested_values() -> None:
    assert candidate_key(Candidate("m", {"a": 1, "b": [1, {"c": 2}]})) == candidate_key(
        Candidate("m", {"b": [1, {"c": 2}], "a": 1})
    )
    arrays = [Candidate("m", {"w": np.arange(5000.0)}), Candidate("m", {"w": np.arange(5000.0) + 1})]
    assert candidate_key(arrays[0]) != candidate_key(arrays[1])
    assert candidate_key(Candidate("m", {"f": lambda: 1})) != candidate_key(Candidate("m", {"f": lambda: 1}))
    assert candidate_key(Candidate("m")) != candidate_key(Candidate("m", {}, b"class"))


@given(st.integers(0, 2**32 - 1), st.text(max_size=64), st.integers(-1, 50))
def test_seeds_are_32_bits(run: int, key: str, fold: int) -> None:
    assert 0 <= derive_seed(run, key, fold) < 2**32


def test_seeds_differ_and_never_change() -> None:
    keys = [seed_key(Candidate("m", {"x": number})) for number in range(100)]
    assert len({derive_seed(0, key, fold) for key in keys for fold in range(10)}) == 1000
    assert derive_seed(0, keys[0], 0) != derive_seed(1, keys[0], 0)
    assert derive_seed(1, "2", 3) == 2066005695
    assert derive_seed(0, seed_key(Candidate("lightgbm", {"num_leaves": 31})), 2) == 962819508


def test_seeds_follow_the_configuration_and_not_the_bytes_of_pickled_code() -> None:
    """The same class pickled twice has other bytes; a repetition must still get the same seeds."""
    plain = Candidate("mine.Model", {"x": 1, "layers": [64, (1, 2)], "nested": {"a": None}})
    assert seed_key(plain) == candidate_key(plain)
    assert seed_key(Candidate("mine.Model", dict(plain.params), b"one")) == seed_key(plain)
    with_code = {"function": lambda: 1, "arrays": [np.arange(3)], "mixed": {1: 2}}
    assert seed_key(Candidate("mine.Model", plain.params | with_code)) == seed_key(plain)
    assert seed_key(Candidate("mine.Model", dict(plain.params) | {"x": 2})) != seed_key(plain)


def test_variations_are_the_same_in_every_process() -> None:
    code = (
        "from itertools import islice; from rayctl.automl.search import *\n"
        "space = {'rate': log_uniform(0.01, 1), 'n': int_log_uniform(1, 9), 'kind': ['a', 'b', 'c']}\n"
        "print([c.params for c in islice(variations('m', space, 7), 5)])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_variations_depend_on_seed_and_index_and_stay_in_bounds() -> None:
    space = {"rate": log_uniform(0.01, 1.0), "n": int_log_uniform(2, 5), "kind": ["a", "b"]}
    drawn = [c.params for c in islice(variations("m", space, 0), 200)]
    assert drawn[17] == sample_params(space, 0, 17, "m") != sample_params(space, 1, 17, "m")
    assert all(0.01 <= p["rate"] <= 1.0 for p in drawn)
    assert {p["n"] for p in drawn} == {2, 3, 4, 5}
    assert {p["kind"] for p in drawn} == {"a", "b"}


@given(
    low=st.floats(1e-6, 1e3),
    width=st.floats(1e-3, 1e4),
    log=st.booleans(),
    whole=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_numbers_are_drawn_from_their_range(low: float, width: float, log: bool, whole: bool, seed: int) -> None:
    choice = Range(math.ceil(low), math.ceil(low + width), log, whole) if whole else Range(low, low + width, log)
    drawn = choice(random.Random(seed))
    if whole:
        assert isinstance(drawn, int)
        assert choice.low <= drawn <= choice.high
    else:
        # Four digits: half a unit of the last one may lie outside.
        assert choice.low * (1 - 5.1e-4) <= drawn <= choice.high * (1 + 5.1e-4)
        assert drawn == float(f"{drawn:.4g}")


def test_a_logarithmic_range_has_as_many_small_as_large_numbers() -> None:
    rng = random.Random(0)
    drawn = sorted(log_uniform(0.001, 1.0)(rng) for _ in range(2001))
    assert 0.02 < drawn[1000] < 0.05
    even = sorted(uniform(0.0, 1.0)(rng) for _ in range(2001))
    assert 0.45 < even[1000] < 0.55


def test_sources_take_turns_and_are_not_read_ahead() -> None:
    read: list[str] = []

    def source(name: str, count: int) -> Iterator[Candidate]:
        for number in range(count):
            read.append(f"{name}{number}")
            yield Candidate(name, {"n": number})

    merged = interleave([source("a", 3), source("b", 1), source("c", 2)])
    assert [c.model for c in islice(merged, 4)] == ["a", "b", "c", "a"]
    assert read == ["a0", "b0", "c0", "a1"]
    assert [c.model for c in merged] == ["c", "a"]
    assert list(distinct([Candidate("a"), Candidate("b"), Candidate("a")])) == [Candidate("a"), Candidate("b")]
