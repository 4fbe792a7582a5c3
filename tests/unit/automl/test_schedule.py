"""The trainer's schedule, driven by a small simulated cluster: no Ray, no clock."""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import sha256
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayctl.automl.actions import FoldResult, FoldShape, StartFold
from rayctl.automl.engine import Candidate, Cost
from rayctl.automl.model import LeaderboardRow, TrialState
from rayctl.automl.pace import Pace
from rayctl.automl.schedule import MAX_LOSSES
from rayctl.automl.strategy import Strategy
from tests.unit.automl.simulated import DEADLINE, ERROR, GONE, Cluster, Fate, by_content, make, numbered, shapes

DONE, FAILED, SKIPPED = TrialState.DONE, TrialState.FAILED, TrialState.SKIPPED


def content(rows: Sequence[LeaderboardRow]) -> list[dict[str, object]]:
    """What must not depend on time: all but seconds, whether it was taken over, and how far a failed trial had come."""
    timed = {"fit_s", "predict_s", "reused"}
    reached = {"fold_scores", "size_bytes", "stopped_at"}
    return [row.model_dump(exclude=timed | (reached if row.state is FAILED else set())) for row in rows]


# Bounded by the number of trials ------------------------------------------------------------------------


def test_max_trials_runs_exactly_that_many_and_delivers_the_best() -> None:
    cluster = make(max_trials=4, strategy=Strategy(ensemble=False)).run()
    assert cluster.finish is not None
    assert (cluster.delivered, cluster.finish.reason) == ({3: 1.0}, "completed")
    assert [row.trial for row in cluster.recorded] == [0, 1, 2, 3]
    assert cluster.recorded[3].fold_scores == [30.0, 31.0, 32.0]
    assert cluster.recorded[3].score == 31.0
    assert len(cluster.started) == 12
    assert cluster.most_in_flight <= 2


@pytest.mark.parametrize(("greater", "best"), [(True, 2), (False, 0)])
def test_a_finite_search_space_ends_by_itself_and_the_direction_counts(greater: bool, best: int) -> None:
    cluster = make(count=3, greater=greater, strategy=Strategy(ensemble=False)).run()
    assert cluster.finish is not None
    assert (cluster.delivered, cluster.finish.reason) == ({best: 1.0}, "completed")


def fingerprint_search(rows: Sequence[LeaderboardRow], number: int) -> Candidate:
    """Proposes what depends on every detail that it may know, so that any difference in that shows in its trial."""
    seen = sha256(repr([(r.trial, r.state, r.score, r.params) for r in rows]).encode()).hexdigest()[:12]
    return Candidate(f"adaptive-{number % 3}", {"seen": seen, "number": number})


def random_fate(seed: int, lost: float = 0.2) -> object:
    """Equal verdicts for every seed, but other durations and losses."""

    def fate(action: StartFold) -> Fate:
        own = random.Random(f"{action.candidate}/{action.fold}")
        if own.random() < 0.06:
            return Fate("failed", 0.2 + own.random())
        noise = random.Random(f"{seed}/{action.trial}/{action.fold}/{action.attempt}")
        if action.attempt == 0 and noise.random() < lost:  # three folds: fewer losses than end a trial
            return Fate("lost", noise.random())
        return Fate("done", 0.1 + 2 * noise.random())

    return fate


def bounded(seed: int, slots: int, **options: object) -> Cluster:
    kwargs: dict[str, object] = {"count": 6, "adaptive": fingerprint_search, "max_trials": 22, "score": by_content}
    return make(random_fate(seed), slots=slots, **(kwargs | options))  # type: ignore[arg-type]


CALM = bounded(0, 1).run()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), slots=st.integers(1, 16), prefetch=st.booleans())
def test_max_trials_gives_the_same_trials_whatever_the_parallelism_and_the_losses(
    seed: int, slots: int, prefetch: bool
) -> None:
    cluster = bounded(seed, slots, strategy=Strategy(prefetch=prefetch)).run()
    assert content(cluster.schedule.rows) == content(CALM.schedule.rows)
    assert cluster.delivered == CALM.delivered
    if not prefetch:
        assert cluster.most_in_flight <= slots


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    slots=st.integers(1, 16),
    kill=st.floats(0, 40),
    journalled=st.floats(0, 1),
    finals=st.booleans(),
)
def test_a_restart_at_any_point_gives_the_same_trials(
    seed: int, slots: int, kill: float, journalled: float, finals: bool
) -> None:
    """The journal is written in batches, so a restarted trainer may know any beginning of what had ended."""
    before = bounded(seed, slots, finals=int(finals)).run(until=kill)
    recorded = before.recorded[: round(journalled * len(before.recorded))]
    after = bounded(seed + 1, slots, recorded=recorded, finals=int(finals)).run()
    assert content(after.schedule.rows) == content(CALM.schedule.rows)
    assert {row.trial for row in recorded}.isdisjoint(a.trial for a in after.started if a.fold < 3)
    if not finals:
        assert after.delivered == CALM.delivered


def test_asking_for_the_candidates_of_recorded_trials_does_not_pass_over_others() -> None:
    """A restarted trainer needs them to combine at once; trials with lower numbers have yet to be run."""
    recorded = [row for row in CALM.recorded if row.trial in (0, 1, 5, 20)]
    cluster = bounded(3, 2, recorded=recorded)
    assert cluster.schedule.candidate(5) == CALM.schedule.candidate(5)
    assert cluster.schedule.candidate(20) == CALM.schedule.candidate(20)
    cluster.run()
    assert content(cluster.schedule.rows) == content(CALM.schedule.rows)


def test_when_the_portfolio_is_over_and_there_is_no_search_the_run_is_completed() -> None:
    cluster = make(count=5, deadline_at=1000.0).run()
    assert cluster.finish is not None
    assert cluster.finish.reason == "completed"
    assert cluster.now < 20
    assert {row.state for row in cluster.recorded} == {DONE}


# Failures and losses ------------------------------------------------------------------------------------


def test_a_failing_fold_fails_its_trial_and_stops_the_others() -> None:
    cluster = make(
        lambda a: Fate("failed", 0.5) if (a.trial, a.fold) == (1, 0) else Fate("done", 1.0 + a.fold),
        max_trials=3,
        slots=6,
        strategy=Strategy(ensemble=False),
    ).run()
    failed = [row for row in cluster.recorded if row.state is FAILED]
    assert [(row.trial, row.error) for row in failed] == [(1, ERROR)]
    assert {(stop.trial, stop.fold) for _, stop in cluster.stops} == {(1, 1), (1, 2)}
    assert cluster.delivered == {2: 1.0}


def test_all_trials_failing_is_a_failed_run_with_the_first_reason() -> None:
    cluster = make(lambda a: Fate("failed", 0.5), max_trials=3).run()
    assert cluster.error_code == "all-trials-failed"
    assert cluster.finish is not None
    assert cluster.finish.error is not None
    assert "it broke" in cluster.finish.error["message"]


def test_a_lost_worker_is_repeated_but_not_for_ever() -> None:
    once = make(lambda a: Fate("lost" if a.trial == 0 and a.attempt == 0 else "done"), max_trials=1, slots=1).run()
    assert once.recorded[0].state is DONE
    always = make(lambda a: Fate("lost" if a.trial == 0 else "done"), max_trials=2, slots=1).run()
    assert (always.recorded[0].state, always.recorded[0].error) == (FAILED, GONE)
    assert len(always.starts(0)) == MAX_LOSSES
    assert always.delivered == {1: 1.0}


@pytest.mark.parametrize(("error", "state"), [(DEADLINE, SKIPPED), (GONE, FAILED)])
def test_no_time_left_is_no_failure(error: dict[str, str], state: TrialState) -> None:
    cluster = make(deadline_at=60.0, slots=1, count=1)
    for _ in range(MAX_LOSSES):
        [start] = [action for action in cluster.schedule.plan(58.0) if isinstance(action, StartFold)]
        cluster.schedule.fold_lost(start.trial, start.fold, error, 58.0)
    [row] = cluster.schedule.rows
    assert (row.state, row.error) == (state, error)


def test_a_trial_that_has_shown_that_it_works_survives_more_losses() -> None:
    often = make(lambda a: Fate("lost" if a.fold == 2 and a.attempt < 7 else "done"), max_trials=1, slots=1).run()
    assert often.recorded[0].state is DONE


def test_a_fold_that_outlives_its_cap_fails_its_trial() -> None:
    cluster = make(
        lambda a: Fate("hangs" if (a.trial, a.fold) == (0, 1) else "done"), max_trials=2, fold_timeout_s=5.0
    ).run()
    rows = {row.trial: row for row in cluster.recorded}
    assert (rows[0].state, rows[0].error["code"] if rows[0].error else None) == (FAILED, "trial-timeout")
    assert cluster.delivered == {1: 1.0}


def test_results_of_trials_that_have_ended_are_dropped() -> None:
    cluster = make(max_trials=1, slots=3).run(until=0.5)
    cluster.schedule.fold_failed(0, 0, ERROR, 0.5)
    cluster.schedule.fold_done(0, 1, FoldResult(1.0, 1.0, 0.0), 0.5)
    cluster.schedule.fold_lost(0, 2, GONE, 0.5)
    cluster.schedule.fold_failed(7, 0, ERROR, 0.5)
    assert [row.state for row in cluster.schedule.rows] == [FAILED]
    assert cluster.schedule.in_flight == 0


# Slots --------------------------------------------------------------------------------------------------


def test_fewer_slots_are_respected_at_once_and_more_are_used() -> None:
    cluster = make(max_trials=12, slots=6).run(until=1.5)
    running = len(cluster.alive)
    cluster.schedule.slots = 1
    cluster.most_in_flight = 0
    cluster.run(until=4.6)
    assert cluster.most_in_flight <= running
    assert len(cluster.alive) == 1
    cluster.schedule.slots = 5
    cluster.run(until=cluster.now)
    assert len(cluster.alive) == 5
    assert cluster.run().finish is not None


def test_only_folds_of_milliseconds_are_submitted_ahead() -> None:
    slow = make(max_trials=20, slots=2, strategy=Strategy(prefetch=True)).run()
    assert slow.most_in_flight == 2
    fast = make(lambda a: Fate(seconds=0.002), max_trials=20, slots=2, strategy=Strategy(prefetch=True)).run()
    assert fast.most_in_flight == 8
    plain = make(lambda a: Fate(seconds=0.002), max_trials=20, slots=2).run()
    assert plain.most_in_flight == 2


# Cancelling and finishing early -------------------------------------------------------------------------


@pytest.mark.parametrize("deadline_at", [None, 30.0])
def test_cancelling_stops_everything_and_delivers_nothing(deadline_at: float | None) -> None:
    limits = {"deadline_at": deadline_at, "max_trials": 5}
    cluster = make(lambda a: Fate("hangs"), slots=3, **limits).run(until=3.0)  # type: ignore[arg-type]
    running = set(cluster.alive)
    assert len(running) == 3
    cluster.schedule.cancel()
    cluster.run()
    assert cluster.finish is not None
    assert (cluster.finish.combination, cluster.finish.reason, cluster.finish.error) == (None, "cancelled", None)
    assert cluster.now < 4.0
    assert not cluster.alive
    assert {(stop.trial, stop.fold) for _, stop in cluster.stops if not stop.force} == running
    assert {row.error["code"] for row in cluster.recorded if row.error} == {"cancelled"}


@pytest.mark.parametrize("hangs", ["combine", "finals"])
def test_cancelling_at_the_end_of_a_run(hangs: str) -> None:
    cluster = make(
        lambda a: Fate("hangs" if hangs == "finals" and a.fold >= 3 else "done"),
        max_trials=2,
        finals=2,
        combine_fate=lambda nth: ("hangs" if hangs == "combine" else "done", 0.1),
    ).run(until=10.0)
    assert cluster.schedule.running_trials == 0
    cluster.schedule.cancel()
    cluster.run()
    assert cluster.finish is not None
    assert cluster.finish.reason == "cancelled"
    assert cluster.now < 11.0
    assert not cluster.alive


def test_cancelling_after_the_deadline_of_the_last_steps_does_not_busy_wait() -> None:
    """The trainer sleeps until ``next_check``: it must not be now, again and again, while only events matter."""
    cluster = make(lambda a: Fate("hangs"), deadline_at=10.0).run(until=1.0)
    cluster.schedule.cancel()
    for at in (9.99, 10.6, 10.61):
        cluster.schedule.plan(at)
    assert cluster.schedule.in_flight == 2
    assert cluster.schedule.next_check(10.62) is None


def test_closing_delivers_the_best_so_far() -> None:
    cluster = make(max_trials=50, strategy=Strategy(ensemble=False)).run(until=7.0)
    cluster.schedule.close()
    cluster.run()
    assert cluster.finish is not None
    assert (cluster.finish.reason, cluster.delivered) == ("finished-early", {3: 1.0})
    assert cluster.now < 8.0
    errors = [row.error for row in cluster.recorded if row.state is SKIPPED and row.error]
    assert errors
    assert all(error == {"code": "finished-early", "message": "The run was ended early."} for error in errors)


def test_closing_before_any_fold_has_ended_waits_for_the_first() -> None:
    cluster = make(max_trials=50).run(until=0.5)
    cluster.schedule.close()
    cluster.run()
    assert cluster.delivered
    assert cluster.now < 2.0


def test_closing_when_nothing_can_be_delivered_says_so() -> None:
    cluster = make(lambda a: Fate(end="failed"), max_trials=50).run(until=0.5)
    cluster.schedule.close()
    assert cluster.run().error_code == "all-trials-failed"


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    slots=st.integers(1, 6),
    finals=st.integers(0, 3),
    ensemble=st.booleans(),
    when=st.one_of(st.none(), st.floats(0, 30)),
    how=st.sampled_from(["cancel", "close"]),
    prefetch=st.booleans(),
)
def test_a_run_without_a_deadline_always_ends(
    seed: int, slots: int, finals: int, ensemble: bool, when: float | None, how: str, prefetch: bool
) -> None:
    """Whatever becomes of tasks (also if they hang), and whenever the caller has enough."""

    def fate(action: StartFold) -> Fate:
        chance = random.Random(f"{seed}/{action.trial}/{action.fold}/{action.attempt}/{len(cluster.started)}")
        end = chance.choices(["done", "failed", "lost", "hangs"], [8, 1, 1, 1])[0]
        return Fate(end, chance.random() * 4, deaf=chance.random() < 0.3)

    cluster = make(
        fate,
        slots=slots,
        finals=finals,
        count=3,
        adaptive=fingerprint_search,
        max_trials=9,
        fold_timeout_s=5.0,
        score=by_content,
        strategy=Strategy(ensemble=ensemble, prefetch=prefetch),
        combine_fate=lambda nth: (random.Random(f"{seed}/{nth}").choice(["done", "failed"]), 0.3),
    )
    if when is not None:
        cluster.run(until=when)
        if cluster.finish is None:
            getattr(cluster.schedule, how)()
    cluster.run()
    assert cluster.finish is not None
    assert not cluster.alive
    if cluster.finish.combination is None and cluster.finish.reason != "cancelled":
        assert cluster.error_code in ("no-trial-finished", "all-trials-failed", "final-fit-failed")
    if not prefetch and not finals:
        assert cluster.most_in_flight <= slots


# Leaving trials out -------------------------------------------------------------------------------------


def costs(seconds: float = 1.0, memory: float = 1e6, of: int = 6) -> Pace:
    """The trial numbered ``of`` costs that, the others one second and little memory."""
    return Pace(lambda c: Cost(seconds, memory) if c.params["x"] == of else Cost(1.0, 1e6))


@pytest.mark.parametrize(("seconds", "whole", "begun"), [(60, True, False), (60, False, True), (30, True, True)])
def test_half_of_what_must_be_whole_is_not_begun(seconds: float, whole: bool, begun: bool) -> None:
    def cost(candidate: Candidate) -> Cost:
        return Cost(seconds, 1.0, any_part_helps=not whole) if candidate.params["x"] == 6 else Cost(1.0, 1.0)

    cluster = make(count=8, pace=Pace(cost), deadline_at=1000.0, slots=1, scored=4).run()  # a fold may take 1000 / 24 s
    assert bool(cluster.starts(6)) == begun


def test_the_fold_that_does_the_work_of_others_may_take_as_long() -> None:
    cluster = make(count=2, pace=Pace(lambda c: Cost(1.0, 1.0, peak=5.0 - 4 * c.params["x"])), deadline_at=100.0).run()
    soft = {start.trial: start.soft_s for start in cluster.started}
    assert soft[0] == pytest.approx(5 * soft[1])


def test_trials_that_cannot_end_in_time_are_left_out() -> None:
    cluster = make(count=8, pace=costs(seconds=500.0), deadline_at=100.0).run()
    reasons = {row.trial: row.error["code"] for row in cluster.schedule.rows if row.error}
    assert reasons == {6: "too-slow"}
    assert not cluster.starts(6)
    assert cluster.finish is not None
    assert cluster.finish.reason == "completed"


@pytest.mark.parametrize(("whole", "left_out"), [(True, {1: "too-slow"}), (False, {})])
def test_before_the_first_answer_no_worker_is_given_to_a_model_that_cannot_end_in_time(
    whole: bool, left_out: dict[int, str]
) -> None:
    """With a few very long series one fold outlasts the run, and no clock is looked at within a series."""

    def cost(candidate: Candidate) -> Cost:
        seconds = 50.0 if candidate.params["x"] == 1 else 1.0
        return Cost(seconds, 1.0, any_part_helps=not whole)

    schedule = make(count=3, slots=4, deadline_at=20.0, pace=Pace(cost)).schedule
    begun = {action.trial for action in schedule.plan(0.0) if isinstance(action, StartFold)}
    assert begun == ({0, 2} if whole else {0, 1})
    assert {row.trial: (row.error or {}).get("code") for row in schedule.rows} == left_out


@pytest.mark.parametrize(("finals", "left_out"), [(0, {}), (3, {6: "too-slow"})])
def test_a_trial_whose_unscored_folds_would_not_end_in_time_is_left_out(finals: int, left_out: dict[int, str]) -> None:
    """It could not be delivered: scored in the last seconds, it would only keep others from being done."""
    cluster = make(count=7, pace=costs(seconds=12.0), deadline_at=80.0, slots=1, finals=finals).run()
    assert {row.trial: row.error["code"] for row in cluster.schedule.rows if row.error} == left_out


def test_trials_that_need_too_much_memory_are_left_out() -> None:
    cluster = make(count=8, pace=costs(memory=3e9), deadline_at=100.0, memory_bytes=2 * 10**9).run()
    reasons = {row.trial: row.error["code"] for row in cluster.schedule.rows if row.error}
    assert reasons == {6: "too-large"}


@pytest.mark.parametrize("pace", [costs(seconds=500.0), costs(memory=3e9)])
def test_nothing_is_left_out_without_a_deadline(pace: Pace) -> None:
    cluster = make(count=8, pace=pace, memory_bytes=2 * 10**9).run()
    assert {row.state for row in cluster.schedule.rows} == {DONE}


@pytest.mark.parametrize(("slowness", "left_out"), [(1.0, False), (10.0, True)])
def test_predictions_learn_from_what_folds_really_take(slowness: float, left_out: bool) -> None:
    """Trial 6 is predicted to take eight seconds per fold, and on a machine ten times slower as many times more."""
    cluster = make(
        lambda a: Fate(seconds=slowness * (8.0 if a.trial == 6 else 1.0)),
        count=8,
        pace=costs(seconds=8.0),
        deadline_at=150.0,
    ).run()
    codes = {row.trial: row.error["code"] for row in cluster.schedule.rows if row.error}
    assert codes.get(6) == ("too-slow" if left_out else None)


def test_fits_that_time_cut_short_say_nothing_about_how_long_fits_take() -> None:
    pace = Pace(lambda c: Cost(1.0, 1.0))
    make(lambda a: Fate(seconds=100.0), count=4, pace=pace, deadline_at=60.0).run()
    assert pace.seconds(Candidate("model-0", {"x": 0})) == 1.0


def test_the_first_trial_is_never_left_out() -> None:
    """Predictions may be wrong, and something has to be tried."""
    everything_slow = Pace(lambda c: Cost(1e5, 1e12))
    cluster = make(lambda a: Fate(seconds=2.0), count=1, pace=everything_slow, deadline_at=50.0, memory_bytes=1).run()
    assert cluster.schedule.rows[0].state is DONE


@pytest.mark.parametrize("cost", [Cost(1e4, 1.0), Cost(0.01, 1e12)])
def test_endless_proposals_that_do_not_fit_any_more_end_the_search(cost: Cost) -> None:
    """Every proposal is left out at once, so the planning of one moment would never end."""
    proposed: list[int] = []

    def search(rows: Sequence[LeaderboardRow], number: int) -> Candidate:
        proposed.append(number)
        assert len(proposed) < 1000, "it goes on for ever"
        return Candidate("big", {"x": number})

    pace = Pace(lambda c: cost if c.model == "big" else Cost(1.0, 1.0))
    cluster = make(count=6, adaptive=search, pace=pace, deadline_at=60.0, memory_bytes=10**9).run()
    assert cluster.finish is not None
    assert cluster.finish.reason == ("deadline" if cost.seconds > 1 else "completed")
    assert {row.trial for row in cluster.schedule.rows if row.state is DONE} == set(range(6))
    assert len(proposed) <= 20
    assert cluster.delivered


def test_a_search_whose_proposals_stop_fitting_near_the_end_does_not_stall() -> None:
    pace = Pace(lambda c: Cost(3.0, 1.0))
    cluster = make(
        lambda a: Fate(seconds=3.0), count=2, adaptive=fingerprint_search, pace=pace, deadline_at=60.0, score=by_content
    ).run()
    assert cluster.finish is not None
    assert cluster.finish.reason == "deadline"
    assert sum(row.state is DONE for row in cluster.schedule.rows) >= 8
    assert sum(row.state is SKIPPED for row in cluster.schedule.rows) <= 20


# What the rows say --------------------------------------------------------------------------------------


def test_folds_of_a_group_count_by_their_weight_and_groups_evenly() -> None:
    parts = [FoldShape(0, 3.0), FoldShape(0, 1.0), FoldShape(1, 1.0), FoldShape(1, 1.0), FoldShape(0, scored=False)]
    cluster = make(folds=parts, count=1, score=lambda trial, fold, c: [10.0, 2.0, 5.0, 7.0][fold]).run()
    row = cluster.schedule.rows[0]
    assert row.fold_scores == [8.0, 6.0]
    assert (row.score, row.std) == (7.0, 1.0)
    assert row.size_bytes == 4000


def test_a_trial_that_is_skipped_keeps_the_scores_of_its_ended_folds() -> None:
    cluster = make(max_trials=9, slots=1).run(until=5.5)
    cluster.schedule.close()
    cluster.run()
    rows = [(row.state, row.fold_scores, row.score) for row in cluster.schedule.rows]
    assert rows == [(DONE, [0.0, 1.0, 2.0], 1.0), (SKIPPED, [10.0, 11.0], None)]
    assert sorted(cluster.records[1].results) == [0, 1]


def test_a_run_that_is_ended_during_its_first_trial_delivers_the_folds_that_ended() -> None:
    cluster = make(max_trials=9, slots=1).run(until=2.5)
    cluster.schedule.close()
    cluster.run()
    rows = [(row.state, row.fold_scores, row.score, row.error and row.error["code"]) for row in cluster.schedule.rows]
    assert rows == [(DONE, [0.0, 1.0], 0.5, "incomplete")]
    assert cluster.delivered
    assert cluster.finish is not None
    assert cluster.finish.combination is not None
    assert dict(cluster.finish.combination.weights) == {0: 1.0}


@pytest.mark.parametrize(("budget", "folds"), [(8.0, 2), (5.0, 1)])
def test_a_deadline_in_the_first_trial_delivers_the_folds_that_ended(budget: float, folds: int) -> None:
    slow = Fate(seconds=3.0, self_stops=False)
    cluster = make(lambda a: slow, slots=1, deadline_at=budget, strategy=Strategy(race=True)).run()
    assert [len(row.fold_scores) for row in cluster.schedule.rows if row.state is DONE] == [folds]
    assert cluster.delivered
    assert cluster.now < budget


def test_a_trial_that_others_make_hopeless_gets_no_further_fold() -> None:
    """Its own folds are as good as ever; what has changed is that better trials of its family have ended."""

    def score(trial: int, fold: int, candidate: Candidate) -> float:
        return {0: 0.2, 1: 0.9, 2: 0.91, 3: 0.5}.get(trial, 0.1) + 0.001 * fold

    fixed = [Candidate("one-family", {"x": number}) for number in range(4)]
    cluster = make(fixed=fixed, slots=1, deadline_at=200.0, strategy=Strategy(race=True), score=score).run()
    rows = {row.trial: row for row in cluster.schedule.rows}
    assert rows[3].error is not None
    assert rows[3].error["code"] == "abandoned"
    assert len(rows[3].fold_scores) == 1


def test_the_first_trial_ends_before_others_get_their_second_fold() -> None:
    cluster = make(lambda a: Fate(seconds=1.0), slots=2, deadline_at=60.0, strategy=Strategy(race=True)).run()
    begun = [(action.trial, action.fold) for action in cluster.started]
    assert begun[:4] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    firsts = [begun.index((trial, 0)) for trial in (1, 2, 3, 4)]
    seconds = [begun.index((trial, 1)) for trial in (2, 3, 4)]
    assert max(firsts) < min(seconds)


def test_planning_stays_fast_with_thousands_of_trials() -> None:
    """A plan must not look at every row: the trainer makes one after every fold."""
    rows = [
        LeaderboardRow(trial=n, model=f"m{n % 5}", params={"x": n}, state=DONE, score=float(n % 97), fit_s=0.1)
        for n in range(3000)
    ]
    cluster = make(recorded=rows, fixed=[Candidate(row.model, row.params) for row in rows], adaptive=fingerprint_search)
    cluster.schedule.plan(0.0)
    reads = _count_reads(rows, lambda: [cluster.schedule.plan(at) for at in (0.1, 0.2, 0.3)])
    assert reads < len(rows)


def _count_reads(rows: list[LeaderboardRow], work: object) -> int:
    """Count how often the state of a row is looked at."""
    count = 0
    plain = LeaderboardRow.__getattribute__

    def counting(self: LeaderboardRow, name: str) -> object:
        nonlocal count
        count += name in ("score", "state")
        return plain(self, name)

    LeaderboardRow.__getattribute__ = counting  # type: ignore[method-assign, assignment]
    try:
        work()  # type: ignore[operator]
    finally:
        del LeaderboardRow.__getattribute__
    return count


def test_the_helpers_of_these_tests_are_what_they_say() -> None:
    assert [shape.scored for shape in shapes(2, 1)] == [True, True, False]
    assert [c.params["x"] for c in islice(numbered(), 3)] == [0, 1, 2]
    assert by_content(0, 1, Candidate("a", {"x": 1})) == by_content(5, 1, Candidate("a", {"x": 1}))
