"""Forecasts of members that time was up for before they had forecast all series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rayctl.automl.engine import Candidate, Combination
from rayctl.automl.forecast.engine import ENGINE
from rayctl.automl.forecast.prepare import PreparedSeries
from rayctl.automl.partial import KEY, Partial, partial_warning
from tests.unit.automl.test_forecast_engine import HORIZON, TABLE, _request


@pytest.fixture(scope="module")
def prepared() -> PreparedSeries:
    return ENGINE.prepare(TABLE, _request())


def test_shares_are_those_of_the_series_that_each_has() -> None:
    partial = Partial({3: 0.75, 5: 0.25}, {3: (8, 9), 5: (9,)}, fills_in=0, filled=0.5)
    assert partial.uncovered([7, 8, 9]) == [9]
    assert partial.shares({7: 1.0, 8: 1.0, 9: 2.0}) == pytest.approx({0: 0.5, 3: 0.1875, 5: 0.3125})
    stored = {"settings": {KEY: partial.to_json()}}
    assert Partial.of(stored["settings"]) == partial
    assert "trials 3, 5 lack some series, and 50 % of the series are forecast by trial 0" in str(
        partial_warning(stored)
    )
    assert partial_warning({"settings": {}}) is None
    assert partial_warning(None) is None


def test_series_without_a_members_forecast_get_that_of_the_trial_that_fills_in(prepared: PreparedSeries) -> None:
    request = _request(validation={"scheme": "holdout"})
    [window, last] = ENGINE.split(prepared, request)
    halves = [replace(last, index=1 + k, train=part) for k, part in enumerate(_halves(prepared, last.train))]
    folds = [window, *halves]
    candidates = {0: Candidate("Naive"), 1: Candidate("DynamicOptimizedTheta")}
    outcomes = {
        trial: [ENGINE.evaluate(prepared, fold, candidate, request, seed=1, deadline=None) for fold in folds]
        for trial, candidate in candidates.items()
    }
    alone = {trial: Combination({trial: 1.0}, 0.0) for trial in candidates}
    whole = {
        trial: ENGINE.predict(
            ENGINE.assemble(prepared, folds, candidates, {trial: outcomes[trial]}, alone[trial], request), None
        )["prediction"]
        .to_numpy()
        .reshape(-1, HORIZON)
        for trial in candidates
    }
    partial = Partial({1: 1.0}, {1: (2,)}, fills_in=0, filled=0.4)
    combination = Combination({0: 0.4, 1: 0.6}, 0.0, {KEY: partial.to_json()})
    there = {0: outcomes[0], 1: outcomes[1][:2]}
    bundle = ENGINE.assemble(prepared, folds, candidates, there, combination, request)
    found = ENGINE.predict(bundle, None)["prediction"].to_numpy().reshape(-1, HORIZON)
    assert np.array_equal(found[:3], whole[1][:3])
    assert np.array_equal(found[3:], whole[0][3:])
    # The validation table says the same of each series, and new history is forecast by the chosen model alone.
    shown = ENGINE.blended(prepared, folds, there, combination, request)["prediction"].to_numpy().reshape(-1, HORIZON)
    assert np.array_equal(shown[:3], outcomes[1][0].predictions.reshape(-1, HORIZON)[:3])
    assert np.array_equal(shown[3:], outcomes[0][0].predictions.reshape(-1, HORIZON)[3:])
    again = ENGINE.predict(bundle, TABLE)["prediction"].to_numpy().reshape(-1, HORIZON)
    assert np.allclose(again, whole[1])
    with pytest.raises(ValueError, match="trial 1 has outcomes of 3 of 2 folds"):
        ENGINE.assemble(prepared, folds, candidates, outcomes, combination, request)


def _halves(prepared: PreparedSeries, positions: np.ndarray) -> list[np.ndarray]:
    """Return the positions of the first three series and of the others."""
    edge = prepared.offsets[3]
    return [positions[positions < edge], positions[positions >= edge]]
