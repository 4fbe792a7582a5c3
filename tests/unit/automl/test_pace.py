"""Predicted seconds: the table of costs, corrected by what was measured."""

from __future__ import annotations

import pytest

from rayctl.automl.engine import Candidate, Cost
from rayctl.automl.pace import Pace

TABLE = {"tree": Cost(2.0, 5e6), "net": Cost(10.0, 9e6), "line": Cost(0.1, 1e6)}


@pytest.fixture
def pace() -> Pace:
    return Pace(lambda candidate: TABLE.get(candidate.model))


def test_before_anything_was_measured_the_table_counts(pace: Pace) -> None:
    assert pace.seconds(Candidate("tree")) == 2.0
    assert pace.memory_bytes(Candidate("tree")) == 5e6


def test_a_measurement_corrects_its_family_by_its_ratio(pace: Pace) -> None:
    pace.learn(Candidate("tree"), 6.0)
    assert pace.seconds(Candidate("tree")) == pytest.approx(6.0)
    assert pace.memory_bytes(Candidate("tree")) == 5e6


def test_other_families_get_the_median_of_what_was_found(pace: Pace) -> None:
    """A machine twice as slow is so for all models."""
    pace.learn(Candidate("tree"), 4.0)
    assert pace.seconds(Candidate("net")) == pytest.approx(20.0)
    pace.learn(Candidate("net"), 80.0)
    assert pace.seconds(Candidate("line")) == pytest.approx(0.1 * (2 * 8) ** 0.5)


def test_the_overhead_of_a_tiny_fold_makes_no_other_model_slow() -> None:
    """The naive method is predicted to take a millisecond, and a task alone takes many."""
    pace = Pace(lambda candidate: Cost(0.001 if candidate.model == "naive" else 2.0, 1e6))
    pace.learn(Candidate("naive"), 0.04)
    assert pace.seconds(Candidate("naive")) == pytest.approx(0.04)
    assert pace.seconds(Candidate("tree")) == 2.0


def test_newer_measurements_count_more_and_converge(pace: Pace) -> None:
    pace.learn(Candidate("tree"), 200.0)
    errors = []
    for _ in range(12):
        pace.learn(Candidate("tree"), 2.0)
        errors.append(abs((pace.seconds(Candidate("tree")) or 0.0) - 2.0))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05


def test_models_that_are_not_in_the_table_are_predicted_by_what_they_took(pace: Pace) -> None:
    own = Candidate("my.Model")
    assert pace.seconds(own) is None
    assert pace.memory_bytes(own) is None
    pace.learn(Candidate("tree"), 200.0)
    assert pace.seconds(own) is None
    pace.learn(own, 3.0)
    assert pace.seconds(own) == 3.0
    pace.learn(own, 5.0)
    assert 3.0 < (pace.seconds(own) or 0.0) < 5.0
    assert pace.seconds(Candidate("net")) == pytest.approx(1000.0)


def test_zero_seconds_are_not_an_infinite_correction(pace: Pace) -> None:
    pace.learn(Candidate("tree"), 0.0)
    assert 0 < (pace.seconds(Candidate("tree")) or 0.0) < 0.01


def test_folds_that_share_work_say_nothing_one_by_one() -> None:
    pace = Pace(lambda _: Cost(0.3, 1e6, peak=9.0, any_part_helps=False))
    for seconds in (2.7, 0.001, 0.001):
        pace.learn(Candidate("shared"), seconds)
    assert pace.seconds(Candidate("shared")) == 0.3
    assert (pace.peak(Candidate("shared")), pace.any_part_helps(Candidate("shared"))) == (9.0, False)
    unknown = Pace(lambda _: None)
    assert (unknown.peak(Candidate("any")), unknown.any_part_helps(Candidate("any"))) == (1.0, True)


def test_folds_are_quick_once_their_model_was_and_no_longer_when_one_was_not(pace: Pace) -> None:
    line = Candidate("line")
    assert pace.quick_s(line) is None  # only predicted
    pace.learn(line, 0.004)
    assert pace.quick_s(line) == pytest.approx(0.004)
    assert pace.quick_s(Candidate("tree")) is None
    pace.learn(line, 0.03)
    assert pace.quick_s(line) is None
    for _ in range(3):
        pace.learn(line, 0.004)
    assert pace.quick_s(line) is not None


def test_what_is_quick_depends_on_what_a_task_may_take(pace: Pace) -> None:
    line = Candidate("line")
    pace.learn(line, 0.1)
    assert pace.quick_s(line) is None
    assert pace.quick_s(line, 0.19) is None
    assert pace.quick_s(line, 0.21) == pytest.approx(0.1)
    pace.learn(line, 0.2)
    assert pace.quick_s(line, 0.21) is None
