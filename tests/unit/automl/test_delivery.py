"""What a run delivers and when: deadlines, weights, fits that only delivered trials get. In simulated time."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayctl.automl.actions import FoldResult, StartFold
from rayctl.automl.delivery import COMBINE_EVERY_S, COMBINE_SHARE, INCOMPLETE, OVERTIME_S, SPECULATIVE_SHARE
from rayctl.automl.engine import Candidate, Combination, Cost
from rayctl.automl.limits import CombineTime
from rayctl.automl.model import LeaderboardRow, TrialState
from rayctl.automl.pace import Pace
from rayctl.automl.search import candidate_key
from rayctl.automl.strategy import KnownTrial, Strategy
from tests.unit.automl.simulated import ERROR, Cluster, Fate, by_content, make, numbered

REFIT = Strategy(ensemble=False, race=True)
MEMBERS = Strategy(ensemble=True, race=True)


def best_of(cluster: Cluster) -> int:
    done = [row for row in cluster.schedule.rows if row.state is TrialState.DONE]
    return max(done, key=lambda row: (row.score or 0.0, -row.trial)).trial


def is_final(action: StartFold) -> bool:
    return action.fold >= 3


class Clock:
    """Lets what becomes of a task depend on the time."""

    cluster: Cluster

    @property
    def now(self) -> float:
        return self.cluster.now


ONE_AFTER_ANOTHER = Strategy(ensemble=False, race=False)


# The deadline -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("finals", [0, 1, 3])
@pytest.mark.parametrize("budget", [3.0, 20.0, 60.0, 1000.0])
def test_a_deadline_is_kept_and_a_model_exists_at_it(budget: float, finals: int) -> None:
    seconds = budget / 60
    cluster = make(lambda a: Fate(seconds=seconds), finals=finals, deadline_at=budget, strategy=MEMBERS).run()
    assert cluster.finish is not None
    assert cluster.finish.reason == "deadline"
    assert cluster.delivered
    assert 0.6 * budget < cluster.now < budget
    assert {row.state for row in cluster.recorded} <= {TrialState.DONE, TrialState.SKIPPED}


@pytest.mark.parametrize(
    ("combine_s", "finals", "members", "took"),
    [(3.0, 0, 2, 3.0), (OVERTIME_S + 5, 0, 1, OVERTIME_S), (3.0, 1, 0, 0.0)],
)
def test_a_trainer_that_comes_after_the_deadline_still_chooses_weights(
    combine_s: float, finals: int, members: int, took: float
) -> None:
    before = make(lambda a: Fate(seconds=2.0), deadline_at=60.0, strategy=MEMBERS).run()
    recorded = [row for row in before.recorded if row.state is TrialState.DONE]
    late = make(
        deadline_at=60.0, at=80.0, recorded=recorded, finals=finals, strategy=MEMBERS,
        combine_fate=lambda nth: ("done", combine_s),
    ).run()  # fmt: skip
    assert late.finish is not None
    assert late.finish.reason == "deadline"
    assert late.started == [], "nothing more is tried"
    weights = {} if late.finish.combination is None else late.finish.combination.weights
    assert len(weights) == members
    assert late.now == pytest.approx(80.0 + took)


def test_the_search_is_not_cut_short_by_the_imports_of_the_first_choice_of_weights() -> None:
    def searched_until(imports_s: float) -> float:
        cluster = make(lambda a: Fate(seconds=0.5), deadline_at=60.0, strategy=MEMBERS, imports_s=imports_s).run()
        assert cluster.now < 60.0
        return cluster.start_times[-1]

    assert searched_until(7.0) == pytest.approx(searched_until(0.0), abs=1.0)


def test_if_the_first_choice_is_the_only_one_time_for_more_imports_is_kept() -> None:
    assert CombineTime(0.2, 7.0).to_keep_free_s > 7.2
    assert CombineTime(0.2).to_keep_free_s < 0.4


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    slots=st.integers(1, 6),
    budget=st.floats(0.5, 60),
    trouble=st.floats(0, 1),
    finals=st.integers(0, 3),
    ensemble=st.booleans(),
    race=st.booleans(),
    cap=st.sampled_from([2.0, 300.0]),
    when=st.one_of(st.none(), st.floats(0, 1)),
    how=st.sampled_from(["cancel", "close"]),
)
def test_the_deadline_is_kept_whatever_happens(
    seed: int,
    slots: int,
    budget: float,
    trouble: float,
    finals: int,
    ensemble: bool,
    race: bool,
    cap: float,
    when: float | None,
    how: str,
) -> None:
    """Tasks fail, are lost, hang and do not listen, weights cannot be chosen; there are known trials and a search."""

    def fate(action: StartFold) -> Fate:
        chance = random.Random(f"{seed}/{action.trial}/{action.fold}/{len(cluster.started)}")
        bad = chance.random() < trouble
        end = chance.choice(["failed", "lost", "hangs"]) if bad else "done"
        return Fate(end, chance.random() ** 3 * 8, self_stops=chance.random() < 0.5, deaf=chance.random() < 0.3)

    def combine_fate(nth: int) -> tuple[str, float]:
        chance = random.Random(f"combine/{seed}/{nth}")
        return (
            "hangs" if chance.random() < trouble / 3 else chance.choice(["done", "done", "failed"])
        ), chance.random()

    known = {
        candidate_key(c): KnownTrial({0: FoldResult(by_content(0, 0, c), 0.5, 0.0, stopped_at=seed % 2 or None)})
        for c in islice(numbered(), seed % 9)
    }

    def search(rows: object, number: int) -> Candidate:
        return Candidate(f"model-{number % 3}", {"x": number})

    cluster = make(
        fate,
        slots=slots,
        finals=finals,
        count=8,
        adaptive=search,
        deadline_at=budget,
        fold_timeout_s=cap,
        strategy=Strategy(ensemble=ensemble, race=race, prefetch=seed % 3 == 0),
        combine_fate=combine_fate,
        pace=Pace(lambda c: Cost(random.Random(str(c.params)).random() * 4, 1e6) if seed % 2 else None),
        score=by_content,
        known=known,
    )
    if when is not None:
        cluster.run(until=when * budget)
        if cluster.finish is None:
            getattr(cluster.schedule, how)()
    cluster.run()
    assert cluster.finish is not None
    # Who cancels at the last moment waits until hanging tasks are killed.
    cancelled = cluster.finish.reason == "cancelled"
    assert cluster.now <= (max(budget, (when or 0.0) * budget + 0.6) if cancelled else budget)
    if cluster.deliverable_from is not None and cluster.finish.reason != "cancelled":
        assert cluster.delivered
    elif cluster.finish.combination is None and cluster.finish.reason != "cancelled":
        assert cluster.error_code in ("no-trial-finished", "all-trials-failed", "final-fit-failed")
        assert cluster.finish.error is not None
        assert cluster.finish.error["message"]


def test_the_steps_at_the_end_begin_one_after_the_other() -> None:
    cluster = make(finals=2, deadline_at=100.0, strategy=REFIT).run(until=30.0)
    schedule = cluster.schedule
    stop_at, deliver_at = schedule.stop_searching_at, schedule.delivery.deliver_at(cluster.rows)
    assert stop_at is not None
    assert deliver_at is not None
    assert 60 < stop_at < deliver_at < 100
    assert [schedule.fold_ends_at(fold) for fold in range(5)] == [stop_at] * 3 + [deliver_at] * 2
    cluster.run()
    assert deliver_at - 1 < cluster.now < 100


def test_without_a_deadline_nothing_is_stopped_by_the_clock() -> None:
    cluster = make(max_trials=3).run(until=2.5)
    assert cluster.schedule.stop_searching_at is None
    assert cluster.schedule.fold_ends_at(0) is None
    assert cluster.started[0].soft_s is None


def test_hanging_folds_are_stopped_by_force_when_searching_ends() -> None:
    cluster = make(lambda a: Fate("hangs"), deadline_at=10.0).run()
    assert cluster.error_code == "no-trial-finished"
    assert cluster.now < 10.0
    forced = [at for at, stop in cluster.stops if stop.force]
    assert len(forced) == 2


def test_folds_that_end_themselves_when_time_is_up_are_not_asked_to_stop() -> None:
    """Interrupting a worker costs more than waiting the moment that it needs."""
    cluster = make(lambda a: Fate(seconds=0.3), deadline_at=20.0).run()
    assert cluster.finish is not None
    assert cluster.stops == []


def only_one_fold_ends(**options: object) -> Cluster:
    return make(
        lambda a: Fate(seconds=3.0) if (a.trial, a.fold) == (0, 1) else Fate("hangs"),
        slots=4,
        deadline_at=20.0,
        **options,  # type: ignore[arg-type]
    ).run()


@pytest.mark.parametrize("ensemble", [True, False])
def test_short_of_time_a_trial_with_only_some_folds_is_an_answer(ensemble: bool) -> None:
    cluster = only_one_fold_ends(strategy=Strategy(ensemble=ensemble, race=True))
    assert cluster.delivered == {0: 1.0}
    row = cluster.rows[0]
    assert (row.state, row.score, row.fold_scores) == (TrialState.DONE, 1.0, [1.0])
    assert row.error is not None
    assert row.error["code"] == INCOMPLETE
    assert cluster.combines == []
    assert cluster.now < 20.0


def test_a_trial_with_only_some_folds_is_no_answer_where_a_model_has_yet_to_be_fitted() -> None:
    assert only_one_fold_ends(finals=1, strategy=REFIT).error_code == "no-trial-finished"


@pytest.mark.parametrize("finals", [0, 2])
def test_something_is_deliverable_from_the_first_trial_on(finals: int) -> None:
    """Whenever time is up after that, there is a model, whatever hangs then."""
    free = make(finals=finals, deadline_at=60.0, strategy=MEMBERS).run()
    ready_at = free.deliverable_from
    assert ready_at is not None
    assert ready_at < (8 if finals else 7)
    for budget in (24.0, 30.0, 45.0):
        clock = Clock()
        cluster = clock.cluster = make(
            lambda a, clock=clock: Fate("done" if clock.now < ready_at else "hangs", deaf=True),
            finals=finals,
            deadline_at=budget,
            strategy=MEMBERS,
            combine_fate=lambda nth: ("hangs", 0.0),
        )
        assert cluster.run().delivered


# Weights ------------------------------------------------------------------------------------------------


def test_weights_are_chosen_again_while_searching_but_not_too_often_and_once_for_the_end() -> None:
    cluster = make(
        lambda a: Fate(seconds=0.1), scored=1, deadline_at=30.0, combine_fate=lambda nth: ("done", 0.2)
    ).run()
    times = [at for at, _ in cluster.combines]
    assert 8 <= len(times) <= 16
    assert min(b - a for a, b in pairwise(times[:-1])) >= max(COMBINE_EVERY_S, 0.2 / COMBINE_SHARE) - 1e-6
    assert times[0] <= 0.2
    final_pool = cluster.combines[-1][1]
    assert best_of(cluster) in final_pool
    assert cluster.delivered.keys() <= set(final_pool)


def test_weights_are_chosen_again_when_only_the_clock_goes_on() -> None:
    """A trial ends shortly after weights were chosen, and then nothing happens for a long time."""
    cluster = make(
        lambda a: Fate(seconds=[1.0, 1.1, 90.0, 90.0][min(a.trial, 3)], self_stops=False),
        scored=1,
        deadline_at=200.0,
        strategy=Strategy(race=False),
    ).run(until=20.0)
    assert [trials for _, trials in cluster.combines] == [(0,), (0, 1)]


def test_the_pool_of_the_end_is_combined_in_a_bounded_run_too() -> None:
    cluster = make(max_trials=30, slots=4).run()
    assert cluster.combines[-1][1] == tuple(range(30))
    assert cluster.delivered == {28: 0.5, 29: 0.5}
    families = make(count=60, fixed=[Candidate(f"model-{n % 3}", {"x": n}) for n in range(60)]).run()
    assert families.combines[-1][1] == tuple(range(44, 60))


@pytest.mark.parametrize("deadline_at", [None, 500.0])
def test_without_an_ensemble_the_best_trial_is_all_that_is_combined(deadline_at: float | None) -> None:
    cluster = make(count=4, deadline_at=deadline_at, strategy=Strategy(ensemble=False)).run()
    assert [trials for _, trials in cluster.combines] == [(3,)]
    assert cluster.delivered == {3: 1.0}


def test_choosing_weights_that_hangs_leaves_the_best_trial_alone() -> None:
    cluster = make(deadline_at=30.0, combine_fate=lambda nth: ("hangs", 0.0)).run()
    assert cluster.delivered == {best_of(cluster): 1.0}
    assert cluster.now < 30.0
    assert cluster.finish is not None
    assert cluster.finish.combination is not None
    assert cluster.finish.combination.score == cluster.rows[best_of(cluster)].score


def falling(trial: int, fold: int, candidate: Candidate) -> float:
    return -float(trial * 10 + fold)


def test_choosing_weights_that_hangs_at_the_end_leaves_the_weights_before_unless_a_trial_is_better() -> None:
    def hangs_later(nth: int) -> tuple[str, float]:
        return ("done" if nth < 3 else "hangs"), 0.05

    kept = make(deadline_at=60.0, combine_fate=hangs_later, score=falling).run()
    assert kept.delivered == {0: 0.5, 1: 0.5}
    better = make(deadline_at=60.0, combine_fate=hangs_later).run()
    assert better.delivered == {best_of(better): 1.0}
    assert best_of(better) > max(better.combines[2][1])


def test_weights_that_cannot_be_chosen_leave_the_best_trial_alone() -> None:
    cluster = make(max_trials=5, combine_fate=lambda nth: ("failed", 0.1)).run()
    assert cluster.delivered == {4: 1.0}
    assert cluster.finish is not None
    assert cluster.finish.reason == "completed"


# Folds that only delivered trials get -------------------------------------------------------------------


@pytest.mark.parametrize("finals", [1, 4])
def test_the_best_trial_gets_its_unscored_folds(finals: int) -> None:
    cluster = make(max_trials=4, finals=finals, strategy=Strategy(ensemble=False)).run()
    assert [key for key in cluster.starts() if key[1] >= 3] == [(3, 3 + n) for n in range(finals)]
    assert cluster.delivered == {3: 1.0}


@pytest.mark.parametrize("finals", [1, 4])
def test_every_member_of_a_combination_gets_its_unscored_folds(finals: int) -> None:
    cluster = make(max_trials=4, finals=finals, slots=3, strategy=Strategy(ensemble=True)).run()
    assert sorted(key for key in cluster.starts() if key[1] >= 3) == [(t, 3 + n) for t in (2, 3) for n in range(finals)]
    assert cluster.delivered == {2: 0.5, 3: 0.5}
    assert cluster.most_in_flight <= 3


def test_speculative_fits_take_a_bounded_share_of_the_time() -> None:
    """Each new trial is better than all before, so without a bound each would be fitted."""
    cluster = make(finals=1, deadline_at=300.0, strategy=REFIT).run()
    search_end = cluster.schedule.stop_searching_at or 0.0
    spent = [a for a, at in zip(cluster.started, cluster.start_times, strict=True) if is_final(a) and at < search_end]
    assert len(spent) >= 5
    assert len(spent) * 1.0 <= SPECULATIVE_SHARE * search_end + 2.0
    assert cluster.delivered == {best_of(cluster): 1.0}


def test_speculative_fits_that_are_under_way_count_too() -> None:
    """Every second there is a new leader whose fit takes longer than that."""
    cluster = make(
        lambda a: Fate(seconds=12.5 if a.fold else 10.0 + a.trial % 8),
        scored=1,
        finals=1,
        slots=8,
        deadline_at=900.0,
        strategy=ONE_AFTER_ANOTHER,
    ).run(until=800.0)
    begun = [at for a, at in zip(cluster.started, cluster.start_times, strict=True) if a.fold == 1]
    assert len(begun) > 3
    # Predicted is up to 1.25 times what a fold of the trial took, here 12.5 s at least.
    assert all((place + 1) * 12.5 <= SPECULATIVE_SHARE * at for place, at in enumerate(begun) if place)


def test_the_first_speculative_fit_is_completed_even_if_the_lead_changes_meanwhile() -> None:
    """Better trials might follow each other faster than their fits end; one of them has to become ready."""
    cluster = make(
        lambda a: Fate(seconds=5.0 if a.fold else [1.0, 1.5, 0.4][min(a.trial, 2)]),
        scored=1,
        finals=2,
        deadline_at=200.0,
        strategy=ONE_AFTER_ANOTHER,
    ).run(until=12.0)
    assert cluster.starts()[:4] == [(0, 0), (1, 0), (0, 1), (0, 2)]
    assert cluster.rows[1].score == 10.0
    assert cluster.deliverable_from == pytest.approx(6.5)


def test_fits_of_trials_that_are_no_longer_wanted_are_stopped() -> None:
    cluster = make(
        lambda a: Fate(seconds=30.0 if is_final(a) and a.trial == 0 else 1.0),
        count=2,
        slots=2,
        finals=1,
        deadline_at=200.0,
        strategy=ONE_AFTER_ANOTHER,
    ).run()
    assert (0, 3) in cluster.starts()
    assert {(stop.trial, stop.fold) for _, stop in cluster.stops} == {(0, 3)}
    assert cluster.delivered == {1: 1.0}
    assert cluster.now < 20.0


def wanted_again(end_of_first: str = "done") -> Cluster:
    """Trial 1 is wanted, then trial 0, then trial 1 again, whose fit was being stopped meanwhile.

    Weights are chosen three times: trial 2 cannot be fitted, and then trial 0 cannot. Trial 1 does not listen.
    """
    chosen = {(0, 1, 2): {1: 0.5, 2: 0.5}, (0, 1): {0: 1.0}, (1,): {1: 1.0}}
    fits: list[int] = []

    def fate(action: StartFold) -> Fate:
        if not is_final(action):
            return Fate()
        fits.append(action.trial)
        first = fits.count(1) == 1
        # It is asked to stop at about 1.1 s after its start, and would be killed half a second later.
        return (
            Fate(end_of_first if first else "done", 1.3 if first else 2.0, deaf=True)
            if action.trial == 1
            else Fate("failed", 1.0 if action.trial == 2 else 0.1)
        )

    return make(
        fate,
        count=3,
        slots=4,
        finals=1,
        strategy=Strategy(ensemble=True),
        choose=lambda rows, trials, greater: Combination(
            chosen.get(trials, {trials[-1]: 1.0}), 99.0 if 2 in rows else 0.0
        ),
    ).run()


def test_a_fit_that_is_wanted_again_waits_until_its_stopped_predecessor_is_gone() -> None:
    cluster = wanted_again("hangs")
    assert [key for key in cluster.starts() if key[1] == 3] == [(2, 3), (1, 3), (0, 3), (1, 3)]
    assert cluster.delivered == {1: 1.0}


def test_a_fit_that_ends_well_although_it_was_being_stopped_counts() -> None:
    cluster = wanted_again("done")
    assert {(stop.trial, stop.fold, stop.force) for _, stop in cluster.stops} == {(1, 3, False)}
    assert [key for key in cluster.starts() if key[1] == 3] == [(2, 3), (1, 3), (0, 3)]
    assert cluster.delivered == {1: 1.0}


def test_fits_that_were_being_stopped_and_fail_do_not_count_against_their_trial() -> None:
    """An interrupted fit may end with an error of any kind."""
    cluster = wanted_again("failed")
    assert {(stop.trial, stop.fold, stop.force) for _, stop in cluster.stops} == {(1, 3, False)}
    assert [key for key in cluster.starts() if key[1] == 3] == [(2, 3), (1, 3), (0, 3), (1, 3)]
    assert cluster.delivered == {1: 1.0}


def test_a_fit_that_was_begun_goes_on_while_nothing_else_is_ready() -> None:
    """The best hangs; the fit of the second best, which was begun before, is all that there is at the deadline."""
    cluster = make(
        lambda a: Fate("hangs") if is_final(a) and a.trial == 1 else Fate(seconds=12.0 if is_final(a) else 1.0),
        count=2,
        finals=1,
        deadline_at=40.0,
        strategy=ONE_AFTER_ANOTHER,
    ).run()
    assert [key for key in cluster.starts() if key[1] == 3] == [(0, 3), (1, 3)]
    assert cluster.delivered == {0: 1.0}


def test_late_only_the_members_that_are_ready_are_delivered_and_their_weights_scaled() -> None:
    def three(rows: Mapping[int, LeaderboardRow], trials: tuple[int, ...], greater: bool) -> Combination:
        return Combination({0: 0.5, 1: 0.3, 2: 0.2}, 99.0, {"temperature": 1.5}, (98.0, 99.0))

    cluster = make(
        lambda a: Fate("hangs" if is_final(a) and a.trial == 0 else "done"),
        count=3,
        finals=2,
        slots=8,
        deadline_at=60.0,
        strategy=MEMBERS,
        choose=three,
    ).run()
    assert cluster.delivered == {1: 0.6, 2: 0.4}
    assert cluster.finish is not None
    assert cluster.finish.combination is not None
    assert cluster.finish.combination.settings == {"temperature": 1.5, "incomplete": True}
    assert cluster.now < 60.0


def test_late_the_weights_of_before_count_if_the_new_best_is_not_ready() -> None:
    cluster = make(
        lambda a: Fate("hangs") if is_final(a) and a.trial == 2 else Fate(seconds=20.0 if a.trial == 2 else 1.0),
        count=3,
        finals=1,
        deadline_at=150.0,
        strategy=Strategy(ensemble=True, race=False),
        combine_fate=lambda nth: ("done" if nth < 2 else "hangs", 0.1),
    ).run()
    assert [trials for _, trials in cluster.combines] == [(0,), (0, 1), (0, 1, 2)]
    assert best_of(cluster) == 2
    assert cluster.delivered == {0: 0.5, 1: 0.5}


def test_in_time_a_combination_is_delivered_as_it_was_chosen() -> None:
    chosen = Combination({0: 0.5, 1: 0.5}, 99.0, {"temperature": 1.5}, (98.0, 99.0))
    cluster = make(count=3, finals=1, deadline_at=90.0, strategy=MEMBERS, choose=lambda *_: chosen).run()
    assert cluster.finish is not None
    assert cluster.finish.combination == replace(chosen, chosen_from=(0, 1, 2))


@pytest.mark.parametrize("deadline_at", [None, 200.0])
@pytest.mark.parametrize("ensemble", [True, False])
@pytest.mark.parametrize("end", ["failed", "lost", "hangs"])
def test_when_the_best_cannot_be_fitted_the_next_best_is_delivered(
    end: str, ensemble: bool, deadline_at: float | None
) -> None:
    cluster = make(
        lambda a: Fate(end if is_final(a) and a.trial == 2 else "done"),
        count=3,
        finals=3,
        slots=4,
        fold_timeout_s=5.0,
        deadline_at=deadline_at,
        strategy=Strategy(ensemble=ensemble, race=deadline_at is not None),
    ).run()
    assert cluster.delivered == ({0: 0.5, 1: 0.5} if ensemble else {1: 1.0})
    assert cluster.finish is not None
    assert cluster.finish.reason == "completed"


def test_the_other_fits_of_a_trial_that_failed_are_stopped() -> None:
    cluster = make(
        lambda a: Fate("failed", 0.5) if (a.trial, a.fold) == (1, 4) else Fate(seconds=9.0 if is_final(a) else 1.0),
        count=2,
        finals=3,
        slots=4,
        strategy=Strategy(ensemble=False),
    ).run()
    assert {(stop.trial, stop.fold) for _, stop in cluster.stops} == {(1, 3), (1, 5)}
    assert cluster.delivered == {0: 1.0}


def test_a_lost_fit_is_repeated() -> None:
    lost: list[StartFold] = []

    def fate(action: StartFold) -> Fate:
        if is_final(action) and len(lost) < 2:
            lost.append(action)
            return Fate("lost", 0.2)
        return Fate()

    cluster = make(fate, count=2, finals=1, strategy=Strategy(ensemble=False)).run()
    assert len(lost) == 2
    assert cluster.delivered == {1: 1.0}


@pytest.mark.parametrize("limits", [{"max_trials": 3}, {"deadline_at": 60.0}])
def test_when_no_trial_can_be_fitted_the_error_says_why(limits: dict[str, float]) -> None:
    cluster = make(lambda a: Fate("failed" if is_final(a) else "done", 0.5), count=3, finals=2, **limits).run()
    assert cluster.error_code == "final-fit-failed"
    assert cluster.finish is not None
    assert cluster.finish.error is not None
    assert ERROR["message"] in cluster.finish.error["message"]


def test_fits_that_all_hang_meet_the_deadline_with_an_error() -> None:
    cluster = make(lambda a: Fate("hangs" if is_final(a) else "done"), finals=1, deadline_at=20.0, strategy=REFIT).run()
    assert cluster.error_code == "no-trial-finished"
    assert cluster.now < 20.0


def test_nothing_is_begun_when_it_is_too_late_for_it() -> None:
    """At the moment of delivery a lost fit is not started once more, only to be killed at once."""
    cluster = make(lambda a: Fate("hangs" if is_final(a) else "done"), count=1, finals=1, deadline_at=20.0).run(
        until=15.0
    )
    assert (0, 3) in cluster.alive
    deliver_at = cluster.schedule.delivery.deliver_at(cluster.rows)
    assert deliver_at is not None
    cluster.schedule.fold_lost(0, 3, ERROR, deliver_at)
    actions = cluster.schedule.plan(deliver_at)
    assert not any(isinstance(action, StartFold) for action in actions)


def test_known_trials_get_their_unscored_folds_too() -> None:
    first = make(count=3).run()
    known = {candidate_key(r.candidate): KnownTrial(r.results, r.row) for r in first.records}
    cluster = make(count=3, finals=2, known=known, strategy=Strategy(ensemble=True)).run()
    assert sorted(cluster.starts()) == [(1, 3), (1, 4), (2, 3), (2, 4)]
    assert cluster.delivered == {1: 0.5, 2: 0.5}


def test_a_restarted_trainer_after_the_deadline_delivers_what_was_there() -> None:
    before = make(deadline_at=40.0).run(until=30.0)
    after = make(deadline_at=40.0, recorded=before.recorded, at=39.2).run()
    assert after.delivered.keys() <= {row.trial for row in before.recorded}
    assert after.now < 40.0
    assert after.starts() == []
