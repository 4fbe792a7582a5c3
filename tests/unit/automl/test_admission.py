"""Who starts, and how the cluster is shared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rayctl.automl.admission import Demand, TenantBound, fair_slots, may_start


def runs(*names: str, tenant: str = "", cpus: float = 1.0) -> list[Demand]:
    return [Demand(name, cpus, tenant=tenant) for name in names]


def test_runs_start_in_order_up_to_the_limit() -> None:
    assert may_start(runs("a", "b", "c"), runs("x"), max_running=3) == ["a", "b"]
    assert may_start(runs("a"), runs("x", "y", "z"), max_running=3) == []
    assert may_start(runs("a"), runs("w", "x", "y", "z"), max_running=3) == []


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


# Tenants ------------------------------------------------------------------------------------------------


def test_a_tenant_at_its_bound_lets_others_pass() -> None:
    waiting = [*runs("a1", "a2", "a3", tenant="a"), *runs("b1", "b2", tenant="b")]
    bounds = {"a": TenantBound(max_running=1)}
    assert may_start(waiting, [], 8, bounds) == ["a1", "b1", "b2"]
    assert may_start(waiting, runs("a0", tenant="a"), 8, bounds) == ["b1", "b2"]
    assert may_start(waiting, runs("a0", tenant="a"), 2, bounds) == ["b1"]


def test_a_run_starts_only_if_one_of_its_tasks_fits_into_its_tenants_cpus() -> None:
    bounds = {"a": TenantBound(max_cpus=3.0)}
    waiting = [*runs("a1", tenant="a", cpus=2.0), *runs("a2", tenant="a", cpus=1.0)]
    assert may_start(waiting, [], 8, bounds) == ["a1", "a2"]
    assert may_start(waiting, runs("a0", tenant="a", cpus=2.0), 8, bounds) == ["a2"]


def test_a_tenants_cpus_are_shared_by_its_runs_and_the_rest_is_for_others() -> None:
    demands = [*runs("a1", "a2", tenant="a"), *runs("b1", tenant="b")]
    found = fair_slots(demands, 16, bounds={"a": TenantBound(max_cpus=4.0)})
    assert found == {"a1": 2, "a2": 2, "b1": 13}


tenants = st.sampled_from(["a", "b", "c"])
some_demands = st.lists(
    st.tuples(tenants, st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.none() | st.integers(1, 4)), max_size=8
).map(lambda found: [Demand(f"r{n}", cpus, most, tenant) for n, (tenant, cpus, most) in enumerate(found)])
some_bounds = st.dictionaries(
    tenants,
    st.builds(TenantBound, st.none() | st.integers(1, 3), st.none() | st.sampled_from([2.0, 3.5])),
    max_size=3,
)


@given(some_demands, some_bounds, st.integers(1, 10), st.integers(1, 16))
def test_no_tenant_ever_exceeds_its_bounds(
    demands: list[Demand], bounds: dict[str, TenantBound], max_running: int, total: int
) -> None:
    started = set(may_start(demands, [], max_running, bounds))
    running = [demand for demand in demands if demand.run_id in started]
    assert len(running) <= max_running
    slots = fair_slots(running, total, bounds=bounds)
    for tenant, bound in bounds.items():
        own = [demand for demand in running if demand.tenant == tenant]
        assert bound.max_running is None or len(own) <= bound.max_running
        used = sum(slots[demand.run_id] * demand.cpus_per_task for demand in own)
        assert bound.max_cpus is None or used <= bound.max_cpus
    left_out = [demand for demand in demands if demand.run_id not in started]
    for demand in left_out:
        assert len(running) == max_running or demand.tenant in bounds, "nobody waits without a reason"
