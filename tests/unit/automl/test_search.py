"""Search spaces: order, completeness, repeatability."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rayctl.automl.engine import Candidate
from rayctl.automl.model import SearchEntry
from rayctl.automl.search import (
    candidate_key,
    count_candidates,
    derive_seed,
    expand_search_space,
    int_log_uniform,
    log_uniform,
    sample_params,
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


@given(st.integers(0, 2**32 - 1), st.integers(0, 10**6), st.integers(-1, 50))
def test_seeds_are_32_bits(run: int, trial: int, fold: int) -> None:
    assert 0 <= derive_seed(run, trial, fold) < 2**32


def test_seeds_differ_and_never_change() -> None:
    seeds = {derive_seed(0, trial, fold) for trial in range(100) for fold in range(10)}
    assert len(seeds) == 1000
    assert derive_seed(1, 2, 3) == 2066005695


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
