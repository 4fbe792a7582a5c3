"""Greedy weights: never worse than the best single trial, repeatable, sparse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayctl.automl.ensemble import DEAR_SHARE, PATIENCE, STEPS, greedy_blend, weighted_sum

Loss = Callable[[np.ndarray], float]


def squared(truth: np.ndarray) -> Loss:
    return lambda values: float(np.mean((values - truth) ** 2))


def problem(seed: int, trials: int, rows: int = 60, shape: tuple[int, ...] = ()) -> tuple[dict[int, np.ndarray], Loss]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(rows, *shape))
    shared = rng.normal(size=(rows, *shape))
    return {
        3 * n + 2: (truth + 0.5 * shared + rng.uniform(0.2, 3) * rng.normal(size=truth.shape)).astype(np.float32)
        for n in range(trials)
    }, squared(truth)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    trials=st.integers(1, 9),
    min_weight=st.sampled_from([0.0, 0.02, 0.1, 0.3, 0.6, 1.0]),
    steps=st.integers(1, STEPS),
    matrix=st.booleans(),
)
def test_a_blend_is_never_worse_than_the_best_single_trial(
    seed: int, trials: int, min_weight: float, steps: int, matrix: bool
) -> None:
    predictions, loss = problem(seed, trials, shape=(3,) if matrix else ())
    blend = greedy_blend(predictions, loss, steps=steps, min_weight=min_weight)
    assert blend.loss <= min(loss(values) for values in predictions.values()) + 1e-12
    assert blend.weights.keys() <= predictions.keys()
    assert list(blend.weights) == sorted(blend.weights)
    assert sum(blend.weights.values()) == pytest.approx(1.0)
    whole = greedy_blend(predictions, loss, steps=steps, min_weight=0.0)
    assert blend.weights.keys() <= whole.weights.keys()
    assert blend.weights.keys() >= {trial for trial, weight in whole.weights.items() if weight >= min_weight}
    assert blend.loss <= whole.loss + DEAR_SHARE * (whole.losses[0] - whole.loss) + 1e-12
    assert loss(weighted_sum(predictions, blend.weights)) == pytest.approx(blend.loss, rel=1e-5)
    assert blend.losses == whole.losses
    assert blend.losses[-1] == min(blend.losses)
    again = greedy_blend(dict(reversed(predictions.items())), loss, steps=steps, min_weight=min_weight)
    assert again == blend


def test_mistakes_that_cancel_out_are_averaged_away() -> None:
    truth = np.linspace(0, 1, 50)
    blend = greedy_blend({7: truth + 1, 8: truth - 1, 9: truth + 3}, squared(truth))
    assert blend.weights == {7: 0.5, 8: 0.5}
    assert blend.loss == pytest.approx(0.0)
    assert blend.losses == (pytest.approx(1.0), pytest.approx(0.0))


def test_equal_losses_go_to_the_earlier_trial() -> None:
    values = np.arange(5.0)
    assert greedy_blend({4: values, 2: values, 9: values}, squared(values)).weights == {2: 1.0}
    assert greedy_blend({4: values, 2: values}, lambda _: 1.0).weights == {2: 1.0}


def test_a_loss_that_is_not_a_number_is_the_worst() -> None:
    bad, good = np.zeros(3), np.ones(3)
    loss: Loss = lambda values: float("nan") if values.min() < 1 else 5.0  # noqa: E731
    assert greedy_blend({0: bad, 1: good}, loss).weights == {1: 1.0}
    nothing = greedy_blend({3: bad, 1: bad}, lambda _: float("nan"), min_weight=0.9)
    assert (nothing.weights, nothing.loss) == ({1: 1.0}, float("inf"))


def test_members_with_little_weight_are_left_out() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=300)
    predictions = {n: truth + rng.normal(size=300) * (1 + n) for n in range(8)}
    full = greedy_blend(predictions, squared(truth), min_weight=0.0)
    sparse = greedy_blend(predictions, squared(truth), min_weight=0.1)
    small = {trial for trial, weight in full.weights.items() if weight < 0.1}
    assert small - sparse.weights.keys()
    assert full.weights.keys() - small <= sparse.weights.keys()
    assert full.loss < sparse.loss < min(squared(truth)(values) for values in predictions.values())


def test_where_all_members_have_little_weight_they_stay() -> None:
    truth = np.zeros(3)
    predictions = {n: 3.0 * np.eye(3)[n] - 1.0 for n in range(3)}
    for min_weight in (0.02, 0.5):
        weights = greedy_blend(predictions, squared(truth), min_weight=min_weight).weights
        assert weights == pytest.approx({0: 1 / 3, 1: 1 / 3, 2: 1 / 3})


def test_members_of_little_weight_stay_where_the_others_cancel_out_only_together_with_them() -> None:
    predictions = {
        0: np.array([1.0, 2.0, -3.0]),
        1: np.array([2.0, 0.0, 0.0]),
        2: np.array([1.0, -1.0, 3.0]),
        3: np.array([-3.0, -2.0, -1.0]),
    }
    absolute: Loss = lambda values: float(np.mean(np.abs(values)))  # noqa: E731
    whole = greedy_blend(predictions, absolute)
    assert whole.weights.keys() == {0, 1, 2, 3}
    assert greedy_blend(predictions, absolute, min_weight=0.3) == whole


def test_there_is_always_a_member_even_if_no_single_trial_can_be_scored() -> None:
    mixed_only: Loss = lambda values: 1.0 if 0 < values.mean() < 1 else float("nan")  # noqa: E731
    blend = greedy_blend({0: np.zeros(2), 1: np.ones(2)}, mixed_only, min_weight=0.6)
    assert (blend.weights, blend.loss) == ({0: 0.5, 1: 0.5}, 1.0)


def test_selection_stops_when_nothing_gets_better() -> None:
    asked = 0

    def loss(values: np.ndarray) -> float:
        nonlocal asked
        asked += 1
        return float(abs(values).max())

    greedy_blend({0: np.zeros(2), 1: np.ones(2)}, loss)
    assert asked == 2 * (PATIENCE + 1)


def test_there_must_be_something_to_combine() -> None:
    with pytest.raises(ValueError, match="nothing to combine"):
        greedy_blend({}, lambda _: 0.0)


def test_sums_are_added_up_in_the_order_of_the_trials_in_double_precision() -> None:
    parts = {2: np.full(2, 1e8, np.float32), 0: np.full(2, 1.0, np.float32), 1: np.full(2, -1e8, np.float32)}
    total = weighted_sum(parts, {2: 1.0, 1: 1.0, 0: 1.0})
    assert total.dtype == np.float64
    assert total.tolist() == [1.0, 1.0]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), trials=st.integers(1, 9), most=st.integers(1, 20))
def test_members_never_cost_more_than_allowed(seed: int, trials: int, most: int) -> None:
    predictions, loss = problem(seed, trials)
    costs = {trial: float(1 + 3 * place) for place, trial in enumerate(sorted(predictions))}
    blend = greedy_blend(predictions, loss, costs=costs, most=most)
    assert sum(costs[trial] for trial in blend.weights) <= most
    affordable = [loss(values) for trial, values in predictions.items() if costs[trial] <= most]
    assert blend.loss <= min(affordable) + 1e-12
    assert greedy_blend(predictions, loss, costs=costs, most=1e9) == greedy_blend(predictions, loss)


def test_nothing_that_may_be_had_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to combine"):
        greedy_blend({1: np.zeros(3)}, squared(np.zeros(3)), costs={1: 2.0}, most=1.0)


def test_a_member_of_small_weight_stays_where_others_know_nothing() -> None:
    """A forest is sure of most rows and gives a few of them no chance at all: a little of another model is needed."""
    forest = np.full(400, 0.9)
    forest[:8] = 0.0
    careful = np.full(400, 0.5)

    def surprise(true: np.ndarray) -> float:
        return float(-np.log(np.clip(true, 1e-15, 1.0)).mean())

    blend = greedy_blend({1: forest, 2: careful}, surprise, min_weight=0.2)
    assert blend.loss < 0.8 * min(surprise(forest), surprise(careful))
    assert 0 < blend.weights[2] < 0.2
