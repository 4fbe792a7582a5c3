"""Which trials are kept, which are given up, and in which order first folds run."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayctl.automl.actions import FoldShape, StartFold
from rayctl.automl.engine import Candidate
from rayctl.automl.leaderboard import best_row, rank
from rayctl.automl.model import LeaderboardRow, TrialState
from rayctl.automl.schedule import BREADTH
from rayctl.automl.search import candidate_key
from rayctl.automl.selection import KEEP_OF_FAMILY, KEEP_OVERALL, hopeless, worth_keeping
from rayctl.automl.strategy import KnownTrial, Strategy
from tests.unit.automl.simulated import Cluster, Fate, by_content, make, numbered

DONE = TrialState.DONE


def row(trial: int, model: str, *scores: float, state: TrialState = DONE) -> LeaderboardRow:
    mean = sum(scores) / len(scores) if state is DONE else None
    return LeaderboardRow(trial=trial, model=model, state=state, score=mean, fold_scores=list(scores))


def reference(rows: Sequence[LeaderboardRow], greater: bool) -> tuple[int, ...]:
    done = sorted(
        (r for r in rows if r.state is DONE), key=lambda r: (-(r.score or 0) if greater else r.score, r.trial)
    )
    kept = {r.trial for r in done[:KEEP_OVERALL]}
    for model in {r.model for r in done}:
        kept |= {r.trial for r in [r for r in done if r.model == model][:KEEP_OF_FAMILY]}
    return tuple(sorted(kept))


random_rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12), st.booleans()), min_size=1, max_size=70).map(
    lambda items: [
        row(n, f"m{model}", float(score), state=TrialState.FAILED if failed and score % 5 == 0 else DONE)
        for n, (model, score, failed) in enumerate(items)
    ]
)


@settings(max_examples=80, deadline=None)
@given(rows=random_rows, greater=st.booleans(), seed=st.integers(0, 1000))
def test_what_is_kept_at_the_end_was_kept_ever_since_it_ended(
    rows: list[LeaderboardRow], greater: bool, seed: int
) -> None:
    random.Random(seed).shuffle(rows)
    final = set(worth_keeping(rows, greater))
    assert worth_keeping(sorted(rows, key=lambda r: r.trial), greater) == worth_keeping(rows, greater)
    assert tuple(sorted(final)) == reference(rows, greater)
    ended: set[int] = set()
    kept: dict[int, LeaderboardRow] = {}
    for end, latest in enumerate(rows, start=1):
        ended.add(latest.trial)
        now = set(worth_keeping(rows[:end], greater))
        assert final & ended <= now
        # So it is enough to remember those, which is what a run does.
        kept[latest.trial] = latest
        assert set(worth_keeping(kept.values(), greater)) == now
        kept = {trial: kept[trial] for trial in now}


def test_the_best_two_of_a_family_are_kept_however_far_behind_they_are() -> None:
    rows = [row(n, "a", 100.0 - n) for n in range(30)] + [row(30 + n, "b", 50.0 - n) for n in range(4)]
    assert worth_keeping(rows, True) == (*range(KEEP_OVERALL), 30, 31)
    assert worth_keeping(rows, False) == (*range(18, 34),) == worth_keeping(reversed(rows), False)


@settings(max_examples=50, deadline=None)
@given(rows=random_rows, greater=st.booleans())
def test_the_best_row_is_the_first_of_the_leaderboard(rows: list[LeaderboardRow], greater: bool) -> None:
    ranked = [r for r in rank(rows, greater) if r.state is DONE]
    assert best_row(rows, greater) == (ranked[0] if ranked else None)
    assert [r.rank for r in ranked] == list(range(1, len(ranked) + 1))


def test_a_done_row_without_a_score_is_never_the_best() -> None:
    """A score that JSON cannot hold comes back as nothing."""
    rows = [LeaderboardRow(trial=0, model="m", state=DONE), row(1, "m", 5.0)]
    for greater in (True, False):
        best = best_row(rows, greater)
        assert best is not None
        assert best.trial == 1
        assert [r.trial for r in rank(rows, greater)] == [1, 0]
        assert worth_keeping(rows, greater) == (1,)


# Hopeless trials ----------------------------------------------------------------------------------------

LEADERS = [row(0, "a", 0.9, 0.8, 0.8), row(1, "a", 0.8, 0.8, 0.8), row(2, "b", 0.95, 0.9, 0.7)]


def test_a_trial_below_the_worst_fold_of_the_leader_with_two_better_ones_of_its_family_is_hopeless() -> None:
    why = hopeless("a", {0: 0.5}, LEADERS, True)
    assert why is not None
    assert "trial 0" in why or "trial 2" in why


def test_the_two_best_of_a_family_always_run_to_their_end() -> None:
    assert hopeless("b", {0: 0.01}, LEADERS, True) is None
    assert hopeless("c", {0: 0.01}, LEADERS, True) is None


def test_a_trial_above_the_worst_fold_of_the_leader_goes_on() -> None:
    """The leader is trial 2 (0.85), its worst fold 0.7; on fold 0 everybody else is better, which may be that fold."""
    assert hopeless("a", {0: 0.71}, LEADERS, True) is None
    assert hopeless("a", {0: 0.69}, LEADERS, True) is not None
    assert hopeless("a", {0: 0.95}, LEADERS, True) is None


def test_the_direction_of_the_metric_counts() -> None:
    losses = [row(r.trial, r.model, *(1 - s for s in r.fold_scores)) for r in LEADERS]
    assert hopeless("a", {0: 1 - 0.71}, losses, False) is None
    assert hopeless("a", {0: 1 - 0.69}, losses, False) is not None
    assert hopeless("a", {0: 0.01}, losses, False) is None


def test_a_dozen_better_ones_on_the_same_folds_are_enough() -> None:
    crowd = [row(n, "a" if n < 3 else f"m{n}", 0.9, 0.1, 0.9) for n in range(12)]
    assert hopeless("a", {0: 0.8}, crowd, True) is not None
    assert hopeless("a", {0: 0.8}, crowd[:11], True) is None
    assert hopeless("a", {0: 0.8, 1: 0.3}, crowd, True) is None
    assert hopeless("x", {0: 0.8}, crowd, True) is None


def test_nothing_is_said_before_a_fold_has_ended_or_a_trial_is_done() -> None:
    assert hopeless("a", {}, LEADERS, True) is None
    partial = [row(0, "a", 0.9, state=TrialState.SKIPPED), row(1, "a", 0.9, state=TrialState.FAILED)]
    assert hopeless("a", {0: 0.1}, partial, True) is None


# Racing in the schedule ---------------------------------------------------------------------------------

RACE = Strategy(ensemble=False, race=True)


@pytest.mark.parametrize("slots", [1, 2])
def test_after_the_first_trial_four_get_their_first_fold_before_any_gets_its_second(slots: int) -> None:
    cluster = make(slots=slots, count=10, deadline_at=500.0, strategy=RACE).run()
    assert cluster.starts()[: 3 + BREADTH] == [(0, 0), (0, 1), (0, 2), *((n, 0) for n in range(1, 1 + BREADTH))]
    plain = make(slots=slots, count=10, strategy=Strategy(ensemble=False)).run()
    assert plain.starts()[:6] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize("greater", [True, False])
def test_of_the_trials_begun_in_breadth_the_one_with_the_best_first_fold_is_completed_first(greater: bool) -> None:
    firsts = [3.0, 5.0, 9.0, 1.0, 4.0]
    cluster = make(
        slots=1, count=5, deadline_at=500.0, strategy=RACE, greater=greater, score=lambda t, f, c: firsts[t]
    ).run()
    order = sorted(range(1, 5), key=lambda t: -firsts[t] if greater else firsts[t])
    assert [r.trial for r in cluster.recorded] == [0, *order]


def race_of(scores: list[list[float]], models: str, *, greater: bool = True, **options: object) -> Cluster:
    """Trials in one worker, trial n with these scores per fold, models named by letters."""
    return make(
        slots=1,
        scored=len(scores[0]),
        fixed=[Candidate(model, {"x": n}) for n, model in enumerate(models)],
        deadline_at=5000.0,
        strategy=RACE,
        score=lambda t, f, c: scores[t][f] if greater else -scores[t][f],
        greater=greater,
        **options,  # type: ignore[arg-type]
    ).run()


@pytest.mark.parametrize("greater", [True, False])
def test_hopeless_trials_are_given_up_after_their_first_fold(greater: bool) -> None:
    scores = [[0.9, 0.9, 0.6], *([s] * 3 for s in (0.75, 0.7, 0.72, 0.71, 0.1, 0.1, 0.1, 0.05))]
    cluster = race_of(scores, "aaaaaabbb", greater=greater)
    rows = cluster.schedule.rows
    abandoned = {r.trial: r for r in rows if r.error and r.error["code"] == "abandoned"}
    # Trials 6 and 7 are as bad as trial 5, but the first two of their family.
    assert sorted(abandoned) == [5, 8]
    assert cluster.starts(5) == [(5, 0)]
    assert (abandoned[5].state, abandoned[5].score) == (TrialState.SKIPPED, None)
    assert [abs(s) for s in abandoned[5].fold_scores] == [0.1]
    assert "Given up" in (abandoned[5].error or {})["message"]
    assert {r.state for r in rows if r.trial not in abandoned} == {DONE}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), slots=st.integers(1, 6), greater=st.booleans())
def test_the_leader_and_the_best_of_every_family_are_never_given_up(seed: int, slots: int, greater: bool) -> None:
    """As they would have been had every trial been run to its end, if folds are equally hard."""

    def level(candidate: Candidate) -> float:
        return by_content(0, 0, Candidate(candidate.model, {**candidate.params, "seed": seed}))

    candidates = [Candidate(f"m{n % 4}", {"x": n}) for n in range(40)]
    fate = lambda a: Fate(seconds=0.1 + random.Random(f"{seed}/{a.trial}/{a.fold}").random())  # noqa: E731
    limits = {"fixed": candidates, "slots": slots, "deadline_at": 9000.0, "greater": greater, "strategy": RACE}
    cluster = make(fate, score=lambda t, f, c: level(c), **limits).run()  # type: ignore[arg-type]
    states = {r.trial: r.state for r in cluster.schedule.rows}
    sign = -1 if greater else 1
    for family in range(4):
        own = sorted(range(family, 40, 4), key=lambda n: sign * level(candidates[n]))
        assert [states[n] for n in own[:KEEP_OF_FAMILY]] == [DONE] * KEEP_OF_FAMILY
    best = min(range(40), key=lambda n: sign * level(candidates[n]))
    assert cluster.delivered == {best: 1.0}
    assert TrialState.SKIPPED in states.values()
    assert {r.error["code"] for r in cluster.schedule.rows if r.error} == {"abandoned"}


def test_without_a_race_nothing_is_given_up() -> None:
    scores = [0.9, 0.8, 0.7, 0.01, 0.01]
    cluster = make(
        fixed=[Candidate("a", {"x": n}) for n in range(5)], max_trials=5, score=lambda t, f, c: scores[t]
    ).run()
    assert {r.state for r in cluster.schedule.rows} == {DONE}


def test_the_running_folds_of_a_trial_that_is_given_up_are_stopped() -> None:
    scores = [0.9, 0.8, 0.85, 0.7, 0.75, 0.72, 0.71, 0.01]

    def fate(action: StartFold) -> Fate:
        return Fate(seconds=1.0 if action.trial < 7 or action.fold == 0 else 30.0)

    cluster = make(
        fate,
        fixed=[Candidate("a", {"x": n}) for n in range(8)],
        slots=3,
        deadline_at=500.0,
        strategy=RACE,
        score=lambda t, f, c: scores[t] - (0.3 if f == 2 else 0.0),
    ).run()
    assert {(stop.trial, stop.fold) for _, stop in cluster.stops} == {(7, 1), (7, 2)}
    assert cluster.now < 30.0


GROUPS = [FoldShape(3, 3.0), FoldShape(3, 1.0), FoldShape(5, 1.0), FoldShape(5, 1.0)]
"""Two windows in two chunks each; the numbers of groups need not begin at 0."""


def test_a_trial_is_judged_by_whole_groups_of_folds_only() -> None:
    """A chunk of easy or hard series says nothing against the mean over all series."""
    good = [1.0, 0.2, 0.9, 0.9]
    chunk_is_hard = [0.1, 4.0, 0.9, 0.9]  # its first chunk alone would be far below the leader's worst window
    hopeless_window = [0.1, 0.1, 0.9, 0.9]
    scores = [good, [s - 0.01 for s in good], [s - 0.02 for s in good], [s - 0.03 for s in good]]
    scores += [chunk_is_hard, hopeless_window]
    cluster = race_of(scores, "aaaaaa", folds=GROUPS)
    rows = cluster.schedule.rows
    assert rows[4].state is DONE
    assert rows[4].fold_scores == [pytest.approx(1.075), pytest.approx(0.9)]
    assert rows[5].error is not None
    assert rows[5].error["code"] == "abandoned"
    assert cluster.starts(5) == [(5, 0), (5, 1)]


def test_known_trials_that_were_given_up_are_only_taken_over_by_a_race() -> None:
    candidate = next(numbered())
    skipped = LeaderboardRow(
        trial=9, model=candidate.model, params=candidate.params, state=TrialState.SKIPPED, error={"code": "abandoned"}
    )
    known = {candidate_key(candidate): KnownTrial({}, skipped)}
    raced = make(count=1, known=known, deadline_at=100.0, strategy=RACE).run()
    assert (raced.schedule.rows[0].reused, raced.starts()) == (True, [])
    plain = make(count=1, known=known, max_trials=1).run()
    assert (plain.schedule.rows[0].reused, plain.schedule.rows[0].state) == (False, DONE)
