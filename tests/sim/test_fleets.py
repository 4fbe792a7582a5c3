"""Fleets and replica sets under every plan of faults: crashes at every write, lost answers, stale reads, storms.

``RAYCTL_TEST_SIM_PLANS``: plans per family and workload (default 2; 0: all). ``RAYCTL_TEST_SIM_CHAOS``: chaos seeds.
"""

from __future__ import annotations

import os

import pytest

from rayctl.testkit.plans import FAMILIES
from rayctl.testkit.simulation import Workload, explore, reference_of
from tests.sim.fleets import all_workloads

PLANS = int(os.environ.get("RAYCTL_TEST_SIM_PLANS", "2")) or None
CHAOS = int(os.environ.get("RAYCTL_TEST_SIM_CHAOS", "2"))
WORKLOADS = {workload.name: workload for workload in all_workloads()}
LATE = {workload.name: workload for workload in all_workloads(late=1)}
LATE_FAMILIES = ("ambiguous",)


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_the_goal_is_reached_whatever_goes_wrong(name: str) -> None:
    workload: Workload = WORKLOADS[name]
    assert reference_of(workload).writes < 120
    summary = explore(workload, [family for family in FAMILIES if family not in LATE_FAMILIES], PLANS)
    assert not summary.failed, str(summary)


@pytest.mark.parametrize("name", list(LATE))
def test_answers_that_never_come(name: str) -> None:
    summary = explore(LATE[name], LATE_FAMILIES, PLANS, range(CHAOS))
    assert not summary.failed, str(summary)
