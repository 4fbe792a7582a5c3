"""Ordering of trials: pure functions on leaderboard rows.

Done trials come best first (ties: the earlier trial), then failed ones, then skipped ones, each by number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rayctl.automl.model import LeaderboardRow, TrialState

__all__ = ["best_row", "rank", "to_csv"]

_GROUP = {TrialState.DONE: 0, TrialState.FAILED: 1, TrialState.SKIPPED: 2}


def rank(rows: Iterable[LeaderboardRow], greater_is_better: bool) -> list[LeaderboardRow]:
    """Return the rows in leaderboard order, done trials numbered from 1."""
    sign = -1.0 if greater_is_better else 1.0

    def order(row: LeaderboardRow) -> tuple[int, float, int]:
        score = row.score if row.state is TrialState.DONE and row.score is not None else 0.0
        return (_GROUP[row.state], sign * score, row.trial)

    ordered = sorted(rows, key=order)
    return [
        row.model_copy(update={"rank": place if row.state is TrialState.DONE else None})
        for place, row in enumerate(ordered, start=1)
    ]


def best_row(rows: Iterable[LeaderboardRow], greater_is_better: bool) -> LeaderboardRow | None:
    """Return the best done trial, or None if no trial is done."""
    done = [row for row in rows if row.state is TrialState.DONE]
    return rank(done, greater_is_better)[0] if done else None


def to_csv(rows: Sequence[LeaderboardRow]) -> str:
    """Return the leaderboard as CSV text with one line per trial."""
    import csv
    import io
    import json

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["rank", "trial", "model", "state", "score", "std", "fit_s", "predict_s", "params", "error"])
    for row in rows:
        error = f"{row.error.get('code')}: {row.error.get('message')}" if row.error else ""
        params = json.dumps(row.params, sort_keys=True, default=str)
        cells = [row.rank, row.trial, row.model, row.state.value, row.score, row.std, row.fit_s, row.predict_s]
        writer.writerow(["" if cell is None else cell for cell in cells] + [params, error])
    return out.getvalue()
