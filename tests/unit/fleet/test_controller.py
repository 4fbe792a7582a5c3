"""What the controllers look at, and which objects concern which of their own."""

import asyncio

import pytest

from rayctl.core.controller import Refusal
from rayctl.core.plan import Create
from rayctl.fleet.controller import FleetController
from rayctl.fleet.view import fleet_view
from rayctl.kube.kinds import FLEETS, PODS, RAY_CLUSTERS, REPLICA_SETS, SERVICES
from rayctl.replicaset.controller import ReplicaSetController
from tests.unit.fleet.worlds import FleetWorld, rolling
from tests.unit.replicaset.worlds import NS, cluster

KINDS = {
    FLEETS: "RayClusterFleet",
    REPLICA_SETS: "RayClusterReplicaSet",
    RAY_CLUSTERS: "RayCluster",
    PODS: "Pod",
    SERVICES: "Service",
}


class Cache:
    """An imagined world as caches, and as what reads past them."""

    def __init__(self, world):
        self.world, self.asked = world, []

    def get(self, resource, namespace, name):
        return self.world.get(KINDS[resource], namespace, name)

    def all(self, resource, namespace=""):
        return self.world.all(KINDS[resource], namespace)

    def owned(self, resource, uid):
        return [
            item
            for item in self.all(resource)
            if uid in [owner["uid"] for owner in item["metadata"].get("ownerReferences") or ()]
        ]


class Reader:
    def __init__(self, cache, gone=False):
        self.cache, self.gone, self.asked = cache, gone, []

    async def get(self, resource, namespace, name):
        self.asked.append((resource.kind, name))
        return None if self.gone else self.cache.get(resource, namespace, name)

    async def list(self, resource, namespace, selector):
        self.asked.append((resource.kind, selector))
        label, _, value = selector.partition("=")
        found = self.cache.all(resource, namespace)
        return [item for item in found if (item["metadata"].get("labels") or {}).get(label) == value]


class Observer:
    async def work(self, document):
        if document["metadata"]["name"].endswith("0"):
            raise OSError("no route")
        return {"jobs": 2, "requests": 0}

    async def serve(self, document):
        await asyncio.sleep(0)
        return {"applications": {"llm": "RUNNING"}}

    async def metric(self, query):
        return {"value": 0.5}


def look(controller, cache, name="llm"):
    return asyncio.run(controller.look((NS, name), cache))


def test_a_fleet_that_is_gone_is_nothing():
    world = FleetWorld()
    world.world.remove(world.fleet)
    assert look(FleetController(), Cache(world.world)) is None
    assert look(ReplicaSetController(), Cache(world.world)) is None


def test_what_the_caches_do_not_know_yet_is_asked_for_before_something_is_made():
    world = FleetWorld()
    cache = Cache(world.world)
    assert look(FleetController(Reader(cache)), cache) is not None
    assert look(FleetController(Reader(cache, gone=True)), cache) is None  # deleted meanwhile
    world.roll_out()
    reader = Reader(cache)
    assert look(FleetController(reader), cache) is not None
    assert reader.asked == []  # a settled fleet costs no request


def test_the_same_for_sets():
    world = FleetWorld()
    world.fleet_pass()
    cache, name = Cache(world.world), world.sets[0]["metadata"]["name"]
    assert look(ReplicaSetController(None, Reader(cache, gone=True)), cache, name) is None
    world.roll_out()
    reader = Reader(cache)
    assert look(ReplicaSetController(None, reader), cache, name) is not None
    assert reader.asked == []


def test_an_orphan_concerns_those_who_would_take_it():
    world = FleetWorld()
    world.roll_out()
    cache, name = Cache(world.world), world.sets[0]["metadata"]["name"]
    controller = ReplicaSetController()
    look(controller, cache, name)
    labels = world.sets[0]["spec"]["template"]["metadata"]["labels"]
    keys = controller.watches[1].keys
    assert list(keys(cluster("orphan", labels=labels))) == [(NS, name)]
    assert list(keys(cluster("other", labels={"app": "x"}))) == []
    assert list(keys(world.clusters[0])) == [(NS, name)]
    fleets = FleetController()
    look(fleets, cache)
    assert list(fleets.watches[1].keys(world.sets[0])) == [(NS, "llm")]
    loose = {**world.sets[0], "metadata": {**world.sets[0]["metadata"], "ownerReferences": []}}
    assert list(fleets.watches[1].keys(loose)) == [(NS, "llm")]


def test_pods_are_looked_for_only_while_a_recreate_may_wait_for_them():
    world = FleetWorld(replicas=1, strategy={"type": "Recreate"})
    world.roll_out()
    cache = Cache(world.world)
    reader = Reader(cache)
    assert "pods" not in look(FleetController(reader), cache)
    world.set_image("ray:2.60")
    world.fleet_pass()
    labels = {"orchestration.aibrix.ai/raycluster-fleet-name": "llm", "ray.io/cluster": "old"}
    for name, phase in (("a", "Running"), ("b", "Succeeded")):
        metadata = {"name": name, "namespace": NS, "labels": labels}
        world.world.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": phase}})
    assert look(FleetController(reader), cache)["pods"] == [{"cluster": "old", "name": "a"}]


def test_open_gates_are_observed():
    gate = {"type": "Metric", "query": "q", "min": 0}
    steps = [{"setReplicas": 1}, {"gate": gate}, {"gate": {"type": "Serve"}}, {"pause": {}}]
    world = FleetWorld(strategy=rolling(1, 0), rollout={"strategy": "Canary", "steps": steps})
    world.roll_out()
    world.set_image("ray:2.60")
    world.roll_out()
    cache = Cache(world.world)
    controller = FleetController(Reader(cache), Observer())
    found = look(controller, cache)
    assert found["observed"] == {"metrics": {"q": {"value": 0.5}}}
    world.observed = found["observed"]
    world.roll_out()
    found = look(controller, cache)
    assert set(found["observed"]) == {"serve"}
    assert list(found["observed"]["serve"].values()) == [{"applications": {"llm": "RUNNING"}}]
    assert controller.plan(found, world.now).blocked_on is None


def test_work_is_asked_for_where_clusters_drain_or_are_chosen():
    world = FleetWorld(replicas=2, drain={"seconds": 60})
    world.roll_out()
    cache, name = Cache(world.world), world.sets[0]["metadata"]["name"]
    controller = ReplicaSetController(Observer())
    assert look(controller, cache, name)["work"] == {}
    world.change(replicas=1)
    world.fleet_pass()
    work = look(controller, cache, name)["work"]
    errors = [answer.get("error") for answer in work.values()]
    assert sorted(map(str, errors)) == ["None", "OSError: no route"]  # not to know is an answer
    # The one with fewer known jobs goes; of the other nobody knows of any.
    plan = controller.plan(look(controller, cache, name), world.now)
    drained = [a.ref.name for a in plan.writes if type(a).__name__ == "Patch"]
    assert drained == [f"{name}-0"]


@pytest.mark.parametrize("status", [403, 422])
def test_a_refused_set_is_told(status):
    world = FleetWorld()
    cache = Cache(world.world)
    controller = FleetController()
    found = look(controller, cache)
    create = next(a for a in controller.plan(found, world.now).singles if isinstance(a, Create))
    plan = controller.refused(found, Refusal(create, status, "Forbidden", "exceeded quota: sets"), world.now)
    world.world.perform(plan)
    assert world.conditions["Progressing"]["reason"] == "ReplicaSetCreateError"
    assert "exceeded quota: sets" in world.conditions["Ready"]["message"]
    assert world.reasons() == ["ReplicaSetCreateError"]


def test_trouble_of_the_server_is_told_but_is_not_the_end():
    """I10: a plain 5xx that lasts is a condition and an event; the rollout has not failed by that."""
    world = FleetWorld()
    controller = FleetController()
    found = look(controller, Cache(world.world))
    create = next(a for a in controller.plan(found, world.now).singles if isinstance(a, Create))
    refusal = Refusal(create, 503, "ServiceUnavailable", "the webhook does not answer", trouble=True)
    world.world.perform(controller.refused(found, refusal, world.now))
    told = {kind: (c["status"], c["reason"]) for kind, c in world.conditions.items()}
    assert told["Progressing"] == ("Unknown", "ServerTrouble")
    assert told["Ready"] == ("False", "ServerTrouble")
    assert world.reasons() == ["ServerTrouble"]
    view = fleet_view(world.fleet, [], [], world.now)
    assert (view["verdict"], view["reason"]) == ("progressing", "ServerTrouble")
    world.roll_out()
    assert world.conditions["Ready"]["status"] == "True"
