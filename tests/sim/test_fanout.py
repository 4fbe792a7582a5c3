"""The kernel at work in a small controller, under every plan of faults.

``RAYCTL_TEST_SIM_PLANS``: plans per family and workload (default 12; 0: all). ``RAYCTL_TEST_SIM_CHAOS``: chaos seeds.
"""

from __future__ import annotations

import os

import pytest

from rayctl.testkit.plans import FAMILIES, FaultPlan, chaos
from rayctl.testkit.simulation import Workload, explore, reference_of, simulate
from tests.sim.workloads import all_workloads

PLANS = int(os.environ.get("RAYCTL_TEST_SIM_PLANS", "12")) or None
CHAOS = int(os.environ.get("RAYCTL_TEST_SIM_CHAOS", "20"))
WORKLOADS = {workload.name: workload for workload in all_workloads()}


@pytest.fixture(params=list(WORKLOADS))
def workload(request: pytest.FixtureRequest) -> Workload:
    return WORKLOADS[request.param]


def test_the_goal_is_reached_with_few_writes_when_nothing_goes_wrong(workload: Workload) -> None:
    reference = reference_of(workload)
    assert reference.writes <= 20


def test_it_is_reached_and_kept_under_every_plan_of_faults(workload: Workload) -> None:
    summary = explore(workload, FAMILIES, PLANS, range(CHAOS))
    assert not summary.failed, str(summary)
    assert sum(summary.runs.values()) > 80


def test_a_run_repeats_itself_bit_for_bit(workload: Workload) -> None:
    reference = reference_of(workload)
    for plan in [FaultPlan(seed=5), *(chaos(seed, reference) for seed in range(6))]:
        first, second = simulate(workload, plan), simulate(workload, plan)
        assert first == second
