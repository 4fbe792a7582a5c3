"""What is tried, in which order, and what a proposal may know."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rayctl.automl.engine import Candidate
from rayctl.automl.model import LeaderboardRow, TrialState
from rayctl.automl.proposals import LAG, WAIT, Proposals
from rayctl.automl.search import candidate_key
from tests.unit.automl.simulated import numbered


def row(trial: int, candidate: Candidate | None = None) -> LeaderboardRow:
    known = candidate or Candidate("m", {"x": trial})
    return LeaderboardRow(trial=trial, model=known.model, params=known.params, state=TrialState.DONE, score=1.0)


class Search:
    """Notes what it is told; proposes the number that it gets."""

    def __init__(self) -> None:
        self.knew: list[list[int]] = []
        self.numbers: list[int] = []

    def __call__(self, rows: Sequence[LeaderboardRow], number: int) -> Candidate | None:
        self.knew.append([r.trial for r in rows])
        self.numbers.append(number)
        return Candidate("adaptive", {"x": number})


def test_the_fixed_sequence_comes_first_and_needs_no_results() -> None:
    search = Search()
    proposals = Proposals(numbered(3), search)
    assert [proposals.next({}) for _ in range(3)] == list(numbered(3))
    assert (search.knew, proposals.count, proposals.adapts) == ([], 3, False)
    assert proposals.next({}) == Candidate("adaptive", {"x": 3})
    assert (proposals.count, proposals.adapts) == (4, True)
    assert proposals.known(1) == list(numbered(3))[1]


def test_an_ordered_proposal_knows_exactly_the_trials_up_to_lag_before_it() -> None:
    search = Search()
    proposals = Proposals(numbered(10), search)
    rows = {}
    for _ in range(10):
        proposals.next(rows)
    rows = {n: row(n) for n in (0, 1, 9, 3)}
    assert proposals.next(rows) == WAIT
    rows[2] = row(2)
    assert proposals.next(rows) == Candidate("adaptive", {"x": 10})
    assert search.knew == [list(range(10 - LAG + 1))]
    assert proposals.next(rows) == Candidate("adaptive", {"x": 11})
    assert search.knew[1] == [0, 1, 2, 3]
    assert proposals.next(rows) == WAIT


def test_waiting_changes_nothing() -> None:
    search = Search()
    proposals = Proposals(numbered(9), search)
    for _ in range(9):
        proposals.next({})
    assert [proposals.next({}) for _ in range(5)] == [WAIT] * 5
    assert proposals.count == 9
    assert proposals.next({n: row(n) for n in range(9)}) == Candidate("adaptive", {"x": 9})


def test_in_time_a_proposal_knows_all_that_has_ended() -> None:
    search = Search()
    proposals = Proposals(numbered(4), search, ordered=False)
    for _ in range(4):
        proposals.next({})
    assert proposals.next({2: row(2), 0: row(0)}) == Candidate("adaptive", {"x": 4})
    assert proposals.next({2: row(2), 3: row(3), 0: row(0)}) == Candidate("adaptive", {"x": 5})
    assert search.knew == [[0, 2], [0, 2, 3]]


def test_without_a_search_the_end_of_the_sequence_is_the_end() -> None:
    proposals = Proposals(numbered(1), None)
    assert proposals.next({}) == next(numbered())
    assert [proposals.next({}), proposals.next({0: row(0)})] == [None, None]


def test_what_was_tried_is_not_proposed_again() -> None:
    """Five configurations; the search likes to repeat itself."""
    proposals = Proposals(iter([Candidate("m", {"x": 2})]), lambda rows, n: Candidate("m", {"x": n % 5}), ordered=False)
    rows: dict[int, LeaderboardRow] = {}
    found = []
    while (candidate := proposals.next(rows)) is not None:
        assert isinstance(candidate, Candidate)
        rows[len(found)] = row(len(found), candidate)
        found.append(candidate)
        assert len(found) < 10
    assert sorted(c.params["x"] for c in found) == [0, 1, 2, 3, 4]
    assert len({candidate_key(c) for c in found}) == 5
    assert proposals.next(rows) is None


def test_repeated_attempts_at_a_proposal_depend_on_its_number_only() -> None:
    def attempts() -> list[int]:
        search = Search()
        inner = lambda rows, n: Candidate("m", {"x": 0}) if search(rows, n) else None  # noqa: E731
        proposals = Proposals(iter([Candidate("m", {"x": 0})]), inner)
        assert proposals.next({}) is not None
        assert proposals.next({}) is None
        return search.numbers

    first = attempts()
    assert first == attempts()
    assert len(first) == len(set(first)) > 8


def test_a_recorded_trial_keeps_its_configuration_whatever_the_search_would_say() -> None:
    search = Search()
    proposals = Proposals(numbered(2), search)
    rows = {2: row(2, Candidate("earlier", {"y": 7}))}
    assert [proposals.next(rows) for _ in range(3)][2] == Candidate("earlier", {"y": 7})
    assert search.knew == []
    # And it is not proposed a second time.
    repeating = Proposals(
        iter(()), lambda known, n: Candidate("earlier", {"y": 7}) if n < 100 else Candidate("new", {}), ordered=False
    )
    assert repeating.next({0: row(0, Candidate("earlier", {"y": 7}))}) == Candidate("earlier", {"y": 7})
    assert repeating.next({}) == Candidate("new", {})


def test_unknown_numbers_are_an_error() -> None:
    with pytest.raises(IndexError):
        Proposals(numbered(2)).known(0)
