"""Which trials matter: those that an ensemble may use, and those that need not be run to the end. Pure.

Both rules look at a trial's standing among all ended ones and within its own model family, because an
ensemble gains more from a different model than from a slightly better copy of its leader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rayctl.automl.leaderboard import best_row
from rayctl.automl.model import LeaderboardRow, TrialState

__all__ = ["KEEP_OF_FAMILY", "KEEP_OVERALL", "hopeless", "worth_keeping"]

KEEP_OVERALL = 16
KEEP_OF_FAMILY = 2
"""Fitted models are kept of so many leading trials, over all and per model family."""
_CROWD = 12


def worth_keeping(rows: Iterable[LeaderboardRow], greater_is_better: bool) -> tuple[int, ...]:
    """Return the trials that an ensemble may use, in the order of their numbers.

    A trial that is among them when the run ends was among them ever since it ended, whatever ended in between: others
    only push trials out. So models can be dropped on the way, and the result does not depend on the order of ends.
    """
    sign = -1.0 if greater_is_better else 1.0
    done = sorted(
        (sign * row.score, row.trial, row.model)
        for row in rows
        if row.state is TrialState.DONE and row.score is not None
    )
    of_family: dict[str, int] = {}
    kept = []
    for place, (_, trial, model) in enumerate(done):
        of_family[model] = of_family.get(model, 0) + 1
        if place < KEEP_OVERALL or of_family[model] <= KEEP_OF_FAMILY:
            kept.append(trial)
    return tuple(sorted(kept))


def hopeless(
    model: str, scores: Mapping[int, float], rows: Iterable[LeaderboardRow], greater_is_better: bool
) -> str | None:
    """Say why a trial need not be run to its end, judging by its first folds; None: go on.

    Forgiving on purpose (Bergman, Purucker and Hutter, "Don't waste your time: early stopping cross-validation",
    AutoML 2024): its mean must be worse than the *worst* fold of the leader, or a dozen trials must be better on
    these very folds; and two better ones of its own family must exist.

    Args:
        model: The trial's model family.
        scores: Position in the rows' ``fold_scores`` → score, of the folds (or windows) that have ended.
        rows: The leaderboard so far.
        greater_is_better: Direction of the scores.
    """
    if not scores:
        return None
    sign = 1.0 if greater_is_better else -1.0
    own = sum(scores.values()) / len(scores)
    done = [row for row in rows if row.state is TrialState.DONE and row.fold_scores]
    same = [(row, _mean(row, scores)) for row in done]
    ahead = [row for row, mean in same if mean is not None and sign * (mean - own) > 0]
    if sum(row.model == model for row in ahead) < KEEP_OF_FAMILY:
        return None
    leader = best_row(done, greater_is_better)
    assert leader is not None
    worst = min(sign * value for value in leader.fold_scores)
    if sign * own < worst:
        return f"{own:.6g} on {_folds(scores)} is worse than the worst fold of the leader, trial {leader.trial}"
    if len(ahead) >= _CROWD:
        return f"{len(ahead)} trials are better on {_folds(scores)} (it has {own:.6g})"
    return None


def _mean(row: LeaderboardRow, scores: Mapping[int, float]) -> float | None:
    if max(scores) >= len(row.fold_scores):
        return None
    return sum(row.fold_scores[fold] for fold in scores) / len(scores)


def _folds(scores: Mapping[int, float]) -> str:
    return "the first fold" if len(scores) == 1 else f"{len(scores)} folds"
