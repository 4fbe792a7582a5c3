"""What the metrics are told of a switch, from its record."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from rayctl.cluster.status import provisioned_s
from rayctl.core.controller import Document
from rayctl.service.controller import RayServiceController
from rayctl.service.phases import phases_of
from rayctl.service.record import Phase, Record
from rayctl.telemetry.metrics import Metrics
from tests.unit.service.world import World, cluster_spec, running

UNDER_WAY = Record(2, "a", "b", started_at=100.0).reached("prepare", 100.0)
SWITCHED = replace(
    UNDER_WAY.reached("promote-head", 130.0).reached("promote-serve", 131.0), phase=Phase.SWITCHED, ended_at=132.0
)
BACK = replace(UNDER_WAY.reached("roll-back", 150.0), phase=Phase.ROLLED_BACK, ended_at=153.0)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (UNDER_WAY, SWITCHED, {"prepare": 30.0, "move": 2.0, "total": 32.0}),
        (UNDER_WAY, BACK, {"back": 3.0, "rolled-back": 53.0}),
        (None, SWITCHED, {"prepare": 30.0, "move": 2.0, "total": 32.0}),
        (SWITCHED, SWITCHED.fulfils("other"), {}),
        (SWITCHED, replace(UNDER_WAY, serial=3), {}),
        (UNDER_WAY, UNDER_WAY.reached("overdue", 140.0), {}),
        (None, replace(SWITCHED, source=""), {}),
        (SWITCHED, None, {}),
    ],
)
def test_a_switch_that_has_just_ended_is_told(
    before: Record | None, after: Record | None, found: dict[str, float]
) -> None:
    assert phases_of(before, after) == found


class Unasked:
    """A way to Serve APIs that is not used."""

    async def look(self, cluster: Document) -> Mapping[str, Any]:
        raise AssertionError

    async def in_flight(self, cluster: Document, pods: Sequence[Document]) -> int | None:
        raise AssertionError


def test_the_controller_tells_every_switch_once() -> None:
    """One switch and one that is taken back, by every state that the object was in."""
    metrics = Metrics()
    world = running()
    states = [world.objects["RayService", "chat"]]

    def note(world: World) -> None:
        states.append(world.objects["RayService", "chat"])

    world.watchers.append(note)
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=100)
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:3"))
    while not world.record.get("to") or world.record["phase"] != "Forward":
        world.step()
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=100)
    for old, new in itertools.pairwise(states):
        RayServiceController(Unasked()).measure(old, new, metrics)
    lines = metrics.text().decode()
    assert 'rayctl_switchover_seconds_count{phase="total"} 1.0' in lines
    assert 'rayctl_switchover_seconds_count{phase="rolled-back"} 1.0' in lines


def cluster(*statuses: str) -> dict[str, object]:
    found = [
        {"type": "RayClusterProvisioned", "status": status, "lastTransitionTime": "2026-01-01T00:01:30Z"}
        for status in statuses
    ]
    return {"metadata": {"creationTimestamp": "2026-01-01T00:01:00Z"}, "status": {"conditions": found}}


@pytest.mark.parametrize(
    ("old", "new", "seconds"),
    [
        (cluster(), cluster("True"), 30.0),
        (cluster("False"), cluster("True"), 30.0),
        (cluster("True"), cluster("True"), None),
        (cluster("True"), cluster("False"), None),
        (cluster("False"), cluster("False"), None),
    ],
)
def test_a_cluster_that_becomes_complete_is_told(
    old: dict[str, object], new: dict[str, object], seconds: float | None
) -> None:
    assert provisioned_s(old, new) == seconds
