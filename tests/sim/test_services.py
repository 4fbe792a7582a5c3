"""The RayService controller under every plan of faults. See test_fanout.py for the variables (fewer plans here)."""

from __future__ import annotations

import os

import pytest

from rayctl.testkit.plans import FAMILIES
from rayctl.testkit.simulation import Workload, explore, reference_of
from tests.sim.services import all_workloads

PLANS = int(os.environ.get("RAYCTL_TEST_SIM_PLANS", "2")) or None
CHAOS = int(os.environ.get("RAYCTL_TEST_SIM_CHAOS", "2"))
WORKLOADS = {workload.name: workload for workload in all_workloads()}


@pytest.fixture(params=list(WORKLOADS))
def workload(request: pytest.FixtureRequest) -> Workload:
    return WORKLOADS[request.param]


def test_all_switches_end_well_under_every_plan_of_faults(workload: Workload) -> None:
    summary = explore(workload, FAMILIES, PLANS, range(CHAOS))
    assert not summary.failed, str(summary)


def test_writes_without_faults() -> None:
    """First start (revision, record, cluster, label, two services, commit) and one switch of eight writes."""
    assert reference_of(WORKLOADS["service switched"]).writes <= 7 + 8 + 4
