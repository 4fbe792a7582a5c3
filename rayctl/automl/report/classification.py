"""What the validation predictions of a classifier say: confusion, curves, calibration, thresholds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rayctl.automl.report.scores import average_precision, confusion, pr_points, roc_points
from rayctl.automl.tabular.mixing import labels_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Labelled", "classification_data", "read_labelled"]

CURVE_POINTS = 200
CURVE_CLASSES = 8
BINS = 10
_PREFIX = "proba_"


@dataclass(frozen=True)
class Labelled:
    """Validation rows of a classifier, those without a truth or a prediction left out (``dropped`` of them).

    ``truth`` and ``decided`` are class codes (n,), ``proba`` is float64 (n, classes) or None, ``fold`` (n,).
    """

    classes: list[str]
    truth: np.ndarray
    decided: np.ndarray
    proba: np.ndarray | None
    fold: np.ndarray
    dropped: int
    threshold: float | None


def read_labelled(table: pa.Table, settings: Mapping[str, Any]) -> Labelled | None:
    """Read validation predictions; None if no row is usable.

    The decision is the delivered model's: the column ``prediction`` if there is one, else what ``settings`` (those of
    the combination: threshold, multipliers) make of the probabilities.
    """
    names = [name for name in table.column_names if name.startswith(_PREFIX)]
    classes = [name[len(_PREFIX) :] for name in names]
    given = _labels(table.column("prediction")) if "prediction" in table.column_names else None
    true = _labels(table.column("truth"))
    if not classes:
        if given is None:
            return None
        classes = sorted({*true[0], *given[0]})
    truth = _codes(*true, classes)
    proba = np.column_stack([_numbers(table.column(name)) for name in names]) if names else None
    threshold = settings.get("threshold") if len(classes) == 2 else None
    if given is not None:
        decided = _codes(*given, classes)
    else:
        assert proba is not None
        decided = labels_of(np.nan_to_num(proba, nan=-np.inf), settings)
    usable = (truth >= 0) & (decided >= 0)
    if proba is not None:
        usable &= np.isfinite(proba).all(axis=1)
    if not usable.any():
        return None
    fold = _numbers(table.column("fold")).astype(np.int64)
    return Labelled(
        classes,
        truth[usable],
        decided[usable],
        None if proba is None else proba[usable],
        fold[usable],
        int((~usable).sum()),
        None if threshold is None else float(threshold),
    )


def _labels(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """Return the distinct values as text and, per row, the place of its value (-1: none)."""
    import pyarrow as pa

    encoded = pa.concat_arrays(column.unify_dictionaries().chunks) if pa.types.is_dictionary(column.type) else None
    if encoded is None:
        encoded = (
            pa.concat_arrays(column.chunks).dictionary_encode()
            if column.num_chunks
            else pa.array([]).dictionary_encode()
        )
    places = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return [str(value) for value in encoded.dictionary.to_pylist()], places


def _codes(labels: list[str], places: np.ndarray, classes: list[str]) -> np.ndarray:
    """Return class codes, -1 where there is none. Labels may be written differently (``True`` and ``true``, ``1.0``
    and ``1``), or be the codes themselves."""

    def loose(text: str) -> str:
        return text.casefold().removesuffix(".0")

    exact = {label: code for code, label in enumerate(classes)}
    alike = {loose(label): code for code, label in enumerate(classes)}
    known = [exact.get(label, alike.get(loose(label), -1)) for label in labels]
    if all(code < 0 for code in known):
        known = [int(label) if label.isdecimal() and int(label) < len(classes) else -1 for label in labels]
    return np.array([*known, -1], np.int64)[places]


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.to_numpy(), dtype=np.float64)


def classification_data(rows: Labelled) -> dict[str, Any]:
    """Return everything that is shown about a classifier, as JSON."""
    n_classes = len(rows.classes)
    matrix = confusion(rows.truth, rows.decided, n_classes)
    counts = matrix.sum(axis=1)
    found: dict[str, Any] = {
        "classes": rows.classes,
        "class_counts": counts.tolist(),
        "rows": len(rows.truth),
        "confusion": matrix.tolist(),
        "per_class": _per_class(matrix, rows.classes),
        "confused": _confused(matrix, rows.classes),
        "threshold": rows.threshold,
        "positive": rows.classes[1] if n_classes == 2 else None,
        "curves": None,
        "calibration": None,
        "thresholds": None,
        "lift": None,
    }
    if rows.proba is None:
        return found
    found["curves"] = _curves(rows.truth, rows.proba, rows.classes, counts)
    if n_classes == 2:
        positive, scores = rows.truth == 1, rows.proba[:, 1]
        found["calibration"] = _calibration(positive, scores)
        found["thresholds"] = _thresholds(positive, scores, 0.5 if rows.threshold is None else rows.threshold)
        found["lift"] = _lift(positive, scores)
    else:
        top = rows.proba.argmax(axis=1)
        found["calibration"] = _calibration(rows.truth == top, rows.proba.max(axis=1))
    return found


def _per_class(matrix: np.ndarray, classes: list[str]) -> list[dict[str, Any]]:
    true, predicted, hit = matrix.sum(axis=1), matrix.sum(axis=0), np.diag(matrix)
    return [
        {
            "class": name,
            "rows": int(true[k]),
            "predicted": int(predicted[k]),
            "precision": float(hit[k] / predicted[k]) if predicted[k] else None,
            "recall": float(hit[k] / true[k]) if true[k] else None,
            "f1": float(2 * hit[k] / (true[k] + predicted[k])) if true[k] + predicted[k] else None,
        }
        for k, name in enumerate(classes)
    ]


def _confused(matrix: np.ndarray, classes: list[str], limit: int = 8) -> list[dict[str, Any]]:
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    places = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [(int(place) // len(classes), int(place) % len(classes)) for place in places]
    return [
        {
            "truth": classes[a],
            "predicted": classes[b],
            "rows": int(wrong[a, b]),
            "share": float(wrong[a, b] / matrix[a].sum()),
        }
        for a, b in pairs
        if wrong[a, b]
    ]


def _thin(x: np.ndarray, y: np.ndarray, limit: int = CURVE_POINTS) -> np.ndarray:
    """Return at most ``limit`` positions of a curve, evenly spaced along its length, with both ends."""
    if len(x) <= limit:
        return np.arange(len(x))
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.searchsorted(length, np.linspace(0.0, length[-1], limit)[1:-1])
    return np.unique(np.concatenate([[0], kept, [len(x) - 1]]))


def _curves(truth: np.ndarray, proba: np.ndarray, classes: list[str], counts: np.ndarray) -> list[dict[str, Any]]:
    """One class against the rest: the second of two classes, else the largest classes, in class order."""
    asked = [1] if len(classes) == 2 else sorted(np.argsort(-counts, kind="stable")[:CURVE_CLASSES].tolist())
    curves = []
    for code in asked:
        positive = truth == code
        if not positive.any() or positive.all():
            continue
        fpr, tpr, _ = roc_points(positive, proba[:, code])
        recall, precision, thresholds = pr_points(positive, proba[:, code])
        roc, pr = _thin(fpr, tpr), _thin(recall, precision)
        curves.append(
            {
                "class": classes[code],
                "share": float(positive.mean()),
                "auc": float(((tpr[1:] + tpr[:-1]) / 2 * np.diff(fpr)).sum()),
                "average_precision": average_precision(recall, precision),
                "roc": {"fpr": fpr[roc].tolist(), "tpr": tpr[roc].tolist()},
                "pr": {
                    "recall": recall[pr].tolist(),
                    "precision": precision[pr].tolist(),
                    "threshold": thresholds[pr].tolist(),
                },
            }
        )
    return curves


def _calibration(happened: np.ndarray, claimed: np.ndarray) -> dict[str, Any]:
    """Reliability in bins of equal numbers of rows, with Wilson's 95 % interval of the observed share.

    ``ece``: mean distance between claimed and observed, weighted by rows (expected calibration error).
    """
    order = np.argsort(claimed, kind="stable")
    bins = []
    for part in np.array_split(order, min(BINS, len(order))):
        share, n, z = float(happened[part].mean()), len(part), 1.96
        center = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        bins.append(
            {
                "claimed": float(claimed[part].mean()),
                "observed": share,
                "low": max(0.0, float(center - half)),
                "high": min(1.0, float(center + half)),
                "rows": n,
            }
        )
    ece = sum(abs(b["claimed"] - b["observed"]) * b["rows"] for b in bins) / len(order)
    return {"bins": bins, "ece": float(ece)}


def _thresholds(positive: np.ndarray, scores: np.ndarray, delivered: float) -> list[dict[str, Any]]:
    """Precision, recall and F1 at 1 %, 2 % … 99 % and at the delivered threshold."""
    levels = np.unique(np.round(np.append(np.arange(1, 100) / 100, delivered), 6))
    order = np.argsort(scores, kind="stable")
    ranked, below = scores[order], np.concatenate([[0], np.cumsum(positive[order])])
    starts = np.searchsorted(ranked, levels, side="right")  # above the threshold, as the model decides
    total, n = int(positive.sum()), len(scores)
    found = []
    for level, start in zip(levels.tolist(), starts.tolist(), strict=True):
        called = n - start
        hits = total - int(below[start])
        found.append(
            {
                "threshold": level,
                "delivered": bool(abs(level - delivered) < 1e-6),
                "called": called,
                "hits": hits,
                "false_alarms": called - hits,
                "missed": total - hits,
                "precision": hits / called if called else None,
                "recall": hits / total if total else None,
                "f1": 2 * hits / (called + total) if called + total else None,
            }
        )
    return found


def _lift(positive: np.ndarray, scores: np.ndarray) -> list[dict[str, Any]]:
    """Tenths of the rows from the highest score down: how many of all positives they hold."""
    order = np.argsort(-scores, kind="stable")
    captured, total = np.cumsum(positive[order]), max(int(positive.sum()), 1)
    found = []
    for tenth in range(1, 11):
        end = max(1, round(len(order) * tenth / 10))
        gain = float(captured[end - 1] / total)
        found.append(
            {
                "share": end / len(order),
                "rows": end,
                "captured": gain,
                "lift": gain / (end / len(order)),
                "score_from": float(scores[order[end - 1]]),
            }
        )
    return found
