"""The quality benchmark's arithmetic: scores against independent implementations, ranks and intervals by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from tests.benchmarks.quality import ranking, scoring

CLASSES = ("a", "b", "c")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_roc_auc_is_scikit_learns_also_with_ties(rng: np.random.Generator) -> None:
    truth = rng.random(500) < 0.3
    scores = np.round(rng.random(500) + 0.2 * truth, 1)
    assert scoring.roc_auc(truth, scores) == pytest.approx(metrics.roc_auc_score(truth, scores))


def test_log_loss_is_scikit_learns_whatever_the_order_of_the_columns(rng: np.random.Generator) -> None:
    values = rng.dirichlet(np.ones(3), size=200)
    truth = pd.Series(rng.choice(CLASSES, size=200))
    predicted = pd.DataFrame(values, columns=list(CLASSES))[["c", "a", "b"]]
    expected = metrics.log_loss(truth, values, labels=list(CLASSES))
    assert scoring.score_table("log_loss", truth, predicted, CLASSES) == pytest.approx(expected)


def test_a_certain_mistake_costs_a_finite_loss() -> None:
    predicted = pd.DataFrame({"a": [0.0], "b": [1.0], "c": [0.0]})
    found = scoring.score_table("log_loss", pd.Series(["a"]), predicted, CLASSES)
    assert 30 < found < 40


def test_rmse_is_in_the_targets_unit() -> None:
    predicted = pd.DataFrame({"prediction": [1.0, 2.0]})
    assert scoring.score_table("rmse", pd.Series([4.0, 6.0]), predicted, ()) == pytest.approx(np.sqrt(12.5))


@pytest.mark.parametrize(
    "predicted",
    [
        pd.DataFrame({"a": [0.5, 0.5]}),
        pd.DataFrame({"a": [0.5], "b": [0.5]}),
        pd.DataFrame({"a": [np.nan, 0.5], "b": [0.5, 0.5]}),
        pd.DataFrame({"a": [0.0, 0.5], "b": [0.0, 0.5]}),
        pd.DataFrame({"a": [1.5, 0.5], "b": [-0.5, 0.5]}),
    ],
    ids=["class missing", "row missing", "not a number", "no mass", "negative"],
)
def test_unusable_predictions_are_refused(predicted: pd.DataFrame) -> None:
    with pytest.raises(scoring.BadPredictions):
        scoring.score_table("roc_auc", pd.Series(["a", "b"]), predicted, ("a", "b"))


def test_without_a_model_the_shares_of_the_classes_are_predicted() -> None:
    target = pd.Series(["a", "a", "a", "b"])
    predicted = scoring.constant("binary", target, 2, ("a", "b"))
    assert predicted.to_dict("list") == {"a": [0.75, 0.75], "b": [0.25, 0.25]}
    assert scoring.score_table("roc_auc", pd.Series(["a", "b"]), predicted, ("a", "b")) == 0.5
    assert scoring.constant("regression", pd.Series([1.0, 3.0]), 1, ())["prediction"].tolist() == [2.0]


def collections(rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Three monthly series of different lengths, and their next year."""
    parts = []
    for name, length in (("x", 60), ("y", 84), ("z", 48)):
        times = pd.date_range("1990-01-01", periods=length, freq="MS")
        parts.append(pd.DataFrame({"series": name, "time": times, "value": 100 + rng.normal(size=length).cumsum()}))
    long = pd.concat(parts, ignore_index=True)
    is_test = long.groupby("series").cumcount(ascending=False) < 12
    return long[~is_test], long[is_test]


def test_scaled_errors_are_utilsforecasts(rng: np.random.Generator) -> None:
    from utilsforecast import losses

    train, truth = collections(rng)
    predicted = truth[["series", "time"]].assign(prediction=truth["value"] + rng.normal(size=len(truth)))
    found = scoring.series_errors(train, truth, predicted.sample(frac=1.0, random_state=0), season=12)
    names = {"series": "unique_id", "time": "ds", "value": "y"}
    past, both = train.rename(columns=names), truth.merge(predicted).rename(columns=names)
    for name, function in (("mase", losses.mase), ("rmsse", losses.rmsse)):
        expected = function(both, models=["prediction"], seasonality=12, train_df=past).set_index("unique_id")
        np.testing.assert_allclose(found[name], expected["prediction"].loc[found.index])
    half = losses.smape(both, models=["prediction"]).set_index("unique_id")["prediction"]
    np.testing.assert_allclose(found["smape"], 200 * half.loc[found.index])


def test_a_flat_series_has_no_scaled_error(rng: np.random.Generator) -> None:
    train, truth = collections(rng)
    train = train.assign(value=train["value"].where(train["series"] != "x", 5.0))
    errors = scoring.series_errors(train, truth, scoring.last_value(train, truth), season=12)
    assert np.isnan(errors.loc["x", "mase"])
    assert errors.loc[["y", "z"], "mase"].notna().all()


def test_forecasts_with_a_missing_or_repeated_step_are_refused(rng: np.random.Generator) -> None:
    train, truth = collections(rng)
    predicted = scoring.last_value(train, truth)
    for wrong in (predicted.iloc[1:], pd.concat([predicted, predicted.iloc[:1]])):
        with pytest.raises(scoring.BadPredictions):
            scoring.series_errors(train, truth, wrong, season=12)


def test_equal_losses_share_the_mean_of_their_places() -> None:
    assert ranking.ranks({"a": 0.3, "b": 0.1, "c": 0.3, "d": 0.9}) == {"a": 2.5, "b": 1.0, "c": 2.5, "d": 4.0}
    assert ranking.mean_ranks([{"a": 1.0, "b": 2.0}, {"a": 5.0, "b": 5.0}]) == {"a": 1.25, "b": 1.75}


def test_the_interval_draws_tasks_and_not_their_splits() -> None:
    values, tasks = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0], ["a"] * 3 + ["b"] * 3
    assert ranking.interval(values, tasks) == (0.0, 1.0)
    assert ranking.interval(values, tasks) == ranking.interval(values, tasks)
    narrow = ranking.interval([1.0, 0.0] * 50, [str(n) for n in range(100)])
    assert narrow[0] == pytest.approx(0.4, abs=0.03)
    assert narrow[1] == pytest.approx(0.6, abs=0.03)


def test_a_duel_has_a_band_for_ties_and_a_rate_without_one() -> None:
    ours, theirs = [0.1000, 0.2000, 0.3], [0.1005, 0.1900, 0.4]
    found = ranking.duel(ours, theirs, ["roc_auc"] * 3, ["x", "y", "z"])
    assert (found.wins, found.ties, found.losses) == (1, 1, 1)
    assert found.rate == pytest.approx(2 / 3)
    assert found.p_value is None
    clear = ranking.duel([1.0] * 8, [2.0 + n for n in range(8)], ["rmse"] * 8, list("abcdefgh"))
    assert (clear.wins, clear.rate, clear.low, clear.high) == (8, 1.0, 1.0, 1.0)
    assert clear.p_value is not None
    assert clear.p_value < 0.01


def test_regret_is_scaled_by_what_there_is_to_gain() -> None:
    losses = {"rayctl": 0.25, "best": 0.2, "lightgbm": 0.4}
    assert ranking.regret(losses, "rayctl", "lightgbm") == pytest.approx(0.25)
    assert ranking.regret(losses | {"rayctl": 0.1}, "rayctl", "lightgbm") == pytest.approx(-0.5)
    assert ranking.regret(losses | {"best": 0.5}, "rayctl", "lightgbm") is None


def test_a_better_score_is_a_lower_loss() -> None:
    assert scoring.loss_of("roc_auc", 0.9) == pytest.approx(0.1)
    assert scoring.loss_of("rmse", 0.9) == 0.9
