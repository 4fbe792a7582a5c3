"""Who starts, and how the cluster is shared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rayctl.automl.admission import Demand, fair_slots, may_start


def test_runs_start_in_order_up_to_the_limit() -> None:
    assert may_start(["a", "b", "c"], running=1, max_running=3) == ["a", "b"]
    assert may_start(["a"], running=3, max_running=3) == []
    assert may_start(["a"], running=4, max_running=3) == []


def test_a_single_run_gets_the_whole_cluster_and_one_to_spare() -> None:
    assert fair_slots([Demand("a", 1.0)], total_cpus=8) == {"a": 9}


def test_two_runs_share_equally_whatever_their_task_sizes() -> None:
    assert fair_slots([Demand("a", 1.0), Demand("b", 2.0)], total_cpus=8, strict=True) == {"a": 4, "b": 2}


def test_what_one_cannot_use_goes_to_the_other() -> None:
    assert fair_slots([Demand("a", 1.0, max_parallel=1), Demand("b", 1.0)], total_cpus=8, strict=True) == {
        "a": 1,
        "b": 7,
    }


def test_every_run_gets_one_even_on_a_full_cluster() -> None:
    slots = fair_slots([Demand(str(n), 1.0) for n in range(5)], total_cpus=2, strict=True)
    assert set(slots.values()) == {1}


def test_ceilings_are_strict() -> None:
    assert fair_slots([Demand("a", 1.0)], total_cpus=8, max_run_cpus=3) == {"a": 3}


@given(
    cpus=st.lists(st.sampled_from([0.5, 1.0, 2.0, 4.0]), min_size=1, max_size=6),
    total=st.floats(1, 64),
)
def test_shares_never_exceed_the_cluster_unless_each_has_only_one(cpus: list[float], total: float) -> None:
    demands = [Demand(str(n), c) for n, c in enumerate(cpus)]
    slots = fair_slots(demands, total, strict=True)
    used = sum(slots[d.run_id] * d.cpus_per_task for d in demands)
    assert used <= max(total, sum(cpus)) + 1e-9
    # Nobody could be given one more task without going over, or without others being poorer.
    assert all(slots[d.run_id] >= 1 for d in demands)
