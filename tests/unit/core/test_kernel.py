"""Plans, gates, conditions and transition tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayctl.core.conditions import Condition, derive_ready, merge_conditions, parse_conditions
from rayctl.core.gates import PASS, Gate, Verdict, run_gates
from rayctl.core.plan import Blocker, Delete, Emit, Reason, Ref
from rayctl.core.states import IllegalTransition, Transition, TransitionTable

A = Ref("v1", "ConfigMap", "ns", "a", "u1")


def test_gates_run_in_order_until_one_stops_and_explain_themselves() -> None:
    gates = [
        Gate[int]("first", lambda seen, now: PASS),
        Gate[int](
            "second", lambda seen, now: Verdict((Delete(A),), "Surplus", f"{seen} too many", next_check_at=now + 9)
        ),
        Gate[int]("third", lambda seen, now: Verdict((), "Waiting", "", True, now + 5, Blocker("Quota", "no room", A))),
        Gate[int]("fourth", lambda seen, now: Verdict((Emit(A, "Normal", "Never", ""),))),
    ]
    plan = run_gates(gates, 2, 100.0)
    assert plan.actions == (Delete(A),)
    assert plan.because == (Reason("second", "Surplus", "2 too many"), Reason("third", "Waiting", ""))
    assert plan.next_check_at == 105.0
    assert plan.blocked_on == Blocker("Quota", "no room", A)
    assert str(A) == "ConfigMap ns/a"


def test_the_time_of_a_condition_moves_only_when_its_status_flips() -> None:
    first = merge_conditions({}, [Condition("Ready", "False", "Starting")], 100.7, 1)
    again = merge_conditions({c.type: c for c in first}, [Condition("Ready", "False", "Waiting", "for x")], 200.0, 2)
    assert (again[0].transition_at, again[0].reason, again[0].observed_generation) == (100, "Waiting", 2)
    flipped = merge_conditions({c.type: c for c in again}, [Condition("Ready", "True", "Up")], 300.0, 2)
    assert flipped[0].transition_at == 300
    assert parse_conditions([c.document() for c in flipped]) == {"Ready": flipped[0]}
    other = Condition("Theirs", "True", "Other", transition_at=5)
    assert other in merge_conditions({"Theirs": other}, [Condition("Ready", "True", "Up")], 1.0, 1)
    with pytest.raises(ValueError, match="one word"):
        Condition("Ready", "True", "two words")


def test_damaged_conditions_count_as_unknown() -> None:
    found = parse_conditions([{"type": "A", "status": "maybe", "reason": ""}, {"status": "True"}, {}])
    assert found == {"A": Condition("A", "Unknown", "Unreadable")}


def test_ready_names_the_first_thing_that_is_missing_and_trusts_no_old_look() -> None:
    up, down = (
        Condition("HeadUp", "True", "Up", observed_generation=2),
        Condition("Serving", "False", "NoRoutes", "none", 2),
    )
    assert derive_ready([up], ["HeadUp"], 2).is_true
    assert derive_ready([up, down], ["HeadUp", "Serving"], 2).reason == "NoRoutes"
    assert derive_ready([up], ["HeadUp"], 3).status == "Unknown"
    assert derive_ready([], ["HeadUp"], 1).message == "HeadUp has not been observed yet"
    assert derive_ready([replace(down, status="True"), up], ["HeadUp", "Serving"], 2).is_true


TABLE = TransitionTable(
    [
        Transition("new", "running", "started"),
        Transition("running", "done", "finished"),
        Transition("running", "failed", "broke"),
        Transition("failed", "running", "tried again"),
    ],
    "new",
)


def test_a_table_answers_questions() -> None:
    assert TABLE.is_terminal("done")
    assert not TABLE.is_terminal("failed")
    assert TABLE.reachable_from("failed") == {"running", "done", "failed"}
    assert all(TABLE.paths_to_end(state) for state in TABLE.states)
    assert TABLE.check("new", "running").because == "started"
    with pytest.raises(IllegalTransition, match="done cannot become new; what can follow is none: it is final"):
        TABLE.check("done", "new")
    with pytest.raises(ValueError, match="never be reached"):
        TransitionTable([Transition("a", "b", ""), Transition("c", "d", "")], "a")
    with pytest.raises(ValueError, match="twice"):
        TransitionTable([Transition("a", "b", ""), Transition("a", "b", "x")], "a")


@given(steps=st.lists(st.sampled_from(sorted(TABLE.states)), max_size=6))
def test_only_steps_of_the_table_are_allowed(steps: list[str]) -> None:
    state = TABLE.initial
    for target in steps:
        if target in TABLE.targets(state):
            state = TABLE.check(state, target).target
        else:
            with pytest.raises(IllegalTransition):
                TABLE.check(state, target)
