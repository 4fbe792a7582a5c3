"""Which configurations a run tries before adaptive search, and in what order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rayctl.automl.engine import Candidate
from rayctl.automl.model import LeaderboardRow
from rayctl.automl.search import candidate_key

__all__ = ["candidate_of", "with_recorded"]


def candidate_of(row: LeaderboardRow) -> Candidate:
    """Return the configuration that a row is of."""
    return Candidate(row.model, dict(row.params))


def with_recorded(candidates: Iterable[Candidate], recorded: Sequence[LeaderboardRow]) -> Iterator[Candidate]:
    """Yield each configuration once; those of recorded trials at their numbers, as they were before a crash.

    Args:
        candidates: What to try, in order.
        recorded: Trials of this run that have ended.
    """
    at = {row.trial: candidate_of(row) for row in recorded}
    seen = {candidate_key(candidate) for candidate in at.values()}
    fresh = _unseen(candidates, seen)
    number = 0
    while True:
        candidate = at.get(number) or next(fresh, None)
        if candidate is None:
            return
        yield candidate
        number += 1


def _unseen(candidates: Iterable[Candidate], seen: set[str]) -> Iterator[Candidate]:
    for candidate in candidates:
        key = candidate_key(candidate)
        if key not in seen:
            seen.add(key)
            yield candidate
