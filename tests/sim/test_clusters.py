"""The RayCluster controller under plans of faults; `RAYCTL_TEST_SIM_PLANS` and `_CHAOS` as in `test_fanout`."""

from __future__ import annotations

import os

import pytest

from rayctl.testkit.plans import FAMILIES
from rayctl.testkit.simulation import Workload, explore, reference_of
from tests.sim.clusters import all_workloads

PLANS = int(os.environ.get("RAYCTL_TEST_SIM_PLANS", "1")) or None
CHAOS = int(os.environ.get("RAYCTL_TEST_SIM_CHAOS", "2"))
WORKLOADS = {workload.name: workload for workload in all_workloads()}


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_it_is_reached_and_kept_under_every_plan_of_faults(name: str) -> None:
    workload: Workload = WORKLOADS[name]
    reference_of(workload)
    summary = explore(workload, FAMILIES, PLANS, range(CHAOS))
    assert not summary.failed, str(summary)
