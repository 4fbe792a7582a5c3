"""Trials that an earlier run had ended: taken over, completed or repeated."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayctl.automl.actions import FoldResult, StartFold
from rayctl.automl.engine import Candidate
from rayctl.automl.model import LeaderboardRow, TrialState
from rayctl.automl.replay import STOPPED, Delivered, Replay
from rayctl.automl.search import candidate_key
from rayctl.automl.strategy import KnownTrial, Strategy
from tests.unit.automl.simulated import ERROR, Cluster, Fate, by_content, make, numbered
from tests.unit.automl.test_schedule import CALM, bounded, content

DONE, FAILED, SKIPPED = TrialState.DONE, TrialState.FAILED, TrialState.SKIPPED


# Known trials -------------------------------------------------------------------------------------------


def known_of(cluster: Cluster, *trials: int, whole: bool = True) -> dict[str, KnownTrial]:
    """What the files of an ended run say about its trials; ``whole`` False: only their first folds."""
    found = {}
    for record in cluster.records:
        if record.row.trial in trials:
            results = {fold: r for fold, r in record.results.items() if whole or fold == 0}
            row = record.row if whole and record.row.state is DONE else None
            found[candidate_key(record.candidate)] = KnownTrial(results, row)
    return found


def test_done_trials_are_taken_over_and_of_others_only_the_missing_folds_run() -> None:
    first = make(max_trials=4).run()
    known = known_of(first, 0, 2) | known_of(first, 1, whole=False)
    again = make(max_trials=4, known=known).run()
    assert content(again.schedule.rows) == content(first.schedule.rows)
    assert [row.reused for row in again.schedule.rows] == [True, False, True, False]
    assert sorted(again.starts()) == [(1, 1), (1, 2), (3, 0), (3, 1), (3, 2)]
    assert again.delivered == first.delivered


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    slots=st.integers(1, 16),
    whole=st.sets(st.integers(0, 21)),
    partly=st.sets(st.integers(0, 21)),
    finals=st.booleans(),
)
def test_known_trials_do_not_change_the_leaderboard_of_max_trials(
    seed: int, slots: int, whole: set[int], partly: set[int], finals: bool
) -> None:
    known = known_of(CALM, *partly, whole=False) | known_of(CALM, *whole)
    cluster = bounded(seed, slots, known=known, finals=2 * finals).run()
    assert content(cluster.schedule.rows) == content(CALM.schedule.rows)
    reused = {row.trial for row in cluster.schedule.rows if row.reused}
    assert reused == {trial for trial in whole if CALM.rows[trial].state is DONE}
    assert not any(a.trial in reused and a.fold < 3 for a in cluster.started)


def known_chain(count: int) -> dict[str, KnownTrial]:
    found = {}
    for number, candidate in enumerate(numbered(count)):
        row = LeaderboardRow(
            trial=number + 5, model=candidate.model, params=candidate.params, state=DONE, score=float(number)
        )
        found[candidate_key(candidate)] = KnownTrial({0: FoldResult(float(number), 0.1, 0.0)}, row)
    return found


@pytest.mark.parametrize("limits", [{"max_trials": 700}, {"deadline_at": 100.0}, {}])
@pytest.mark.parametrize("finals", [0, 1])
def test_a_run_of_which_everything_is_known_ends_and_delivers(limits: dict[str, float], finals: int) -> None:
    cluster = make(count=700, scored=1, finals=finals, known=known_chain(700), **limits).run()
    assert [row.reused for row in cluster.schedule.rows] == [True] * 700
    assert {a.fold for a in cluster.started} == ({1} if finals else set())
    assert 699 in cluster.delivered
    assert cluster.finish is not None
    assert cluster.finish.reason == "completed"


def test_a_known_trial_whose_folds_are_all_there_but_that_had_not_ended_is_done_at_once() -> None:
    first = make(max_trials=2).run()
    known = {key: KnownTrial(trial.results) for key, trial in known_of(first, 0, 1).items()}
    again = make(max_trials=2, known=known).run()
    assert again.started == []
    assert content(again.schedule.rows) == content(first.schedule.rows)


def cut_short(took_s: float) -> dict[str, KnownTrial]:
    """A trial of three folds, the second of which time had ended after ``took_s`` seconds."""
    candidate = next(numbered())
    results = {fold: FoldResult(1.0, took_s, 0.0, 10, 7 if fold == 1 else None) for fold in range(3)}
    row = LeaderboardRow(trial=0, model=candidate.model, params=candidate.params, state=DONE, score=1.0)
    return {candidate_key(candidate): KnownTrial(results, row.model_copy(update={"stopped_at": {1: 7}}))}


def test_fits_that_an_earlier_run_cut_short_do_not_get_into_a_run_that_gives_them_more_time() -> None:
    unbounded = make(max_trials=1, known=cut_short(1.0)).run()
    assert unbounded.starts() == [(0, 1)]
    assert unbounded.recorded[0].stopped_at == {}
    longer = make(count=1, known=cut_short(1.0), deadline_at=1000.0).run()
    assert longer.starts() == [(0, 1)]
    same = make(count=1, known=cut_short(1.0), deadline_at=9.0).run()
    assert same.starts() == []
    assert (same.recorded[0].reused, same.recorded[0].stopped_at) == (True, {1: 7})


def test_results_of_another_split_of_the_data_are_not_taken_for_a_whole_trial() -> None:
    first = make(max_trials=2, scored=2).run()
    again = make(max_trials=2, scored=3, known=known_of(first, 0, 1)).run()
    assert [len(row.fold_scores) for row in again.schedule.rows] == [3, 3]
    fewer = make(max_trials=2, scored=1, known=known_of(first, 0, 1)).run()
    assert [len(row.fold_scores) for row in fewer.schedule.rows] == [1, 1]


# Repetition ---------------------------------------------------------------------------------------------


def test_a_replay_repeats_what_ended_and_stops_fits_where_time_had_stopped_them() -> None:
    rows = [
        LeaderboardRow(trial=0, model="model-0", params={"x": 0}, state=DONE, stopped_at={0: 12, 2: 15}),
        LeaderboardRow(trial=1, model="model-1", params={"x": 1}, state=SKIPPED, error={"code": "deadline"}),
        LeaderboardRow(trial=2, model="model-2", params={"x": 2}, state=FAILED, error=ERROR),
        LeaderboardRow(trial=3, model="model-3", params={"x": 3}, state=SKIPPED, error={"code": "abandoned"}),
        LeaderboardRow(trial=4, model="model-4", params={"x": 4}, state=DONE, stopped_at={1: 3}),
    ]
    cluster = make(
        fixed=[Candidate(row.model, row.params) for row in rows],
        max_trials=5,
        finals=1,
        strategy=Strategy(replay=Replay.of(rows, None)),
    ).run()
    again = cluster.schedule.rows
    assert [(row.trial, row.model) for row in again] == [(row.trial, row.model) for row in rows]
    assert [row.state for row in again] == [DONE, SKIPPED, SKIPPED, SKIPPED, DONE]
    assert [row.error["code"] for row in again if row.state is SKIPPED and row.error] == ["not-replayed"] * 3
    scored = {(a.trial, a.fold): a.stop_at for a in cluster.started if a.fold < 3}
    expected = {(0, 0): 12, (0, 1): None, (0, 2): 15, (4, 0): None, (4, 1): 3, (4, 2): None}
    assert scored == expected


def test_a_trial_that_the_repeated_run_had_not_begun_is_not_run() -> None:
    row = LeaderboardRow(trial=0, model="model-0", params={"x": 0}, state=DONE)
    cluster = make(count=3, max_trials=3, strategy=Strategy(replay=Replay.of([row], None))).run()
    assert [r.error["code"] if r.error else None for r in cluster.schedule.rows] == [
        None,
        "not-replayed",
        "not-replayed",
    ]


def repeat(first: Cluster, delivered: Delivered | None, **more: Any) -> Cluster:
    """Run what another cluster finished again, without a deadline."""
    replay = Replay(dict(first.rows), delivered)
    return make(
        fixed=[Candidate(row.model, row.params) for row in first.schedule.rows],
        max_trials=len(first.rows),
        folds=first.shapes,
        strategy=Strategy(replay=replay),
        **{"score": by_content, **more},
    ).run()


def delivered_by(cluster: Cluster) -> Delivered:
    assert cluster.finish is not None
    assert cluster.finish.combination is not None
    stored = json.loads(json.dumps(asdict(cluster.finish.combination)))
    found = Delivered.of(stored)
    assert found is not None
    return found


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    budget=st.floats(1.0, 12.0),
    finals=st.sampled_from([0, 1, 5]),
    combine_s=st.sampled_from([0.01, 0.5, 2.0]),
    slots=st.integers(1, 4),
)
def test_a_replay_delivers_what_a_run_bounded_by_time_had_delivered(
    seed: int, budget: float, finals: int, combine_s: float, slots: int
) -> None:
    """Whatever the deadline had done to its choice: too early, too late, of what was ready only, of some folds."""
    rng = random.Random(seed)
    times = [rng.uniform(0.05, 2.0) for _ in range(100)]

    def fate(action: StartFold) -> Fate:
        return Fate(seconds=times[(7 * action.trial + action.fold) % 100], self_stops=finals > 1)

    first = make(
        fate,
        finals=finals,
        slots=slots,
        score=by_content,
        combine_fate=lambda nth: ("done", combine_s),
        strategy=Strategy(ensemble=True, race=True),
        deadline_at=budget,
    ).run()
    assert first.finish is not None
    if first.finish.combination is None:
        return
    again = repeat(first, delivered_by(first))
    assert again.delivered == first.delivered
    done = {row.trial: (row.score, row.fold_scores) for row in first.schedule.rows if row.state is DONE}
    assert {r.trial: (r.score, r.fold_scores) for r in again.schedule.rows if r.state is DONE} == done
    assert again.finish is not None
    assert again.finish.combination is not None
    # (The simulated folds of the repetition do not stop where they are told to.)
    known = {**first.finish.combination.settings}
    known.pop(STOPPED, None)
    assert again.finish.combination.settings == known
    assert again.finish.combination.score == first.finish.combination.score
    assert again.finish.combination.chosen_from == first.finish.combination.chosen_from


def test_a_choice_that_cannot_be_repeated_is_made_anew() -> None:
    first = make(max_trials=4, score=by_content).run()
    delivered = delivered_by(first)
    lost = delivered.members[0]
    again = repeat(first, delivered, fate=lambda action: Fate("failed" if action.trial == lost else "done"))
    assert lost not in again.delivered
    failed = repeat(first, delivered, combine_fate=lambda nth: ("failed", 0.1))
    best = max((row for row in first.schedule.rows), key=lambda row: row.score or 0.0)
    assert failed.delivered == {best.trial: 1.0}


def test_a_result_of_an_older_version_does_not_say_what_it_was_chosen_from() -> None:
    assert Delivered.of(None) is None
    assert Delivered.of({"weights": {"3": 1.0}, "score": 1.0}) is None
