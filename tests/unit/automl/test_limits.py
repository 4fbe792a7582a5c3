"""The arithmetic of time: phases at the end of a run, and the caps of a task."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayctl.automl.limits import ASSEMBLE_BYTES_PER_S, ASSEMBLE_S, FORECASTS_PER_S, Limits, TimeLeft
from rayctl.automl.tasks import Caps

START = 1.7e9


@given(
    budget=st.floats(0.1, 1e5),
    combine=st.floats(0.05, 1e4),
    size=st.floats(0, 1e11),
    finals=st.floats(0, 1e5),
)
def test_the_phases_follow_each_other_and_leave_time_for_the_search(
    budget: float, combine: float, size: float, finals: float
) -> None:
    left = TimeLeft(Limits(START, START + budget), combine, size, finals)
    assert left.stop_searching_at < left.deliver_at < START + budget
    assert left.stop_searching_at - START >= 0.39 * budget


def test_each_phase_gets_what_it_is_predicted_to_take() -> None:
    left = TimeLeft(Limits(0.0, 100.0), 2.0, 3 * ASSEMBLE_BYTES_PER_S, 5.0)
    assert left.deliver_at == pytest.approx(100.0 - ASSEMBLE_S - 1.0 - 3.0)
    assert left.stop_searching_at == pytest.approx(left.deliver_at - 7.0)
    many = replace(left, limits=replace(left.limits, forecasts=int(2 * FORECASTS_PER_S)))
    assert many.deliver_at == pytest.approx(left.deliver_at - 2.0)


def test_a_fold_may_take_its_share_of_the_computing_time() -> None:
    assert Limits(0.0).soft_fold_s(8, 5) is None
    assert Limits(0.0).budget_s is None
    assert Limits(100.0, 700.0).budget_s == 600.0
    assert Limits(100.0, 700.0).soft_fold_s(8, 5) == pytest.approx(600 * 8 / (6 * 5))
    assert Limits(0.0, 3.0).soft_fold_s(1, 8) == 0.5
    assert Limits(0.0, 600.0).soft_fold_s(2, 0) == 200.0


def test_a_task_counts_as_hanging_only_well_after_its_cap() -> None:
    assert Limits(0.0, fold_timeout_s=5.0).overdue_s > 2 * 5.0


# Caps of a task -----------------------------------------------------------------------------------------


def test_without_caps_a_task_may_take_its_time() -> None:
    assert Caps().remaining_s(START) is None
    assert Caps().self_stop_s(START) is None


def test_the_tighter_cap_counts() -> None:
    assert Caps(seconds=10.0).remaining_s(START) == 10.0
    assert Caps(seconds=10.0, deadline_at=START + 4).remaining_s(START) == pytest.approx(4.0)
    assert Caps(seconds=3.0, deadline_at=START + 4).remaining_s(START) == 3.0


def test_after_the_deadline_a_task_is_interrupted_at_once_but_not_in_the_past() -> None:
    assert Caps(deadline_at=START - 5).remaining_s(START) == 0.001


def test_a_model_ends_its_fit_before_it_would_be_interrupted() -> None:
    """A tenth of the time is for the predictions, at most 0.3 s."""
    assert Caps(seconds=1.0).self_stop_s(START) == pytest.approx(0.9)
    assert Caps(seconds=100.0).self_stop_s(START) == pytest.approx(99.7)
    assert Caps(seconds=100.0, deadline_at=START + 2).self_stop_s(START) == pytest.approx(1.8)


def test_the_soft_cap_ends_fits_but_does_not_interrupt() -> None:
    assert Caps(soft_s=4.0).self_stop_s(START) == 4.0
    assert Caps(soft_s=4.0).remaining_s(START) is None
    assert Caps(seconds=100.0, soft_s=4.0).self_stop_s(START) == 4.0
    assert Caps(seconds=2.0, soft_s=4.0).self_stop_s(START) == pytest.approx(1.8)


@given(
    seconds=st.one_of(st.none(), st.floats(0.01, 1e4)),
    left=st.one_of(st.none(), st.floats(-10, 1e4)),
    soft=st.one_of(st.none(), st.floats(0.5, 1e4)),
)
def test_a_fit_always_ends_itself_first(seconds: float | None, left: float | None, soft: float | None) -> None:
    caps = Caps(seconds, None if left is None else START + left, None, soft)
    remaining, own = caps.remaining_s(START), caps.self_stop_s(START)
    assert (own is None) == (remaining is None and soft is None)
    if remaining is not None:
        assert own is not None
        assert 0 < own < remaining
