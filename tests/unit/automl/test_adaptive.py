"""Adaptive search: repeatable, inside its space, and better than chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import fmean

import pytest

from rayctl.automl.adaptive import propose
from rayctl.automl.engine import Candidate
from rayctl.automl.model import LeaderboardRow, TrialState
from rayctl.automl.search import Range, Space, int_log_uniform, log_uniform, sample_params, uniform

SPACE: Space = {
    "rate": log_uniform(0.01, 1.0),
    "leaves": int_log_uniform(4, 64),
    "share": uniform(0.123456, 0.987654),
    "whole": Range(1, 3, whole=True),
    "layers": [[64], [128, 64]],
    "pair": [(1, 2), (3, 4)],
    "kind": ["a", None, True],
}


def row(trial: int, candidate: Candidate, score: float | None) -> LeaderboardRow:
    state = TrialState.FAILED if score is None else TrialState.DONE
    return LeaderboardRow(trial=trial, model=candidate.model, params=candidate.params, state=state, score=score)


def search(
    value: Callable[[Mapping[str, object]], float], space: Space, trials: int, seed: int, greater: bool = False
) -> list[float]:
    rows: list[LeaderboardRow] = []
    for number in range(trials):
        candidate = propose({"m": space}, rows, greater, seed, number)
        assert candidate is not None
        rows.append(row(number, candidate, value(candidate.params)))
    return [r.score or 0.0 for r in rows]


def some_rows(count: int = 20) -> list[LeaderboardRow]:
    candidates = [Candidate("m", sample_params(SPACE, 0, n)) for n in range(count)]
    return [row(n, c, float(c.params["rate"])) for n, c in enumerate(candidates)]


def test_a_proposal_is_a_function_of_its_arguments() -> None:
    rows = some_rows()
    first = propose({"m": SPACE}, rows, True, 5, 20)
    assert first == propose({"m": SPACE}, rows, True, 5, 20)
    assert first != propose({"m": SPACE}, rows, True, 5, 21)
    assert first != propose({"m": SPACE}, rows, True, 6, 20)
    assert first != propose({"m": SPACE}, rows, False, 5, 20)


def test_proposals_lie_in_the_space_and_are_short() -> None:
    rows: list[LeaderboardRow] = []
    for number in range(40):
        candidate = propose({"m": SPACE}, rows, False, 1, number)
        assert candidate is not None
        params = candidate.params
        assert params.keys() == SPACE.keys()
        for name, choice in SPACE.items():
            if isinstance(choice, Range):
                assert choice.low <= params[name] <= choice.high
                assert isinstance(params[name], int if choice.whole else float)
            else:
                assert params[name] in list(choice)
        assert params["rate"] in (0.01, 1.0) or len(f"{params['rate']:.10g}") <= len("0.012345")
        rows.append(row(number, candidate, -float(params["share"])))


def test_rounding_does_not_leave_a_narrow_range() -> None:
    narrow: Space = {"x": Range(0.12345, 0.12346)}
    for number in range(5):
        candidate = propose({"m": narrow}, [], True, 0, number)
        assert candidate is not None
        assert 0.12345 <= candidate.params["x"] <= 0.12346


def quadratic(params: Mapping[str, object]) -> float:
    return (math.log10(float(params["x"])) + 1.3) ** 2 + (float(params["y"]) - 0.7) ** 2  # type: ignore[arg-type]


@pytest.mark.parametrize("greater", [False, True])
def test_it_finds_better_configurations_than_chance(greater: bool) -> None:
    space: Space = {"x": log_uniform(1e-4, 1.0), "y": uniform(0.0, 1.0)}
    sign = -1 if greater else 1
    learned, chance = [], []
    for seed in range(5):
        found = search(lambda p: sign * quadratic(p), space, 25, seed, greater)
        learned.append(fmean(sorted(sign * value for value in found)[:5]))
        chance.append(fmean(sorted(quadratic(sample_params(space, seed, n)) for n in range(25))[:5]))
    assert fmean(learned) < 0.6 * fmean(chance)


@pytest.mark.parametrize("good", [[128, 64], (3, 4)])
def test_it_learns_which_list_is_good_also_after_json_has_made_lists_of_tuples(good: list[int]) -> None:
    name = "layers" if isinstance(good, list) else "pair"
    rows = []
    for number in range(16):
        params = sample_params(SPACE, 3, number)
        json_params = {key: list(v) if isinstance(v, tuple) else v for key, v in params.items()}
        score = 1.0 if params[name] == good else 0.0
        rows.append(row(number, Candidate("m", json_params), score))
    proposed = [propose({"m": SPACE}, rows, True, 0, number) for number in range(16, 36)]
    assert sum(c is not None and c.params[name] == good for c in proposed) >= 14


def test_rows_from_elsewhere_do_no_harm() -> None:
    """Portfolio trials lie outside of the space, lack parameters or have others; some have no usable score."""
    strange: list[tuple[dict[str, object], float | None]] = [
        ({"rate": 50.0, "leaves": 1, "kind": "z"}, 0.5),
        ({"rate": -1, "leaves": 1000, "share": 2}, 0.4),
        ({"rate": "fast", "leaves": None, "layers": [7], "other": 3}, 0.6),
        ({"rate": True}, 0.3),
        ({}, 0.9),
        ({"rate": 0.1}, float("inf")),
        ({"rate": 0.1}, float("nan")),
        ({"rate": 0.1}, None),
        ({"leaves": 7.9, "kind": True}, 0.2),
    ]
    rows = [row(n, Candidate("m", params), score) for n, (params, score) in enumerate(strange)] + [
        row(99, Candidate("unknown", {"rate": 0.1}), 9.0)
    ]
    for number in range(100, 110):
        candidate = propose({"m": SPACE}, rows, True, 0, number)
        assert candidate is not None
        assert 0.01 <= candidate.params["rate"] <= 1.0


def test_the_best_model_gets_two_of_three_turns_and_the_second_best_one() -> None:
    space: Space = {"x": uniform(0, 1)}
    scores = {"a": 0.3, "b": 0.9, "c": 0.5, "d": 0.1}
    rows = [row(n, Candidate(model, {"x": 0.5}), score) for n, (model, score) in enumerate(scores.items())]

    def turns(greater: bool, known: list[LeaderboardRow]) -> list[str]:
        found = [propose(dict.fromkeys(scores, space), known, greater, 0, number) for number in range(6)]
        return [c.model for c in found if c is not None]

    assert turns(True, rows) == ["b", "b", "c"] * 2
    assert turns(False, rows) == ["d", "d", "a"] * 2
    assert turns(True, rows[3:]) == ["d", "d", "a"] * 2
    assert turns(True, []) == ["a", "a", "b"] * 2


def test_without_a_space_there_is_no_proposal() -> None:
    assert propose({}, some_rows(), True, 0, 5) is None
