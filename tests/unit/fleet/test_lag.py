"""A fleet whose sets have not told of their clusters yet, or whose clusters are still going: it waits with growing."""

from rayctl.core.plan import Create, Patch
from tests.unit.fleet.worlds import FleetWorld, rolling
from tests.unit.replicaset.worlds import NS, look, status


def ready_fleet(**more):
    world = FleetWorld(**more)
    world.roll_out()
    return world


def test_a_new_revision_begins_empty_while_an_old_set_does_not_know_its_size():
    world = ready_fleet(replicas=3, strategy=rolling(1, 0))
    (old,) = world.sets
    world.world.change(old, {"spec": {"replicas": 1}})  # by hand; three are still there
    world.set_image("ray:2.60")
    (made,) = [action for action in world.fleet_pass().actions if isinstance(action, Create)]
    assert made.document["spec"]["replicas"] == 0
    world.roll_out()
    assert world.sizes() == [0, 3]


def test_an_old_set_is_not_made_smaller_twice_before_it_has_told():
    world = ready_fleet(replicas=4, strategy=rolling(0, 2))
    for document in world.clusters:
        world.world.set_status(document, status(head=False, at=world.now))
    world.set_pass(world.sets[0]["metadata"]["name"])
    world.set_image("ray:2.60")
    world.fleet_pass()
    world.fleet_pass()
    before = world.sizes()
    assert before[0] == 2
    plan = world.fleet_pass()
    assert world.sizes() == before
    assert plan.blocked_on.code == "WaitingForReplicaSet"


def test_scaling_up_while_paused_waits_for_what_is_going_and_is_not_forgotten():
    world = ready_fleet(replicas=3, strategy=rolling(1, 0), lingering=True)
    world.set_image("ray:2.60")
    world.settle()
    assert world.sizes() == [3, 1]
    world.change(paused=True, replicas=1)
    world.settle()
    assert world.sizes() == [1, 1]
    world.change(replicas=3)
    plan = world.settle()
    assert len(world.clusters) == 4
    assert sum(world.sizes()) < 4
    assert plan.blocked_on.code == "WaitingForDeletion"
    world.let_go()
    world.settle()
    assert sum(world.sizes()) == 4


def test_recreate_with_two_sets_in_use_goes_on_although_it_is_scaled():
    world = ready_fleet(replicas=3, strategy=rolling(1, 0))
    world.set_image("ray:2.60")
    world.settle()
    assert len([size for size in world.sizes() if size]) == 2
    world.change(strategy={"type": "Recreate", "rollingUpdate": None}, replicas=2)
    world.roll_out()
    assert world.sizes() == [0, 2]
    assert world.conditions["Ready"]["status"] == "True"


def test_what_does_not_serve_yet_goes_first():
    world = ready_fleet(replicas=2, minReadySeconds=60)
    world.pass_time(100)
    world.settle()
    world.world.set_status(world.clusters[0], status(at=world.now))  # it has just come back
    name = world.sets[0]["metadata"]["name"]
    world.world.change(world.sets[0], {"spec": {"replicas": 1}})
    world.set_pass(name)
    assert [c["metadata"]["name"] for c in world.clusters] == [f"{name}-1"]


def test_names_are_noted_before_a_cluster_goes():
    """A pass that ended after its creations, before it told of them, must not lead to the same name twice."""
    world = FleetWorld(replicas=2)
    world.fleet_pass()
    name = world.sets[0]["metadata"]["name"]
    for action in world.set_pass(name).singles:
        assert not isinstance(action, Patch)
    found = world.world.get("RayClusterReplicaSet", NS, name)
    world.world.set_status(found, {})  # as before
    world.world.change(found, {"spec": {"replicas": 1}})
    world.set_pass(name)
    assert len(world.clusters) == 2
    assert look(world.world, name).memory.next_ordinal == 2
    world.set_pass(name)
    assert len(world.clusters) == 1


def test_where_a_definition_of_others_drops_what_is_noted_clusters_go_all_the_same():
    world = ready_fleet(replicas=3)
    name = world.sets[0]["metadata"]["name"]
    world.world.change(world.sets[0], {"spec": {"replicas": 1}})
    for _ in range(4):
        world.set_pass(name)
        found = world.world.get("RayClusterReplicaSet", NS, name)
        world.world.set_status(found, {key: value for key, value in found["status"].items() if key != "nextOrdinal"})
    assert len(world.clusters) == 1
