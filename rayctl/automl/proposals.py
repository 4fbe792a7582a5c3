"""What a run tries, trial by trial: a fixed sequence first, then adaptive search. Pure.

The trials of a run that is bounded by their number alone must not depend on which ended first. So a proposal
by adaptive search then knows exactly the trials up to `LAG` before it, and waits until these have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal

from rayctl.automl.engine import Candidate
from rayctl.automl.model import LeaderboardRow
from rayctl.automl.search import candidate_key

__all__ = ["LAG", "WAIT", "Proposals"]

LAG = 8
"""Proposal n may know the trials up to n - LAG, so that many trials can be under way while it is made."""
WAIT: Final = "wait"
_ATTEMPTS = 16

Proposer = Callable[[Sequence[LeaderboardRow], int], Candidate | None]
"""(rows that may be known, a number that decides the random choice) → a configuration, or None."""


class Proposals:
    """The candidates of one run, by trial number.

    Args:
        fixed: Tried first, in this order; may be endless.
        adaptive: What to try after that, None: nothing.
        ordered: The sequence must not depend on the order in which trials end.
    """

    def __init__(self, fixed: Iterator[Candidate], adaptive: Proposer | None = None, *, ordered: bool = True) -> None:
        self._fixed = fixed
        self._adaptive = adaptive
        self._ordered = ordered
        self._found: list[Candidate] = []
        self._keys: set[str] = set()
        self._fixed_is_over = False
        self._over = False

    @property
    def count(self) -> int:
        """So many candidates were proposed until now."""
        return len(self._found)

    @property
    def adapts(self) -> bool:
        """Whether the fixed sequence is over."""
        return self._fixed_is_over

    def known(self, number: int) -> Candidate:
        """Return the candidate of a trial that was proposed before."""
        return self._found[number]

    def next(self, rows: Mapping[int, LeaderboardRow]) -> Candidate | Literal["wait"] | None:
        """Return the next trial's candidate, None if there is none, or `WAIT` until more trials have ended.

        ``rows``: the ended trials, by number. A trial that has ended before it is proposed (in the life of an earlier
        trainer) keeps the configuration of its row.
        """
        if self._over:
            return None
        candidate = self._from_fixed()
        if candidate is None:
            number = len(self._found)
            row = rows.get(number)
            if row is not None:
                candidate = Candidate(row.model, dict(row.params))
            else:
                found = self._from_search(rows, number)
                if found == WAIT:
                    return WAIT
                candidate = found
        if candidate is None:
            self._over = True
            return None
        self._found.append(candidate)
        self._keys.add(candidate_key(candidate))
        return candidate

    def _from_fixed(self) -> Candidate | None:
        if self._fixed_is_over:
            return None
        candidate = next(self._fixed, None)
        self._fixed_is_over = candidate is None
        return candidate

    def _from_search(self, rows: Mapping[int, LeaderboardRow], number: int) -> Candidate | Literal["wait"] | None:
        if self._adaptive is None:
            return None
        last = number - LAG + 1 if self._ordered else number
        if self._ordered and any(earlier not in rows for earlier in range(last)):
            return WAIT
        known = [rows[earlier] for earlier in sorted(rows) if earlier < last]
        for attempt in range(_ATTEMPTS):
            candidate = self._adaptive(known, number + attempt * 1_000_003)
            if candidate is None or candidate_key(candidate) not in self._keys:
                return candidate
        return None  # the space is small and everything in it was tried
