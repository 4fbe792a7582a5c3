"""Fleets on an imagined world: both planners take turns, an operator makes clusters ready when it is told to."""

import copy

from rayctl.fleet.imagined import ImaginedWorld
from rayctl.fleet.plan import plan_fleet
from rayctl.fleet.seen import parse_fleet
from rayctl.replicaset.plan import plan_replicaset
from tests.unit.replicaset import worlds as sets_worlds
from tests.unit.replicaset.worlds import BEGAN, NS, status, template


def fleet(name="llm", replicas=3, made=None, strategy=None, rollout=None, annotations=None, **spec):
    document = {
        "apiVersion": "orchestration.aibrix.ai/v1alpha1",
        "kind": "RayClusterFleet",
        "metadata": {"name": name, "namespace": NS, "annotations": annotations or {}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "llm"}},
            "template": made or template(),
            **spec,
        },
    }
    if strategy is not None:
        document["spec"]["strategy"] = strategy
    if rollout is not None:
        document["spec"]["rollout"] = rollout
    return document


def rolling(surge, unavailable):
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


class FleetWorld:
    """An imagined world with a fleet in it.

    ``lingering``: deleted clusters stay until `let_go`. ``pods``: cluster → pods that are left.
    """

    def __init__(self, document=None, lingering=False, **more):
        self.lingering = lingering
        self.world = ImaginedWorld(BEGAN, lambda d: self.lingering and d["kind"] == "RayCluster")
        self.name = (document or fleet(**more))["metadata"]["name"]
        self.world.put(document or fleet(**more))
        self.pods = []
        self.observed = {}

    # Reading ---------------------------------------------------------------------------------------

    @property
    def now(self):
        return self.world.now

    def pass_time(self, seconds):
        self.world.now += seconds

    @property
    def fleet(self):
        return self.world.get("RayClusterFleet", NS, self.name)

    @property
    def status(self):
        return self.fleet.get("status") or {}

    @property
    def conditions(self):
        return {c["type"]: c for c in self.status.get("conditions") or ()}

    @property
    def sets(self):
        return self.world.all("RayClusterReplicaSet", NS)

    @property
    def clusters(self):
        return self.world.all("RayCluster", NS)

    def sizes(self):
        """Sizes of sets in the order of their revisions."""
        by_revision = sorted(
            self.sets, key=lambda s: int(s["metadata"]["annotations"]["deployment.kubernetes.io/revision"])
        )
        return [s["spec"]["replicas"] for s in by_revision]

    def images(self):
        """How many clusters there are of each image."""
        found = {}
        for cluster in self.clusters:
            image = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
            found[image] = found.get(image, 0) + 1
        return found

    def reasons(self):
        return [event.reason for event in self.world.events]

    # Acting ----------------------------------------------------------------------------------------

    def look(self):
        return parse_fleet(
            {
                "fleet": self.fleet,
                "sets": self.sets,
                "pods": self.pods,
                "services": self.world.all("Service", NS),
                "observed": self.observed,
            }
        )

    def fleet_pass(self):
        plan = plan_fleet(self.look(), self.now)
        self.world.perform(plan)
        return plan

    def set_pass(self, name):
        plan = plan_replicaset(sets_worlds.look(self.world, name), self.now)
        self.world.perform(plan)
        return plan

    def turn(self):
        """Every controller once; returns whether something was written, and the fleet's plan."""
        plan = self.fleet_pass()
        writes = len(plan.writes)
        for document in self.sets:
            writes += len(self.set_pass(document["metadata"]["name"]).writes)
        return writes > 0, plan

    def settle(self, turns=200):
        for _ in range(turns):
            wrote, plan = self.turn()
            if not wrote:
                return plan
        raise AssertionError(f"still writing after {turns} turns: {plan}")

    def make_ready(self, image=None, names=None):
        for cluster in self.clusters:
            mine = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
            meant = image in (None, mine) and (names is None or cluster["metadata"]["name"] in names)
            if meant and cluster.get("status") is None and not cluster["metadata"].get("deletionTimestamp"):
                self.world.set_status(cluster, status(at=self.now))

    def roll_out(self, rounds=100, image=None):
        """Until nothing moves, with an operator that makes everything ready (of an image)."""
        for _ in range(rounds):
            plan = self.settle()
            before = copy.deepcopy(self.world.writes)
            self.make_ready(image)
            plan = self.settle()
            if len(before) == len(self.world.writes):
                return plan
        raise AssertionError("does not end")

    def let_go(self):
        for cluster in self.clusters:
            if cluster["metadata"].get("deletionTimestamp"):
                self.world.remove(cluster)

    def change(self, **spec):
        self.world.change(self.fleet, {"spec": spec})

    def set_image(self, image, **more):
        self.change(template=template(image=image, **more))

    def annotate(self, **annotations):
        self.world.change(self.fleet, {"metadata": {"annotations": annotations}})
