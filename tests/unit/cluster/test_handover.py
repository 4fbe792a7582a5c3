"""Clusters that KubeRay has made, in rayctl's hands: nothing that runs is touched, and what would be is foretold."""

from __future__ import annotations

from typing import Any

import pytest

from rayctl.cluster import keys
from rayctl.cluster.handover import Handover, give_back_cluster, take_over_cluster
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.seen import read_seen
from tests.unit.cluster.sample import World, cluster, env_of, group, made_by_kuberay

KUBERAY = ClusterOptions(token_by_default=False)


def from_kuberay(**asked: Any) -> World:
    """Return a cluster that runs in KubeRay's hands, as rayctl finds it."""
    world = World(cluster(**asked), KUBERAY)
    world.settle()
    made_by_kuberay(world)
    world.options = ClusterOptions()
    world.operator = "kuberay/kuberay-operator"
    return world


def judged(world: World) -> Handover:
    return take_over_cluster(read_seen(world.look(), world.options), world.now)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"groups": [group("a", 2), group("b", 3)]},
        {"groups": [group("tpu", 2, numOfHosts=3)]},
        {"upgradeStrategy": {"type": "Recreate"}},
        {"authOptions": {"mode": "token"}},
        {"enableInTreeAutoscaling": True},
        {"groups": []},
    ],
    ids=["plain", "groups", "hosts", "recreate", "token", "autoscaled", "head alone"],
)
def test_a_cluster_goes_on_as_it_is(asked: dict[str, Any]) -> None:
    world = from_kuberay(**asked)
    before = dict(world.pods)
    found = judged(world)
    assert (found.state, found.changes, found.keeps) == ("kept", (), len(before))
    assert world.plan().actions == (), "as long as the operator is there"
    world.operator = ""
    world.writes.clear()
    world.settle()
    assert world.pods == before
    assert not [write for write in world.writes if "Pod" in write]
    assert judged(world).settled


def test_a_cluster_that_was_started_without_a_token_gets_no_workers_that_want_one() -> None:
    """They could not join its head."""
    world = from_kuberay(groups=[group("small", 1)])
    world.operator = ""
    world.settle()
    assert world.cluster["metadata"]["annotations"][keys.UNPROTECTED] == "true"
    assert not world.secret
    assert [event.reason for event in world.events].count("StartedWithoutToken") == 1
    world.change(workerGroupSpecs=[group("small", 3)])
    world.settle()
    assert len(world.names("worker")) == 3
    assert not any("RAY_AUTH_MODE" in env_of(pod) for pod in world.pods.values())
    world.remove(world.names("head")[0])
    world.settle()
    assert "RAY_AUTH_MODE" not in env_of(world.pods[world.names("head")[0]]), "the workers of before have no token"


def test_who_asks_for_a_token_gets_one_and_keeps_it() -> None:
    world = from_kuberay(authOptions={"mode": "token"})
    world.operator = ""
    world.change(workerGroupSpecs=[group("small", 2)])
    world.settle()
    assert keys.UNPROTECTED not in world.cluster["metadata"]["annotations"]
    assert all(env_of(pod)["RAY_AUTH_MODE"] == "token" for pod in world.pods.values())


def test_a_cluster_of_rayctls_own_is_not_marked() -> None:
    world = World(cluster())
    world.settle()
    assert world.secret
    assert keys.UNPROTECTED not in world.cluster["metadata"]["annotations"]


def test_what_would_be_touched_is_said_before() -> None:
    world = from_kuberay(groups=[group("small", 3)])
    del world.pods[world.names("worker")[0]]
    found = judged(world)
    assert (found.state, found.keeps) == ("changes", 3)
    assert found.changes[0].startswith("pod sample-small-worker-")
    assert "is created" in found.changes[0]
    world.change(workerGroupSpecs=[group("other", 1)])
    found = judged(world)
    assert found.keeps == 1
    assert sum("is deleted" in text for text in found.changes) == 2


@pytest.mark.parametrize(
    ("asked", "state", "message"),
    [
        ({"managedBy": "kueue.x-k8s.io/multikueue"}, "elsewhere", "kueue"),
        ({"groups": [group("small", 1, maxReplicas=1, minReplicas=2)]}, "refused", "minReplicas"),
    ],
    ids=["another's", "invalid"],
)
def test_what_rayctl_would_not_look_after_is_said(asked: dict[str, Any], state: str, message: str) -> None:
    found = judged(World(cluster(**asked), KUBERAY))
    assert found.state == state
    assert message in found.message


def test_an_object_of_somebody_else_in_the_way_is_a_refusal() -> None:
    world = from_kuberay()
    service = next(item for (kind, _), item in world.children.items() if kind == "Service")
    service["metadata"]["ownerReferences"] = []
    found = judged(world)
    assert found.state == "refused"
    assert "belongs to somebody else" in found.message


def test_two_heads_are_a_refusal() -> None:
    world = from_kuberay()
    head = world.pods[world.names("head")[0]]
    world.pods["second"] = {**head, "metadata": {**head["metadata"], "name": "second", "uid": "second"}}
    assert (judged(world).state, "two heads" in judged(world).message) == ("refused", True)


@pytest.mark.parametrize(("strategy", "state"), [("None", "kept"), ("Recreate", "changes")])
def test_giving_back_warns_where_kuberay_compares_a_hash_of_its_own(strategy: str, state: str) -> None:
    world = World(cluster(upgradeStrategy={"type": strategy}))
    world.settle()
    found = give_back_cluster(read_seen(world.look(), world.options))
    assert found.state == state
    assert found.keeps == (2 if state == "kept" else 0)
