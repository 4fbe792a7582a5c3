"""After a head without fault tolerance began anew, its workers count only when they have joined it."""

from __future__ import annotations

from typing import Any

import pytest

from rayctl.cluster.rejoin import NOTICED_S, REASON
from tests.unit.cluster.sample import World, cluster, group, moment

FT = {"gcsFaultToleranceOptions": {"redisAddress": "redis:6379"}}
HEAD, FIRST, SECOND = "sample-head", 0, 1


def began(world: World, name: str, at: float, restarts: int = 0) -> None:
    """Have Ray's container of a pod run since then."""
    run = {"name": "ray", "ready": True, "restartCount": restarts, "state": {"running": {"startedAt": moment(at)}}}
    world.pods[name]["status"]["containerStatuses"] = [run]


def settled(**asked: Any) -> World:
    world = World(cluster(groups=[group(replicas=2)], **asked))
    world.settle()
    for name in world.pods:
        began(world, name, world.now)
    world.now += 100
    return world


def workers(world: World) -> list[str]:
    return sorted(name for name in world.pods if name != HEAD)


def ready(world: World) -> tuple[str, str, int]:
    world.now += 3
    world.apply(world.plan())
    status = world.cluster["status"]
    found = next(item for item in status["conditions"] if item["type"] == "Ready")
    return found["status"], found["message"], status["readyWorkerReplicas"]


def test_workers_of_the_head_before_are_not_ready_until_they_have_begun_anew_too() -> None:
    world = settled()
    assert ready(world) == ("True", "", 2)
    began(world, HEAD, world.now, restarts=1)
    assert ready(world) == ("False", f"0 of 2 workers of small are ready ({REASON})", 0)
    began(world, workers(world)[FIRST], world.now, restarts=1)
    assert ready(world) == ("False", f"1 of 2 workers of small are ready ({REASON})", 1)
    began(world, workers(world)[SECOND], world.now, restarts=1)
    assert ready(world) == ("True", "", 2)


def test_the_probes_are_believed_again_once_they_must_have_noticed() -> None:
    world = settled()
    began(world, HEAD, at := world.now, restarts=1)
    plan = world.plan()
    assert plan.next_check_at == pytest.approx(at + NOTICED_S, abs=1)
    world.now = at + NOTICED_S + 1
    assert ready(world) == ("True", "", 2)
    assert world.plan().next_check_at is None


def test_a_new_heads_pod_counts_like_a_restart() -> None:
    world = settled()
    world.pods[HEAD]["metadata"]["creationTimestamp"] = moment(world.now)
    began(world, HEAD, world.now)
    assert ready(world)[0] == "False"


def test_a_first_head_that_was_slower_than_its_workers_is_no_reason() -> None:
    world = settled()
    began(world, HEAD, world.now)
    assert ready(world) == ("True", "", 2)


def test_with_fault_tolerance_workers_stay() -> None:
    world = settled(**FT)
    began(world, HEAD, world.now, restarts=1)
    assert ready(world) == ("True", "", 2)
