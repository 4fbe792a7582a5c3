"""What holds whatever happens: bounds, ownership, numbers, convergence (I1-I10), under random histories."""

from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rayctl.core.plan import Create, Delete, Emit
from rayctl.fleet.arithmetic import fenceposts
from tests.unit.fleet.worlds import FleetWorld, rolling
from tests.unit.replicaset.worlds import NS, STARTING, cluster, status, template

REVISION = "deployment.kubernetes.io/revision"
BOUND = st.one_of(st.integers(0, 3), st.sampled_from(["0%", "25%", "50%", "100%"]))


def available(world):
    there = [c for c in own(world) if not c["metadata"].get("deletionTimestamp")]
    return sum(1 for c in there if ready(c) and "rayctl.io/draining-since" not in c["metadata"]["annotations"])


def own(world):
    return [c for c in world.clusters if c["metadata"].get("ownerReferences")]


def ready(document):
    return any(
        c["type"] == "RayClusterProvisioned" and c["status"] == "True"
        for c in (document.get("status") or {}).get("conditions") or ()
    )


class Watched:
    """A fleet's world that looks at every single write."""

    def __init__(self, world, surge, unavailable):
        self.w, self.surge, self.unavailable = world, surge, unavailable
        self.counting = False
        self.numbers = {}
        self.act, world.world.act = world.world.act, self.checked
        self.foreign = {d["metadata"]["uid"] for d in world.clusters if not d["metadata"].get("ownerReferences")}
        self.observed = 0

    def bounds(self):
        replicas = self.w.fleet["spec"]["replicas"]
        more, fewer = fenceposts(self.surge, self.unavailable, replicas)
        return replicas, (replicas + more if replicas else 0), replicas - min(fewer, replicas)

    def checked(self, action):
        if isinstance(action, Delete):
            assert action.ref.uid, "a deletion without a uid"
            assert action.ref.uid not in self.foreign, "a stranger's cluster is deleted"  # I8
        before_available, before = available(self.w), len(self.w.clusters)
        self.act(action)
        if isinstance(action, Emit):
            return
        _, most, fewest = self.bounds()
        mine = [c for c in self.w.clusters if c["metadata"]["uid"] not in self.foreign]
        if isinstance(action, Create) and action.ref.kind == "RayCluster":
            assert len(mine) <= max(most, before - len(self.foreign)), f"{len(mine)} clusters, {most} allowed"  # I2
        if isinstance(action, Delete) and action.ref.kind == "RayCluster" and available(self.w) < before_available:
            assert available(self.w) >= fewest or self.scaled_down, f"{available(self.w)} available"  # I3
        total = sum(s["spec"]["replicas"] for s in self.w.sets)
        if isinstance(action, Create) and action.ref.kind == "RayClusterReplicaSet":
            assert total <= max(most, total - action.document["spec"]["replicas"])  # I1
        for found in self.w.sets:  # I5
            number = int(found["metadata"]["annotations"][REVISION])
            assert number >= self.numbers.get(found["metadata"]["uid"], 0)
            self.numbers[found["metadata"]["uid"]] = number
        assert max(Counter(self.numbers[s["metadata"]["uid"]] for s in self.w.sets).values(), default=1) == 1
        seen = self.w.status.get("observedGeneration", 0)
        assert self.observed <= seen <= self.w.fleet["metadata"]["generation"]  # I9
        self.observed = seen

    scaled_down = False


class Story:
    """Random things happen to a fleet."""

    def __init__(self, data, lingering, surge, unavailable, **more):
        self.data = data
        self.w = FleetWorld(lingering=lingering, strategy=rolling(surge, unavailable), **more)
        self.w.world.put(cluster("foreign", labels={"app": "other"}))
        self.watch = Watched(self.w, surge, unavailable)
        self.broken = set()

    def draw(self, strategy):
        return self.data.draw(strategy)

    def happen(self):
        what = self.draw(
            st.sampled_from(["fleet", "fleet", "sets", "sets", "ready", "ready", "time", "image", "scale", "gone"])
        )
        getattr(self, what)()

    def fleet(self):
        self.w.fleet_pass()

    def sets(self):
        names = [s["metadata"]["name"] for s in self.w.sets]
        if names:
            self.w.set_pass(self.draw(st.sampled_from(names)))
            self.watch.scaled_down = False

    def ready(self):
        waiting = {c["metadata"]["name"]: c for c in own(self.w) if not ready(c)}
        if waiting:
            name = self.draw(st.sampled_from(sorted(waiting)))
            self.w.world.set_status(waiting[name], status(at=self.w.now))

    def time(self):
        self.w.pass_time(self.draw(st.integers(1, 400)))

    def image(self):
        self.w.set_image(f"ray:{self.draw(st.integers(1, 3))}")

    def scale(self):
        wanted = self.draw(st.integers(0, 6))
        if wanted != self.w.fleet["spec"]["replicas"]:
            self.watch.scaled_down = True
            self.w.change(replicas=wanted)
            self.scale_settles()

    def scale_settles(self):
        # The bounds have moved; until both controllers have seen that, the old ones hold.
        self.w.settle()
        self.watch.scaled_down = False

    def gone(self):
        self.w.let_go()


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.booleans(), BOUND, BOUND, st.integers(1, 5), st.integers(0, 2))
def test_never_too_many_never_too_few_and_nothing_foreign(data, lingering, surge, unavailable, replicas, drain):
    story = Story(
        data, lingering, surge, unavailable, replicas=replicas, **({"drain": {"seconds": 300}} if drain else {})
    )
    for _ in range(data.draw(st.integers(5, 40))):
        story.happen()
    finish(story.w)


def finish(world):
    """With an operator that makes everything ready and lets everything go, the goal is reached and all is still."""
    for _ in range(60):
        world.settle()
        world.let_go()
        for document in own(world):
            if not ready(document):
                world.world.set_status(document, status(at=world.now))
        world.pass_time(400)
        if world.conditions.get("Ready", {}).get("status") == "True" and not world.turn()[0]:
            break
    wanted = world.fleet["spec"]["replicas"]
    image = world.fleet["spec"]["template"]["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    mine = world.images()
    assert len(world.clusters) == wanted + 1, mine  # and the stranger's
    active = [s for s in world.sets if s["spec"]["replicas"] > 0 or wanted == 0]
    assert wanted == 0 or len(active) == 1  # I4
    assert mine.get(image, 0) >= wanted
    assert world.status["availableReplicas"] == wanted
    assert world.status["observedGeneration"] == world.fleet["metadata"]["generation"]
    before = len(world.world.writes)
    world.pass_time(300)
    world.settle()
    assert len(world.world.writes) == before  # I6


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), BOUND, BOUND, st.integers(1, 5))
def test_a_crash_after_any_write_changes_nothing(data, surge, unavailable, replicas):
    """I7: the pass is cut short after a random number of writes; a new one goes on from what is there."""
    world = FleetWorld(strategy=rolling(surge, unavailable), replicas=replicas)
    world.world.put(cluster("foreign", labels={"app": "other"}))
    watch = Watched(world, surge, unavailable)

    class Crash(Exception):
        pass

    inner = watch.checked

    def perhaps(action):
        if data.draw(st.integers(0, 3)) == 0:
            raise Crash
        inner(action)

    world.roll_out()
    uids = {c["metadata"]["uid"] for c in world.clusters}
    world.world.act = perhaps
    world.set_image("ray:2.60")
    for _ in range(25):
        try:
            world.turn()
        except Crash:
            continue
        world.make_ready()
    world.world.act = inner
    finish(world)
    assert len(uids & {c["metadata"]["uid"] for c in world.clusters}) == 1  # the stranger's alone


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.integers(1, 4), st.sampled_from(["DeleteFirst", "Surge"]), st.booleans())
def test_replica_sets_never_have_more_than_allowed(data, replicas, policy, lingering):
    """I2 with breakdowns: at most one more than wanted, and only where the policy says so; creations are bounded."""
    replacement = {"policy": policy, "gracePeriodSeconds": 20, "backoffSeconds": 10, "maxReplacements": 4}
    world = FleetWorld(replicas=replicas, replacement=replacement, lingering=lingering)
    most = replicas + (1 if policy == "Surge" else 0)
    world.roll_out()
    created = 0
    for _ in range(data.draw(st.integers(5, 40))):
        before = {c["metadata"]["uid"] for c in world.clusters}
        if world.clusters:
            world.world.set_status(
                world.clusters[data.draw(st.integers(0, len(world.clusters) - 1))],
                data.draw(
                    st.sampled_from(
                        [status(head=False, at=world.now), status(workers=0), STARTING, status(at=world.now)]
                    )
                ),
            )
        world.settle()
        created += len({c["metadata"]["uid"] for c in world.clusters} - before)
        assert len(world.clusters) <= most
        if data.draw(st.booleans()):
            world.let_go()
        world.pass_time(data.draw(st.integers(1, 60)))
    assert created <= 4 * 8  # each run of failures ends after four, and needs ten quiet minutes to begin anew
    world.change(replicas=0)
    for _ in range(5):
        world.settle()
        world.let_go()
    assert world.clusters == []


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.integers(1, 4))
def test_at_most_one_revision_grows_in_a_pass(data, replicas):
    world = FleetWorld(replicas=replicas, strategy=rolling(1, 1))
    for number in range(data.draw(st.integers(1, 5))):
        world.set_image(f"ray:{number}")
        for _ in range(data.draw(st.integers(1, 6))):
            before = {s["metadata"]["uid"]: s["spec"]["replicas"] for s in world.sets}
            world.fleet_pass()
            grown = [s for s in world.sets if s["spec"]["replicas"] > before.get(s["metadata"]["uid"], 0)]
            assert len(grown) <= 1
            for found in world.sets:
                world.set_pass(found["metadata"]["name"])
            world.make_ready()


def test_the_template_is_never_changed_by_looking():
    made = template()
    import copy

    kept = copy.deepcopy(made)
    world = FleetWorld(made=made)
    world.roll_out()
    assert made == kept
    assert world.world.get("RayClusterFleet", NS, "llm")["spec"]["template"] == kept
