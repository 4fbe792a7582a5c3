"""Broken clusters: grace, one at a time, backoff, quarantine, both policies; nothing for those that only start."""

from itertools import pairwise

import pytest

from rayctl.replicaset.options import Replacement, parse_drain, parse_replacement
from rayctl.replicaset.replacement import pause_s
from tests.unit.replicaset.worlds import (
    BEGAN,
    NS,
    STARTING,
    clusters,
    make_ready,
    names,
    new_world,
    settle,
    status,
)


def ready_world(replicas=2, **replacement):
    world = new_world(replicas=replicas, replacement=replacement)
    settle(world)
    make_ready(world)
    settle(world)
    return world


def break_down(world, name, **how):
    document = world.get("RayCluster", NS, name)
    world.set_status(document, status(at=world.now, **(how or {"head": False})))
    return settle(world)


def conditions(world):
    found = world.get("RayClusterReplicaSet", NS, "llm")["status"]["conditions"]
    return {c["type"]: c for c in found}


def test_within_the_grace_period_nothing_is_replaced():
    world = ready_world(gracePeriodSeconds=60)
    plan = break_down(world, "llm-0")
    assert plan.next_check_at == BEGAN + 60
    world.now += 5
    make_ready(world, "llm-0")
    settle(world)
    world.now += 600
    settle(world)
    assert names(world) == ["llm-0", "llm-1"]


def test_after_it_the_broken_one_goes_first_and_then_comes_a_new_one():
    world = ready_world(gracePeriodSeconds=60)
    break_down(world, "llm-0")
    world.now += 60
    settle(world)
    assert names(world) == ["llm-1", "llm-2"]
    assert [e.reason for e in world.events if e.kind == "Warning"] == ["ReplacingCluster"]


def test_surge_creates_first_and_deletes_when_the_new_one_serves():
    world = ready_world(gracePeriodSeconds=60, policy="Surge")
    break_down(world, "llm-0")
    world.now += 60
    settle(world)
    assert names(world) == ["llm-0", "llm-1", "llm-2"]
    world.now += 600
    settle(world)
    assert len(clusters(world)) == 3  # never more, however long it takes
    make_ready(world, "llm-2")
    settle(world)
    assert names(world) == ["llm-1", "llm-2"]


def test_surge_gives_the_new_one_up_if_the_old_one_recovers():
    world = ready_world(gracePeriodSeconds=60, policy="Surge")
    break_down(world, "llm-0")
    world.now += 60
    settle(world)
    make_ready(world, "llm-0")
    settle(world)
    assert names(world) == ["llm-0", "llm-1"]


def test_a_cluster_without_workers_has_no_time_of_its_own():
    world = ready_world(gracePeriodSeconds=60)
    world.now += 100
    plan = break_down(world, "llm-0", workers=0)
    assert plan.next_check_at == world.now + 60
    noted = world.get("RayClusterReplicaSet", NS, "llm")["status"]["unsettled"]
    assert [(n["name"], n["phase"]) for n in noted] == [("llm-0", "Unready")]
    world.now += 59
    settle(world)
    assert names(world) == ["llm-0", "llm-1"]
    world.now += 1
    settle(world)
    assert names(world) == ["llm-1", "llm-2"]


def test_never_ready_clusters_are_left_alone_unless_asked():
    # aibrix 5.4 (a): exactly as many as wanted, for ever.
    world = new_world(replicas=2)
    settle(world)
    for document in clusters(world):
        world.set_status(document, STARTING)
    for _ in range(20):
        world.now += 30
        settle(world)
        assert names(world) == ["llm-0", "llm-1"]


def test_a_startup_limit_replaces_them():
    world = new_world(replicas=1, replacement={"startupSeconds": 120})
    plan = settle(world)
    assert plan.next_check_at == BEGAN + 120
    world.now += 120
    settle(world)
    assert names(world) == ["llm-1"]


def test_one_at_a_time():
    world = ready_world(replicas=3, gracePeriodSeconds=10, backoffSeconds=30)
    for name in ("llm-0", "llm-1", "llm-2"):
        break_down(world, name)
    world.now += 10
    settle(world)
    assert len([n for n in names(world) if n in ("llm-0", "llm-1", "llm-2")]) == 2


def test_pauses_double_and_end():
    policy = Replacement(backoff_s=30)
    assert [pause_s(policy, n) for n in range(5)] == [0, 30, 60, 120, 240]
    assert pause_s(policy, 60) == 3600


def test_flapping_is_bounded_and_ends_in_quarantine():
    # aibrix 5.4 (d): broken as soon as it is ready; grace of a second.
    world = ready_world(replicas=1, gracePeriodSeconds=1, backoffSeconds=30, maxReplacements=4)
    times = []
    for _ in range(1200):
        for document in clusters(world):
            world.set_status(document, status(head=False, at=world.now))
        before = names(world)
        settle(world)
        if names(world) != before:
            times.append(world.now)
        world.now += 1
    assert len(times) == 4
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[-1] >= 2 * gaps[0]
    assert conditions(world)["Quarantined"]["status"] == "True"
    assert len(clusters(world)) == 1


def test_a_new_template_ends_the_quarantine():
    world = ready_world(replicas=1, gracePeriodSeconds=1, backoffSeconds=1, maxReplacements=0)
    break_down(world, "llm-0")
    world.now += 10
    settle(world)
    assert "Quarantined" in conditions(world)
    world.change(world.get("RayClusterReplicaSet", NS, "llm"), {"spec": {"replacement": {"maxReplacements": 1}}})
    settle(world)
    assert names(world) == ["llm-1"]
    make_ready(world)
    settle(world)
    assert "Quarantined" not in conditions(world)


def test_never():
    world = ready_world(gracePeriodSeconds=0, policy="Never")
    break_down(world, "llm-0")
    world.now += 10000
    settle(world)
    assert names(world) == ["llm-0", "llm-1"]


def test_scale_to_zero_with_a_broken_cluster():
    # aibrix 5.4 (e)
    world = ready_world(policy="Surge", gracePeriodSeconds=0)
    break_down(world, "llm-0")
    world.change(world.get("RayClusterReplicaSet", NS, "llm"), {"spec": {"replicas": 0}})
    settle(world)
    assert names(world) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"policy": "Later"}, "replacement.policy"),
        ({"gracePeriodSeconds": -1}, "replacement.gracePeriodSeconds"),
        ({"surge": True}, "replacement.surge"),
        ("now", "replacement is"),
    ],
)
def test_wrong_options_are_named(value, text):
    with pytest.raises(ValueError, match=text):
        parse_replacement(value)
    world = new_world(replacement=value)
    settle(world)
    assert names(world) == []
    assert conditions(world)["Ready"]["reason"] == "InvalidSpec"


def test_options_as_annotations():
    world = new_world(replicas=1, annotations={"rayctl.io/replacement": '{"gracePeriodSeconds": 7}'})
    settle(world)
    make_ready(world)
    settle(world)
    assert break_down(world, "llm-0").next_check_at == BEGAN + 7
    with pytest.raises(ValueError, match=r"drain\.seconds"):
        parse_drain({"seconds": "soon"})
