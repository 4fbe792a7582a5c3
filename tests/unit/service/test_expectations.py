"""What KubeRay's own tests expect of a RayService (kept as black-box checks on objects, statuses and writes)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from rayctl.core.plan import Create, Emit
from rayctl.service.fingerprint import fingerprint, same_cluster
from tests.unit.service.world import World, cluster_spec, ray_service, running, serve_config

# Which edits count ------------------------------------------------------------------------------------


def edited(path: str, value: Any) -> dict[str, Any]:
    spec = copy.deepcopy(cluster_spec())
    here: Any = spec
    *parts, last = path.split(".")
    for part in parts:
        here = here[int(part)] if part.isdigit() else here.setdefault(part, {})
    here[int(last) if last.isdigit() else last] = value
    return spec


@pytest.mark.parametrize(("path", "value", "same"), [
    ("workerGroupSpecs.0.replicas", 5, True),
    ("workerGroupSpecs.0.minReplicas", 1, True),
    ("workerGroupSpecs.0.maxReplicas", 99, True),
    ("workerGroupSpecs.0.scaleStrategy", {"workersToDelete": ["a"]}, True),
    ("suspend", True, True),
    ("workerGroupSpecs.0.template.spec.tolerations", [{"key": "gpu"}], True),
    ("headGroupSpec.template.spec.tolerations", [{"key": "gpu"}], True),
    ("headGroupSpec.template.spec.schedulingGates", [{"name": "g"}], True),
    ("workerGroupSpecs.1", None, True),
    ("rayVersion", "2.61.0", False),
    ("headGroupSpec.rayStartParams", {"num-cpus": "0"}, False),
    ("headGroupSpec.template.spec.containers.0.image", "ray:2", False),
    ("workerGroupSpecs.0.template.spec.containers.0.image", "ray:2", False),
    ("workerGroupSpecs.0.groupName", "big", False),
    ("workerGroupSpecs.0.numOfHosts", 2, False),
    ("enableInTreeAutoscaling", True, False),
])  # fmt: skip
def test_32_which_edits_need_a_new_cluster(path: str, value: Any, same: bool) -> None:
    before = cluster_spec()
    after = cluster_spec() if path == "workerGroupSpecs.1" else edited(path, value)
    if path == "workerGroupSpecs.1":
        after["workerGroupSpecs"].append({**after["workerGroupSpecs"][0], "groupName": "second"})
    assert same_cluster(str(fingerprint(before)), before, after) is same
    assert same_cluster("", before, after) is same, "the same without a fingerprint, as KubeRay leaves it"


def test_32_groups_that_are_dropped_or_put_in_front_need_a_new_cluster() -> None:
    one = cluster_spec()
    two = copy.deepcopy(one)
    two["workerGroupSpecs"].insert(0, {**two["workerGroupSpecs"][0], "groupName": "first"})
    assert not same_cluster(str(fingerprint(one)), one, two)
    assert not same_cluster(str(fingerprint(two)), two, one)


def test_32_the_fingerprint_of_another_version_is_not_believed() -> None:
    spec = cluster_spec()
    assert same_cluster("v0:abc:def", spec, spec), "compared field by field instead"


# When a new cluster is prepared -----------------------------------------------------------------------


@pytest.mark.parametrize(("strategy", "edit", "clusters"), [
    ("NewCluster", {"rayClusterConfig": cluster_spec("ray:2")}, 2),
    ("NewCluster", {"rayClusterConfig": cluster_spec()}, 1),
    ("NewCluster", {"serveConfigV2": serve_config(args={"n": 2})}, 1),
    ("None", {"rayClusterConfig": cluster_spec("ray:2")}, 1),
    ("None", {"rayClusterConfig": cluster_spec("ray:2"), "serveConfigV2": serve_config(args={"n": 2})}, 1),
])  # fmt: skip
def test_33_when_a_new_cluster_is_prepared(strategy: str, edit: dict[str, Any], clusters: int) -> None:
    world = running(upgradeStrategy={"type": strategy})
    world.auto = False
    world.edit("RayService", "chat", **edit)
    world.settle(seconds=10)
    assert len(world.all("RayCluster")) == clusters
    assert (world.pending != "") is (clusters == 2)
    if strategy == "None":
        assert "args" in str(world.rays[world.active].config) if "serveConfigV2" in edit else True
        blocker = world.plan().blocked_on
        assert blocker is not None
        assert blocker.code == "UpgradeDisabled"


def test_33_a_broken_first_cluster_is_replaced_whatever_the_strategy() -> None:
    world = World(auto=False)
    world.add(ray_service(upgradeStrategy={"type": "None"}))
    world.settle(seconds=5)
    first = world.pending
    world.auto = True
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=10)
    assert world.active not in ("", first)
    assert len(world.all("RayCluster")) == 1


# Switching and gating ---------------------------------------------------------------------------------


def test_34_services_select_the_target_and_keep_their_address() -> None:
    world = running()
    old = world.active
    addresses = {}
    for entry in ("head", "serve"):
        service = world.get("Service", f"chat-{entry}-svc")
        assert service is not None
        addresses[entry] = service["metadata"]["uid"]
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=10)
    assert world.active != old
    for entry, selector in (
        ("head", {"ray.io/cluster": world.active, "ray.io/node-type": "head",
                  "ray.io/identifier": f"{world.active}-head", "app.kubernetes.io/name": "kuberay",
                  "app.kubernetes.io/created-by": "kuberay-operator"}),
        ("serve", {"ray.io/cluster": world.active, "ray.io/serve": "true"}),
    ):  # fmt: skip
        service = world.get("Service", f"chat-{entry}-svc")
        assert service is not None
        assert service["spec"]["selector"] == selector
        assert service["metadata"]["uid"] == addresses[entry]


@pytest.mark.parametrize(("exclude", "proxy", "label"), [
    (False, "HEALTHY", "true"), (False, "UNHEALTHY", "false"), (True, "HEALTHY", "false"),
])  # fmt: skip
def test_34_the_head_serves_exactly_while_its_proxy_does(exclude: bool, proxy: str, label: str) -> None:
    world = running(excludeHeadPodFromServeSvc=exclude)
    world.rays[world.active].proxy = proxy
    world.settle(seconds=3)
    head = world.get("Pod", f"{world.active}-head")
    assert head is not None
    assert head["metadata"]["labels"]["ray.io/serve"] == label


@pytest.mark.parametrize(("status", "moves"), [
    ("RUNNING", True), ("DEPLOYING", False), ("NOT_STARTED", False), ("UNHEALTHY", False), ("DEPLOY_FAILED", False),
])  # fmt: skip
def test_34_ready_means_that_all_applications_run(status: str, moves: bool) -> None:
    world = running()
    old = world.active
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    for _ in range(3):
        world.step()
    world.rays[world.pending].status = status
    world.settle(seconds=10)
    assert (world.pointers == (old, old)) is not moves


def test_34_an_old_answer_is_not_taken_for_the_new_configuration() -> None:
    """Between the submission and Serve's own change of state the old RUNNING is no proof of anything."""
    world = running()
    world.edit("RayService", "chat", serveConfigV2=serve_config(args={"n": 2}))
    world.rays[world.active].reachable = False
    world.settle(seconds=3)
    side = world.seen().sides(world.now)[world.active]
    assert side.ready is None
    world.rays[world.active].reachable = True
    side = world.seen().sides(world.now)[world.active]
    assert side.ready is False
    assert side.waits_for is not None
    assert side.waits_for.code == "ConfigPending"


@pytest.mark.parametrize(("case", "submitted"), [
    ("nothing changed", False), ("new text", True), ("same words in another order", False), ("state lost", True),
    ("head not ready", False), ("refused before", False),
])  # fmt: skip
def test_34_when_a_configuration_is_submitted(case: str, submitted: bool) -> None:
    world = running()
    name = world.active
    ray = world.rays[name]
    if case == "new text":
        world.edit("RayService", "chat", serveConfigV2=serve_config(args={"n": 2}))
    elif case == "same words in another order":
        text = "applications:\n- route_prefix: /\n  import_path: app:app\n  name: app\n"
        world.edit("RayService", "chat", serveConfigV2=text)
    elif case == "state lost":
        ray.config = None
    elif case == "head not ready":
        ray.head_ready = False
        world.operate()
        world.edit("RayService", "chat", serveConfigV2=serve_config(args={"n": 2}))
    elif case == "refused before":
        ray.rejects = "no such module"
        world.edit("RayService", "chat", serveConfigV2=serve_config(args={"n": 2}))
        world.settle(seconds=3)
        assert world.condition("ConfigValid") == ("False", "ConfigRejected")
        world.puts.clear()
    world.settle(seconds=10)
    assert (world.puts != []) is submitted


# Scenarios --------------------------------------------------------------------------------------------


def test_36_what_the_autoscaler_does_triggers_nothing_and_is_left_alone() -> None:
    world = running(rayClusterConfig=cluster_spec(enableInTreeAutoscaling=True))
    group = cluster_spec()["workerGroupSpecs"][0]
    scaled = {**group, "replicas": 4, "scaleStrategy": {"workersToDelete": ["w"]}}
    world.edit("RayCluster", world.active, workerGroupSpecs=[scaled])
    world.settle(seconds=10)
    live = world.all("RayCluster")
    assert len(live) == 1
    assert live[0]["spec"]["workerGroupSpecs"] == [scaled]


@pytest.mark.parametrize("when", ["active", "pending"])
def test_36_an_appended_group_is_added_in_place(when: str) -> None:
    world = running()
    image = "ray:1"
    if when == "pending":
        world.auto, image = False, "ray:2"
        world.edit("RayService", "chat", rayClusterConfig=cluster_spec(image))
        world.settle(seconds=5)
    name = world.pending or world.active
    grown = cluster_spec(image)
    grown["workerGroupSpecs"].append({**grown["workerGroupSpecs"][0], "groupName": "second"})
    world.edit("RayService", "chat", rayClusterConfig=grown)
    world.settle(seconds=5)
    assert (world.pending or world.active) == name
    cluster = world.get("RayCluster", name)
    assert cluster is not None
    assert [group["groupName"] for group in cluster["spec"]["workerGroupSpecs"]] == ["small", "second"]


def test_36_a_second_change_half_way_never_makes_a_third_cluster() -> None:
    world = running()
    old = world.active
    most: list[int] = []
    world.watchers.append(
        lambda w: most.append(sum(1 for c in w.all("RayCluster") if not c["metadata"].get("deletionTimestamp")))
    )
    world.auto = False
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=5)
    second = world.pending
    world.auto = True
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:3"))
    world.settle(seconds=100)
    assert max(most) == 2
    assert world.active not in (old, second)
    cluster = world.get("RayCluster", world.active)
    assert cluster is not None
    assert cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"] == "ray:3"


def test_40_the_old_head_dies_during_the_upgrade_and_the_new_side_takes_over() -> None:
    world = running()
    old = world.active
    world.auto = False
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=5)
    world.rays[old].head_ready = world.rays[old].workers_ready = False
    world.ready(world.pending)
    world.settle(seconds=5)
    assert world.active != old
    assert world.pointers == (world.active, world.active)
    assert world.condition("Ready") == ("True", "NonZeroServeEndpoints")


def test_40_while_a_fault_tolerant_head_is_replaced_the_workers_go_on_serving() -> None:
    """Nothing is switched, nothing moves, and the head takes requests again only when its proxy answers."""
    world = running(rayClusterConfig=cluster_spec(gcsFaultToleranceOptions={"redisAddress": "redis:6379"}))
    name = world.active
    assert world.status["numServeEndpoints"] == 2
    world.rays[name].head_ready, world.rays[name].proxy = False, "STARTING"
    world.settle(seconds=10)
    assert world.condition("Ready") == ("True", "NonZeroServeEndpoints")
    assert world.status["numServeEndpoints"] == 1
    world.rays[name].head_ready = True
    world.settle(seconds=10)
    assert world.status["numServeEndpoints"] == 1
    world.rays[name].proxy = "HEALTHY"
    world.settle(seconds=10)
    assert world.status["numServeEndpoints"] == 2
    assert world.puts == [], "its state was kept: nothing is submitted again"
    assert [c["metadata"]["name"] for c in world.all("RayCluster")] == [name]
    assert world.pointers == (name, name)


def test_40_a_configuration_and_a_cluster_changed_together_go_to_the_new_side_only() -> None:
    world = running()
    old = world.active
    world.auto = False
    config = serve_config(args={"n": 2})
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"), serveConfigV2=config)
    world.settle(seconds=5)
    world.ready(world.pending)
    world.rays[world.pending].status = "DEPLOYING"
    world.settle(seconds=5)
    assert world.puts == [world.pending]
    assert "args" not in str(world.rays[old].config)
    assert "args" in str(world.rays[world.pending].config)


def test_40_the_old_cluster_stays_as_long_as_the_delay_says() -> None:
    world = running(rayClusterDeletionDelaySeconds=30)
    old = world.active
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=28)
    assert world.get("RayCluster", old) is not None
    world.settle(seconds=10)
    assert world.get("RayCluster", old) is None


# Suspending and initializing ----------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["at rest", "during an upgrade", "from the beginning"])
def test_41_suspended_and_resumed(when: str) -> None:
    if when == "from the beginning":
        world = World()
        world.add(ray_service(suspend=True))
    else:
        world = running()
        if when == "during an upgrade":
            world.auto = False
            world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
            world.settle(seconds=5)
            assert len(world.all("RayCluster")) == 2
        world.edit("RayService", "chat", suspend=True)
    world.settle(seconds=5)
    assert world.all("RayCluster") == world.all("Service") == []
    assert world.condition("Suspended") == ("True", "SuspendComplete")
    assert world.condition("Suspending")[0] != "True"
    assert world.condition("Ready") == ("False", "SuspendComplete")
    assert (world.active, world.pending) == ("", "")
    before = world.revision
    world.settle(seconds=60, each=5)
    assert world.revision == before
    world.auto = True
    world.edit("RayService", "chat", suspend=False)
    world.settle(seconds=10)
    assert world.condition("Suspended") == ("False", "RayServiceResumed")
    assert world.condition("Ready") == ("True", "NonZeroServeEndpoints")


def test_41_suspending_is_carried_through_although_it_is_taken_back() -> None:
    world = running()
    old = world.active
    world.keep_terminating = True
    world.edit("RayService", "chat", suspend=True)
    world.settle(seconds=3)
    assert world.condition("Suspending") == ("True", "SuspendRequested")
    world.edit("RayService", "chat", suspend=False)
    world.settle(seconds=3)
    assert world.condition("Suspending") == ("True", "SuspendRequested")
    world.keep_terminating = False
    world.settle(seconds=10)
    assert world.condition("Ready") == ("True", "NonZeroServeEndpoints")
    assert world.active != old


@pytest.mark.parametrize("text", ["120", "2m", "1m60s"])
def test_41_a_first_cluster_that_never_serves_ends_in_a_timeout(text: str) -> None:
    world = World(auto=False)
    service = ray_service()
    service["metadata"]["annotations"] = {"ray.io/initializing-timeout": text}
    world.add(service)
    world.settle(seconds=115, each=5)
    assert world.condition("Ready") == ("False", "Initializing")
    world.settle(seconds=35, each=5)
    assert world.condition("Ready") == ("False", "InitializingTimeout")
    assert (world.active, world.pending) == ("", "")
    assert world.all("RayCluster") == []
    assert any(event.reason == "RayServiceInitializingTimeout" for event in world.events)
    world.settle(seconds=500, each=50)
    assert world.all("RayCluster") == [], "final, until the specification changes"
    world.auto = True
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=10)
    assert world.condition("Ready") == ("True", "NonZeroServeEndpoints")


def test_41_ready_before_the_timeout() -> None:
    world = running(annotations={"ray.io/initializing-timeout": "30s"})
    world.settle(seconds=100, each=5)
    assert world.condition("Ready") == ("True", "NonZeroServeEndpoints")


# Others -----------------------------------------------------------------------------------------------


def test_a_managed_elsewhere_service_is_left_alone() -> None:
    world = World()
    world.add(ray_service(managedBy="kueue.x-k8s.io/multikueue"))
    assert world.plan().actions == ()


def test_a_strangers_service_is_never_overwritten() -> None:
    world = World()
    world.add({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat-serve-svc"}, "spec": {"selector": {}}})
    world.add(ray_service())
    world.settle(seconds=10)
    service = world.get("Service", "chat-serve-svc")
    assert service is not None
    assert service["spec"] == {"selector": {}}
    blocker = world.plan().blocked_on
    assert blocker is not None
    assert blocker.code == "NameTaken"


def test_storage_namespaces_are_never_shared_by_two_clusters() -> None:
    pinned = {"redisAddress": "redis:6379", "externalStorageNamespace": "mine"}
    world = running(rayClusterConfig=cluster_spec(gcsFaultToleranceOptions=pinned))
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2", gcsFaultToleranceOptions=pinned))
    world.settle(seconds=5)
    names = {
        cluster["spec"]["gcsFaultToleranceOptions"]["externalStorageNamespace"] for cluster in world.all("RayCluster")
    }
    assert len(names) == 2
    assert all(name.startswith("mine-chat-") for name in names)


def test_kuberays_finalizer_is_released_when_the_clusters_are_gone() -> None:
    world = running()
    service = world.objects["RayService", "chat"]
    service["metadata"] |= {"finalizers": ["ray.io/rayservice-finalizer", "x/y"], "deletionTimestamp": "now"}
    world.settle(seconds=5)
    assert world.all("RayCluster") == []
    assert world.objects["RayService", "chat"]["metadata"]["finalizers"] == ["x/y"]


def test_an_upgrade_that_kuberay_began_is_carried_on() -> None:
    """Only KubeRay's own fields are there: no record, no fingerprints."""
    world = running()
    old = world.active
    world.auto = False
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=5)
    new = world.pending
    status = world.objects["RayService", "chat"]["status"]
    del status["switchover"]
    for cluster in world.all("RayCluster"):
        del cluster["metadata"]["annotations"]["rayctl.io/fingerprint"]
        del cluster["metadata"]["annotations"]["rayctl.io/switch"]
    world.ready(new)
    world.settle(seconds=100)
    assert world.active == new
    assert [cluster["metadata"]["name"] for cluster in world.all("RayCluster")] == [new]
    assert old not in world.pointers


def test_a_definition_that_prunes_the_record_is_no_danger() -> None:
    """KubeRay's definition drops status.switchover: the same ends, and what was given up is not tried for ever."""
    world = running()

    def prune(w: World) -> None:
        (w.objects["RayService", "chat"].get("status") or {}).pop("switchover", None)

    world.watchers.append(prune)
    old = world.active
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=100)
    assert world.active != old
    assert len(world.all("RayCluster")) == 1
    world.auto = False
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:3"))
    world.settle(seconds=2000, each=50)
    assert world.condition("SwitchoverSucceeded") == ("False", "DeadlineExceeded")
    made = sum(1 for write in world.writes if write[:2] == ("create", "RayCluster"))
    world.settle(seconds=6000, each=100)
    assert sum(1 for write in world.writes if write[:2] == ("create", "RayCluster")) == made
    assert len(world.all("RayCluster")) == 1


def test_names_are_made_once_and_never_again() -> None:
    world = running()
    names = {world.active}
    for image in ("ray:2", "ray:1", "ray:2", "ray:1"):
        world.edit("RayService", "chat", rayClusterConfig=cluster_spec(image))
        world.settle(seconds=100, each=2)
        assert world.active not in names
        names.add(world.active)
    assert all(name.startswith("chat-") and len(name) == len("chat-") + 5 for name in names)


def test_every_plan_that_does_nothing_says_what_it_waits_for() -> None:
    world = World(auto=False)
    world.add(ray_service())
    for _ in range(10):
        plan = world.step()
        world.now += 1
        if not plan.writes:
            assert plan.blocked_on is not None
            assert plan.next_check_at is not None
    assert plan.blocked_on is not None
    assert "chat-" in plan.blocked_on.message
    assert not any(isinstance(action, (Create, Emit)) for action in plan.singles)
