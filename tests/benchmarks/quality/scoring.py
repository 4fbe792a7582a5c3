"""From predictions to scores, in plain numpy. Only the scorer runs this; no framework computes its own score.

Losses are what is compared: lower is better for every metric.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

__all__ = [
    "BadPredictions",
    "constant",
    "last_value",
    "log_loss",
    "loss_of",
    "rmse",
    "roc_auc",
    "score_table",
    "series_errors",
]

# A probability of zero for what then happens would be an infinite loss; this is what scikit-learn clips to.
_TINY = float(np.finfo(np.float64).eps)
HIGHER_IS_BETTER = frozenset({"roc_auc"})


class BadPredictions(ValueError):
    """What a framework handed in cannot be scored: it counts as a failure."""


def loss_of(metric: str, score: float) -> float:
    """Return a score as a loss; for ROC AUC the distance to 1."""
    return 1.0 - score if metric in HIGHER_IS_BETTER else score


def roc_auc(is_positive: np.ndarray, scores: np.ndarray) -> float:
    """Return the share of pairs (positive, negative) in the right order, ties half (Mann and Whitney)."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    positives = int(is_positive.sum())
    negatives = len(is_positive) - positives
    return float((ranks[is_positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def log_loss(codes: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean negative log probability of the true class; rows are scaled to sum to one first."""
    whole = probabilities / probabilities.sum(axis=1, keepdims=True)
    return float(-np.log(np.clip(whole[np.arange(len(codes)), codes], _TINY, 1.0)).mean())


def rmse(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the root mean squared error, in the target's unit."""
    return float(np.sqrt(np.mean((truth - predicted) ** 2)))


def score_table(metric: str, truth: pd.Series, predicted: pd.DataFrame, classes: Sequence[str]) -> float:
    """Score the predictions for one table.

    Raises:
        BadPredictions: missing columns, another number of rows, values that are not finite, or rows without any mass.
    """
    columns = list(classes) or ["prediction"]
    missing = [name for name in columns if name not in predicted.columns]
    if missing or len(predicted) != len(truth):
        raise BadPredictions(f"missing columns {missing}" if missing else f"{len(predicted)} rows, not {len(truth)}")
    values = predicted[columns].to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise BadPredictions("values that are not finite")
    if metric == "rmse":
        return rmse(truth.to_numpy(dtype=np.float64), values[:, 0])
    if (values < 0).any() or (values.sum(axis=1) <= 0).any():
        raise BadPredictions("probabilities below zero, or a row of zeros")
    codes = pd.Categorical(truth.astype(str), categories=columns).codes
    return roc_auc(codes == 1, values[:, 1]) if metric == "roc_auc" else log_loss(codes, values)


def constant(problem: str, target: pd.Series, rows: int, classes: Sequence[str]) -> pd.DataFrame:
    """Return what is known without any model: the target's mean, or the shares of the classes in training."""
    if problem == "regression":
        return pd.DataFrame({"prediction": np.full(rows, float(target.mean()))})
    shares = target.astype(str).value_counts(normalize=True)
    return pd.DataFrame({name: np.full(rows, float(shares.get(name, 0.0))) for name in classes})


def last_value(train: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Return a constant for each series, its last value: what is known without any model."""
    last = train.sort_values("time").groupby("series")["value"].last()
    return truth[["series", "time"]].assign(prediction=truth["series"].map(last))


def series_errors(train: pd.DataFrame, truth: pd.DataFrame, predicted: pd.DataFrame, season: int) -> pd.DataFrame:
    """Return, for each series, ``mase``, ``rmsse`` and ``smape`` (percent); NaN where the scale is zero.

    The scales are the mean absolute and the root mean squared difference of a season in the training part.

    Raises:
        BadPredictions: a step of a series is missing or not finite, or is there twice.
    """
    if predicted.duplicated(["series", "time"]).any():
        raise BadPredictions("a step is there twice")
    predicted = predicted.assign(time=pd.to_datetime(predicted["time"]), series=predicted["series"].astype(str))
    joined = truth.assign(series=truth["series"].astype(str)).merge(predicted, on=["series", "time"], how="left")
    if not np.isfinite(joined["prediction"].to_numpy(dtype=np.float64)).all():
        raise BadPredictions("steps that are missing or not finite")
    error = joined["value"] - joined["prediction"]
    size = joined["value"].abs() + joined["prediction"].abs()
    joined = joined.assign(
        absolute=error.abs(), squared=error**2, smape=(200 * error.abs() / size).where(size > 0, 0.0)
    )
    means = joined.groupby("series")[["absolute", "squared", "smape"]].mean()
    past = train.assign(series=train["series"].astype(str)).sort_values(["series", "time"])
    step = past.groupby("series")["value"].diff(season)
    scale = step.abs().groupby(past["series"]).mean()
    square = (step**2).groupby(past["series"]).mean()
    found = pd.DataFrame(index=means.index)
    found["mase"] = means["absolute"] / scale.where(scale > 0)
    found["rmsse"] = np.sqrt(means["squared"] / square.where(square > 0))
    found["smape"] = means["smape"]
    return found
