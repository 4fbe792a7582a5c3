"""Ordering of trials: pure functions on leaderboard rows.

Done trials come best first (ties: the earlier trial), then failed ones, then skipped ones, each by number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any

from rayctl.automl.actions import FoldResult, FoldShape
from rayctl.automl.engine import Candidate
from rayctl.automl.model import LeaderboardRow, TrialState

__all__ = ["best_row", "rank", "to_csv", "trial_row", "with_weights"]

_GROUP = {TrialState.DONE: 0, TrialState.FAILED: 1, TrialState.SKIPPED: 2}


def rank(rows: Iterable[LeaderboardRow], greater_is_better: bool) -> list[LeaderboardRow]:
    """Return the rows in leaderboard order, done trials numbered from 1."""
    sign = -1.0 if greater_is_better else 1.0

    def order(row: LeaderboardRow) -> tuple[int, float, int]:
        scored = row.state is TrialState.DONE and row.score is not None
        return (_GROUP[row.state], sign * (row.score or 0.0) if scored else float("inf"), row.trial)

    ordered = sorted(rows, key=order)
    return [
        row.model_copy(update={"rank": place if row.state is TrialState.DONE else None})
        for place, row in enumerate(ordered, start=1)
    ]


def best_row(rows: Iterable[LeaderboardRow], greater_is_better: bool) -> LeaderboardRow | None:
    """Return the best done trial (ties: the earlier one), or None if no trial is done."""
    best: tuple[float, int, LeaderboardRow] | None = None
    for row in rows:
        if row.state is TrialState.DONE and row.score is not None:
            loss = -row.score if greater_is_better else row.score
            if best is None or (loss, row.trial) < best[:2]:
                best = (loss, row.trial, row)
    return None if best is None else best[2].model_copy(update={"rank": 1})


def trial_row(
    trial: int,
    candidate: Candidate,
    state: TrialState,
    results: Mapping[int, FoldResult],
    shapes: Sequence[FoldShape],
    error: Mapping[str, Any] | None = None,
) -> LeaderboardRow:
    """Return the row of a trial that has ended.

    Scores of one group of folds are averaged by their weights, and the groups evenly.

    Args:
        trial: Its number.
        candidate: Its configuration.
        state: How it ended; only done trials have a score.
        results: Fold → result, of the scored folds that have ended.
        shapes: All folds.
        error: Why it failed or was skipped.
    """
    groups: dict[int, list[tuple[float, float]]] = {}
    for fold in sorted(results):
        score = results[fold].score
        if score is not None:
            groups.setdefault(shapes[fold].group, []).append((shapes[fold].weight, score))
    scores = [sum(w * s for w, s in parts) / sum(w for w, _ in parts) for _, parts in sorted(groups.items())]
    measured = [results[fold] for fold in sorted(results)]
    done = state is TrialState.DONE and bool(scores)
    return LeaderboardRow(
        trial=trial,
        model=candidate.model,
        params=candidate.params,
        state=state,
        score=fmean(scores) if done else None,
        std=pstdev(scores) if done else None,
        fold_scores=scores,
        fit_s=round(fmean(result.fit_s for result in measured), 6) if measured else None,
        predict_s=round(fmean(result.predict_s for result in measured), 6) if measured else None,
        size_bytes=sum(result.size_bytes for result in measured) if measured else None,
        stopped_at={fold: at for fold in sorted(results) if (at := results[fold].stopped_at) is not None},
        error=dict(error) if error else None,
    )


def with_weights(rows: Iterable[LeaderboardRow], weights: Mapping[int, float]) -> list[LeaderboardRow]:
    """Return the rows with each trial's share in the delivered model."""
    return [row.model_copy(update={"weight": round(weights.get(row.trial, 0.0), 6)}) for row in rows]


def to_csv(rows: Sequence[LeaderboardRow]) -> str:
    """Return the leaderboard as CSV text with one line per trial."""
    import csv
    import io
    import json

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    numbers = ("score", "std", "fit_s", "predict_s", "size_bytes", "weight")
    writer.writerow(["rank", "trial", "model", "state", *numbers, "fold_scores", "params", "error"])
    for row in rows:
        error = f"{row.error.get('code')}: {row.error.get('message')}" if row.error else ""
        params = json.dumps(row.params, sort_keys=True, default=str)
        cells = [row.rank, row.trial, row.model, row.state.value, *(getattr(row, name) for name in numbers)]
        folds = " ".join(f"{score:.6g}" for score in row.fold_scores)
        writer.writerow(["" if cell is None else cell for cell in cells] + [folds, params, error])
    return out.getvalue()
