"""A cluster with state in Redis is deleted: its keys go first, and nothing can hold it for ever (expectation 28)."""

from __future__ import annotations

from typing import Any

import pytest

from rayctl.cluster import keys
from tests.unit.cluster.sample import World, cluster, env_of, group, template

REDIS = {"gcsFaultToleranceOptions": {"redisAddress": "redis:6379", "redisPassword": {"value": "p"}}}
CLEANUP = "sample-redis-cleanup"


def running(**asked: Any) -> World:
    world = World(cluster(**{**REDIS, **asked}))
    world.settle()
    assert world.cluster["metadata"]["finalizers"] == [keys.FINALIZER]
    return world


def reasons(world: World) -> list[str]:
    return [event.reason for event in world.events]


def test_the_finalizer_is_there_before_anything_is_kept() -> None:
    world = World(cluster(**REDIS))
    plan = world.plan()
    assert [type(action).__name__ for action in plan.writes] == ["Patch"]


def test_head_then_keys_then_cluster() -> None:
    world = running()
    world.lingering.add("sample-head")
    world.delete()
    world.apply(world.plan())
    world.apply(world.plan())
    assert CLEANUP not in world.pods, "a head that runs would write its keys again"
    del world.pods["sample-head"]
    world.apply(world.plan())
    env = env_of(world.pods[CLEANUP])
    assert env["RAY_external_storage_namespace"] == "uid-sample"
    assert (env["RAY_REDIS_ADDRESS"], env["REDIS_PASSWORD"]) == ("redis:6379", "p")
    assert "p" not in world.pods[CLEANUP]["spec"]["containers"][0]["args"]
    assert not world.gone
    world.pods[CLEANUP]["status"]["phase"] = "Succeeded"
    world.apply(world.plan())
    assert world.gone
    assert reasons(world)[-1] == "RedisCleanupVerified"


def test_a_failed_removal_is_tried_again_and_given_up_in_time() -> None:
    world = running()
    world.delete()
    began = world.now
    tries = 0
    for _ in range(200):
        plan = world.plan()
        world.apply(plan)
        if world.gone:
            break
        if CLEANUP in world.pods and world.pods[CLEANUP]["status"]["phase"] == "Pending":
            tries += 1
            world.fail(CLEANUP)
        world.now += 5
    assert world.gone
    assert tries > 3
    assert 300 <= world.now - began < 320
    assert "RedisCleanupFailed" in reasons(world)
    assert reasons(world)[-1] == "ForceDeletedStuckCluster"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        # The head never goes: a lost machine.
        ({}, "ForceDeletedStuckCluster"),
        # The specification became invalid meanwhile: half a migration.
        ({"workerGroupSpecs": [group(minReplicas=9, maxReplicas=1)]}, "ForceDeletedStuckCluster"),
        # Fault tolerance was switched off: whose keys is not known any more.
        ({"gcsFaultToleranceOptions": None}, "RedisStorageLeft"),
    ],
)
def test_traps_in_which_a_cluster_could_hang(change: dict[str, Any], reason: str) -> None:
    world = running()
    world.lingering.add("sample-head")
    world.change(**change)
    world.delete()
    for _ in range(100):
        plan = world.plan()
        world.apply(plan)
        if world.gone:
            break
        assert plan.next_check_at is not None
        world.now = max(world.now + 1, plan.next_check_at)
    assert world.gone
    assert reasons(world)[-1] == reason


def test_the_limit_is_the_users() -> None:
    world = running(annotations={keys.FT_DELETION_TIMEOUT: "20"})
    world.lingering.add("sample-head")
    world.delete()
    world.now += 19
    world.apply(world.plan())
    assert not world.gone
    world.now += 2
    world.apply(world.plan())
    assert world.gone


def test_an_invalid_cluster_is_cleaned_all_the_same() -> None:
    world = running()
    world.cluster["metadata"]["annotations"][keys.FT_ENABLED] = "true"
    world.delete()
    world.apply(world.plan())
    world.apply(world.plan())
    assert CLEANUP in world.pods


def test_a_namespace_that_is_going_holds_nothing_up() -> None:
    world = running()
    world.delete()
    world.apply(world.plan())
    create = next(action for action in world.plan().singles if getattr(action, "ref", None) and CLEANUP in str(action))
    world.apply(world.refuse(create, 403, "namespace default because it is being terminated"))
    assert world.gone
    assert reasons(world)[-1] == "RedisCleanupImpossible"


def test_a_quota_that_refuses_the_removal_is_waited_for() -> None:
    world = running()
    world.delete()
    world.apply(world.plan())
    create = next(action for action in world.plan().singles if getattr(action, "ref", None) and CLEANUP in str(action))
    plan = world.refuse(create, 403, "exceeded quota")
    assert plan.writes == ()
    assert plan.next_check_at is not None


def test_redis_beside_the_head_is_gone_with_it() -> None:
    world = running(gcsFaultToleranceOptions={"redisAddress": "127.0.0.1:6380"})
    world.delete()
    world.apply(world.plan())
    world.apply(world.plan())
    assert world.gone
    assert CLEANUP not in world.pods


def test_the_embedded_store_needs_no_finalizer_and_a_stale_one_goes() -> None:
    document = cluster(gcsFaultToleranceOptions={"backend": "rocksdb"})
    document["metadata"]["finalizers"] = ["mine.io/keep", keys.FINALIZER]
    world = World(document)
    world.settle()
    assert world.cluster["metadata"]["finalizers"] == ["mine.io/keep"]
    assert ("PersistentVolumeClaim", "sample-gcs-pvc") in world.children


def test_the_cleanup_pod_has_what_the_head_has_to_reach_redis() -> None:
    mounts = [{"name": "tls", "mountPath": "/tls"}]
    volumes = [{"name": "tls", "secret": {"secretName": "tls"}}, {"name": "data", "emptyDir": {}}]
    more = {"volumes": volumes, "nodeSelector": {"a": "b"}, "initContainers": [{"name": "x"}]}
    probes = {"livenessProbe": {}, "lifecycle": {}, "volumeMounts": mounts}
    world = running(head={"template": template(pod=more, **probes)})
    world.delete()
    world.apply(world.plan())
    world.apply(world.plan())
    pod = world.pods[CLEANUP]["spec"]
    assert pod["nodeSelector"] == {"a": "b"}
    assert [volume["name"] for volume in pod["volumes"]] == ["tls"]
    assert pod["restartPolicy"] == "Never"
    assert 290 < pod["activeDeadlineSeconds"] <= 300
    assert not {"initContainers", "livenessProbe", "lifecycle"} & {*pod, *pod["containers"][0]}
    labels = world.pods[CLEANUP]["metadata"]["labels"]
    assert labels[keys.NODE_TYPE] == "redis-cleanup"


def test_a_cluster_without_state_goes_at_once() -> None:
    world = World(cluster())
    world.settle()
    world.delete()
    assert world.plan().actions == ()
