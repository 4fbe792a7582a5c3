"""What the validation predictions of a regression say: residuals by size, by prediction and by row. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Numbers", "histogram", "read_numbers", "regression_data"]

SAMPLE = 600
WORST = 10
BINS = 40
_QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class Numbers:
    """Validation rows with a finite truth and prediction: float64 (n,); ``row`` and ``fold`` int64 (n,)."""

    truth: np.ndarray
    predicted: np.ndarray
    row: np.ndarray
    fold: np.ndarray
    dropped: int


def read_numbers(table: pa.Table) -> Numbers | None:
    """Read validation predictions; None if no row is usable."""
    if "prediction" not in table.column_names:
        return None
    truth, predicted, row, fold = (
        np.asarray(table.column(name).to_numpy(), dtype=np.float64) for name in ("truth", "prediction", "row", "fold")
    )
    usable = np.isfinite(truth) & np.isfinite(predicted)
    if not usable.any():
        return None
    return Numbers(
        truth[usable],
        predicted[usable],
        row[usable].astype(np.int64),
        fold[usable].astype(np.int64),
        int((~usable).sum()),
    )


def regression_data(rows: Numbers, seed: int) -> dict[str, Any]:
    """Return everything that is shown about a regression, as JSON. Residuals are truth minus prediction."""
    residual = rows.truth - rows.predicted
    worst = np.argsort(-np.abs(residual), kind="stable")[:WORST]
    picked = np.arange(len(residual))
    if len(residual) > SAMPLE:
        drawn = np.random.default_rng(seed).choice(len(residual), SAMPLE, replace=False)
        picked = np.unique(np.concatenate([drawn, worst]))
    return {
        "rows": len(residual),
        "sample": {
            "row": rows.row[picked].tolist(),
            "truth": rows.truth[picked].tolist(),
            "prediction": rows.predicted[picked].tolist(),
        },
        "bias": float(residual.mean()),
        "quantiles": _quantiles(residual),
        "absolute_quantiles": _quantiles(np.abs(residual)),
        "histogram": histogram(residual),
        "by_prediction": _by_prediction(rows.predicted, residual),
        "worst": [
            {
                "row": int(rows.row[i]),
                "fold": int(rows.fold[i]),
                "truth": float(rows.truth[i]),
                "prediction": float(rows.predicted[i]),
                "residual": float(residual[i]),
            }
            for i in worst
        ],
    }


def _quantiles(values: np.ndarray) -> list[dict[str, float]]:
    found = np.quantile(values, _QUANTILES)
    return [{"quantile": q, "value": float(value)} for q, value in zip(_QUANTILES, found, strict=True)]


def histogram(values: np.ndarray, bins: int = BINS) -> dict[str, Any]:
    """Return counts between the 1 % and 99 % quantile (a few outliers would flatten the rest), and what is outside."""
    low, high = np.quantile(values, [0.01, 0.99])
    if not high > low:
        low, high = float(values.min()), float(values.max())
    if not high > low:
        half = max(abs(low), 1.0) / 2
        low, high = low - half, low + half
    bins = int(min(bins, max(8, np.sqrt(len(values)))))
    counts, edges = np.histogram(values, bins=bins, range=(low, high))
    return {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "below": int((values < edges[0]).sum()),
        "above": int((values > edges[-1]).sum()),
    }


def _by_prediction(predicted: np.ndarray, residual: np.ndarray) -> list[dict[str, Any]]:
    """Residuals in up to ten groups of rows with similar predictions: is the error larger for large values?"""
    order = np.argsort(predicted, kind="stable")
    groups = []
    for part in np.array_split(order, max(1, min(10, len(order) // 10))):
        low, middle, high = np.quantile(residual[part], [0.1, 0.5, 0.9])
        groups.append(
            {
                "from": float(predicted[part[0]]),
                "to": float(predicted[part[-1]]),
                "center": float(np.median(predicted[part])),
                "rows": len(part),
                "p10": float(low),
                "median": float(middle),
                "p90": float(high),
            }
        )
    return groups
