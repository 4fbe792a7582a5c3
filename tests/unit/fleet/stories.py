"""Random histories of a fleet, and the laws that every single write in them must keep (I1-I10, and more).

A story is driven by whatever chooses: hypothesis, or a seeded generator. Passes may be cut short anywhere: then the
fleet decides on what its sets have not told yet.
"""

import random
from collections import Counter
from functools import partial

from rayctl.core.plan import Create, Delete, Emit, Patch, SetStatus, Together
from rayctl.fleet.arithmetic import fenceposts
from rayctl.fleet.imagined import Refused
from rayctl.fleet.plan import plan_fleet
from rayctl.replicaset import plan as set_plans
from rayctl.replicaset.health import moment
from tests.unit.fleet.worlds import FleetWorld, rolling
from tests.unit.replicaset import worlds as sets_worlds
from tests.unit.replicaset.worlds import NS, cluster, status

REVISION = "deployment.kubernetes.io/revision"
DRAINING = "rayctl.io/draining-since"
EVENTS = ["fleet"] * 4 + ["sets"] * 4 + ["ready"] * 4
EVENTS += [
    "time",
    "image",
    "image",
    "scale",
    "gone",
    "breaks",
    "mends",
    "pauses",
    "undoes",
    "orphans",
    "promotes",
    "aborts",
]


class Seeded:
    """Chooses by a seed."""

    def __init__(self, seed):
        self.chance = random.Random(seed)

    def number(self, least, most):
        return self.chance.randint(least, most)

    def of(self, options):
        return self.chance.choice(list(options))


def own(world):
    return [c for c in world.clusters if c["metadata"].get("ownerReferences")]


def owner(document):
    return document["metadata"]["ownerReferences"][0]["uid"]


def ready(document):
    conditions = (document.get("status") or {}).get("conditions") or ()
    found = {c["type"]: c["status"] for c in conditions}
    return found.get("RayClusterProvisioned") == "True" and found.get("HeadPodReady") == "True"


def going(document):
    return bool(document["metadata"].get("deletionTimestamp"))


def draining(document):
    return bool((document["metadata"].get("annotations") or {}).get(DRAINING))


def serving(world):
    """Return the uids of available clusters."""
    least = world.fleet["spec"].get("minReadySeconds", 0)
    return {c["metadata"]["uid"] for c in own(world) if serves(c, world.now, least)}


def serves(document, now, least=0):
    if not ready(document) or going(document) or draining(document):
        return False
    return ready_since(document) + least <= now


def ready_since(document):
    return max(moment(c["lastTransitionTime"]) for c in document["status"]["conditions"])


class Watched:
    """A fleet's world that looks at every single write."""

    def __init__(self, world, surge, unavailable):
        self.w, self.surge, self.unavailable = world, surge, unavailable
        self.numbers, self.names = {}, set()
        self.act, world.world.act = world.world.act, self.checked
        self.observed = 0
        self.scaling, self.most_before = False, 0
        self.told, self.known = {}, {}

    def bounds(self):
        replicas = self.w.fleet["spec"]["replicas"]
        if self.w.fleet["spec"]["strategy"]["type"] == "Recreate":
            return replicas, 0
        if (self.w.fleet["spec"].get("rollout") or {}).get("strategy") == "BlueGreen":
            return 2 * replicas, 0  # two colours; which of them serves, its own tests say
        more, fewer = fenceposts(self.surge, self.unavailable, replicas)
        return (replicas + more if replicas else 0), replicas - min(fewer, replicas)

    def available(self):
        """Available clusters that were known when sizes were decided: a fleet cannot spare what nobody told it of."""
        return len(serving(self.w) & set().union(*self.known.values()))

    def believed(self):
        """How many of those are still there, broken or not: which of them go is their sets' choice, who know more."""
        return len({c["metadata"]["uid"] for c in own(self.w) if not going(c)} & set().union(*self.known.values()))

    def scales(self, wanted):
        """The bounds move; until both controllers have carried that out, the wider ones hold."""
        self.most_before = max(self.bounds()[0], self.most_before if self.scaling else 0)
        self.scaling = True
        self.w.change(replicas=wanted)

    def scaled(self):
        """Tell whether nothing is left of a change of the size."""
        wanted = str(self.w.fleet["spec"]["replicas"])
        for found in self.w.sets:
            told = found.get("status") or {}
            there = told.get("replicas", 0) + told.get("terminatingReplicas", 0)
            asked = found["metadata"]["annotations"].get("deployment.kubernetes.io/desired-replicas")
            if told.get("observedGeneration") != found["metadata"]["generation"] or there != found["spec"]["replicas"]:
                return False
            if found["spec"]["replicas"] and asked != wanted:
                return False
        return True

    def checked(self, action):
        sizes = {s["metadata"]["name"]: s["spec"]["replicas"] for s in self.w.sets}
        before = self.available(), len(own(self.w)), sizes, self.believed()
        self._owned(action)
        self.act(action)
        if isinstance(action, Emit):
            return
        self.scaling = self.scaling and not self.scaled()
        most, fewest = self.bounds()
        most = max(most, self.most_before) if self.scaling else most
        if action.ref.kind == "RayCluster":
            self._cluster(action, before, most, fewest)
        if action.ref.kind == "RayClusterReplicaSet":
            if not isinstance(action, SetStatus):
                self.known[action.ref.uid] = self.told.get(action.ref.uid, set())
            self._set(action, before[2], most, fewest)
        for found in self.w.sets:  # I5
            number = int(found["metadata"]["annotations"][REVISION])
            assert number >= self.numbers.get(found["metadata"]["uid"], 0), "a revision's number falls"
            self.numbers[found["metadata"]["uid"]] = number
        twice = Counter(self.numbers[s["metadata"]["uid"]] for s in self.w.sets)
        assert max(twice.values(), default=1) == 1, "two revisions with one number"
        seen = self.w.status.get("observedGeneration", 0)
        assert self.observed <= seen <= self.w.fleet["metadata"]["generation"], "observedGeneration"  # I9
        self.observed = seen
        if isinstance(action, SetStatus):
            self._tells(action)

    def _owned(self, action):
        """I8: nothing is changed or deleted that is not ours, nor by its name alone."""
        if isinstance(action, (Delete, Patch)) and action.ref.kind == "RayCluster":
            assert action.ref.uid, "a write without a uid"
            found = self.w.world.get("RayCluster", action.ref.namespace, action.ref.name)
            adopts = isinstance(action, Patch) and "ownerReferences" in action.changes.get("metadata", {})
            matches = found is not None and found["metadata"]["labels"].get("app") == "llm"
            assert found is None or found["metadata"].get("ownerReferences") or (adopts and matches), "a stranger's"

    def _cluster(self, action, before, most, fewest):
        were_available, there, _, believed = before
        if isinstance(action, Create):
            assert len(own(self.w)) <= max(most, there), f"{len(own(self.w))} clusters, {most} allowed"  # I2
            assert action.ref.name not in self.names, "a name comes again"
            self.names.add(action.ref.name)
        loses = self.available() < were_available
        if loses and not self.scaling and not isinstance(action, Create):
            # What broke by itself, nobody took.
            left = len(serving(self.w)) + sum(
                1 for c in own(self.w) if c.get("status") and not ready(c) and not going(c)
            )
            # Where too few were known to be available, those that seemed broken may go, though they are not any more.
            assert left >= min(fewest, believed), f"{left} available of {fewest}"  # I3

    def _set(self, action, sizes, most, fewest):
        if isinstance(action, Create):
            total = sum(s["spec"]["replicas"] for s in self.w.sets)
            assert total <= max(most, sum(sizes.values())), "sets want too many"  # I1
            templates = [image_of(s["spec"]["template"]) for s in self.w.sets]
            assert len(set(templates)) == len(templates), "two sets of one template"  # I4
            assert not self.w.fleet["spec"].get("paused"), "a revision begins although the fleet is paused"
        if isinstance(action, Delete):
            assert sizes[action.ref.name] == 0, "a set in use is forgotten"
        if isinstance(action, Patch) and not self.scaling and not self.w.fleet["spec"].get("paused"):
            self._budget(action, sizes, fewest)

    def _budget(self, action, sizes, fewest):
        """Old sets shrink only as far as what can serve, or may still come to, is enough without the new set's rest."""
        found = self.w.world.get("RayClusterReplicaSet", NS, action.ref.name)
        if "rayctl.io/abort" in self.w.fleet["metadata"]["annotations"]:
            return  # the new set may be an old one
        if found is None or found["spec"]["replicas"] >= sizes[action.ref.name]:
            return
        image = image_of(self.w.fleet["spec"]["template"])
        if image_of(found["spec"]["template"]) == image:
            return
        new = [s for s in self.w.sets if image_of(s["spec"]["template"]) == image]
        serving = sum((s.get("status") or {}).get("availableReplicas", 0) for s in new)
        old = sum(s["spec"]["replicas"] for s in self.w.sets if s not in new)
        assert old + serving >= fewest, f"{old} old ones and {serving} new ones are left of {fewest}"

    def _tells(self, action):
        """The fleet is ready only if its counts say so; a set's status tells of the clusters that it has."""
        if action.ref.kind == "RayClusterReplicaSet":
            mine = {c["metadata"]["uid"] for c in own(self.w) if owner(c) == action.ref.uid}
            self.told[action.ref.uid] = serving(self.w) & mine
            return
        counts, wanted = self.w.status, self.w.fleet["spec"]["replicas"]
        if self.w.conditions.get("Ready", {}).get("status") == "True":
            names = ("replicas", "availableReplicas", "readyReplicas")
            assert {counts[name] for name in names} == {wanted}, "ready, and is not"
            assert not counts["terminatingReplicas"], "ready, and something still goes"
            sizes = {image_of(s["spec"]["template"]): s["spec"]["replicas"] for s in self.w.sets}
            assert sizes.pop(image_of(self.w.fleet["spec"]["template"])) == wanted, "ready, and not all are new"
            assert not any(sizes.values()), "ready, and old ones are wanted"


def image_of(template):
    return template["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]


class Story:
    """Random things happen to a fleet. ``choose``: see `Seeded`."""

    def __init__(self, choose, lingering, surge, unavailable, kind="RollingUpdate", **more):
        self.choose = choose
        strategy = {"type": kind} if kind == "Recreate" else rolling(surge, unavailable)
        if kind == "BlueGreen":
            more["rollout"] = {"strategy": "BlueGreen", "blueGreen": {"scaleDownDelaySeconds": 20}}
        if kind == "Canary":
            steps = [
                {"setWeight": 30},
                {"setReplicas": 1},
                {"pause": {}},
                {"setWeight": 60},
                {"gate": {"type": "Ready"}},
            ]
            more["rollout"] = {"strategy": "Canary", "steps": steps}
        self.w = FleetWorld(lingering=lingering, strategy=strategy, **more)
        self.w.world.put(cluster("foreign", labels={"app": "other"}))
        self.watch = Watched(self.w, surge, unavailable)

    def happen(self):
        getattr(self, self.choose.of(EVENTS))()
        self.w.world.now += 1

    # Controllers -----------------------------------------------------------------------------------

    def fleet(self):
        before = {s["metadata"]["uid"]: s["spec"]["replicas"] for s in self.w.sets}
        self._perform(plan_fleet(self.w.look(), self.w.now))
        grown = [s for s in self.w.sets if s["spec"]["replicas"] > before.get(s["metadata"]["uid"], 0)]
        assert len(grown) <= 1 or self.watch.scaling, "several revisions grow"

    def sets(self):
        names = [s["metadata"]["name"] for s in self.w.sets]
        if names:
            self.set_pass(self.choose.of(names))

    def set_pass(self, name):
        uid = self.w.world.get("RayClusterReplicaSet", NS, name)["metadata"]["uid"]
        plan = set_plans.plan_replicaset(sets_worlds.look(self.w.world, name), self.w.now)
        self._victims(uid, plan)
        self._patience(uid, plan)
        self._perform(plan)

    def _perform(self, plan):
        """Carry a plan out; every third pass is cut short somewhere, often just before it tells what it did."""
        actions = [one for a in plan.actions for one in (a.actions if isinstance(a, Together) else [a])]
        many = len(actions)
        if self.choose.number(0, 2) == 0:
            tells = [at for at, action in enumerate(actions) if isinstance(action, SetStatus)]
            many = tells[0] if tells and self.choose.number(0, 1) else self.choose.number(0, many)
        for action in actions[:many]:
            try:
                self.w.world.act(action)
            except Refused:
                return

    def _mine(self, uid):
        return [c for c in own(self.w) if owner(c) == uid]

    def _victims(self, uid, plan):
        """What works is not taken while something that does not work stays."""
        goes = {action.ref.uid for action in plan.singles if isinstance(action, Delete)}
        marks = {a.ref.uid for a in plan.singles if isinstance(a, Patch) and marks_draining(a)}
        mine = [c for c in self._mine(uid) if not going(c)]
        good = [c for c in mine if c["metadata"]["uid"] in goes | marks and ready(c) and not draining(c)]
        bad = [c for c in mine if c["metadata"]["uid"] not in goes | marks and not ready(c) and not draining(c)]
        assert not (good and bad), f"{good[0]['metadata']['name']} goes, {bad[0]['metadata']['name']} stays"

    def _patience(self, uid, plan):
        """A ready cluster has its time to drain; a broken one its grace; and replacing is done one at a time."""
        found = self.w.world.get("RayClusterReplicaSet", NS, self.w_name(uid))
        drain_s = (found["spec"].get("drain") or {}).get("seconds", 0)
        grace_s = (found["spec"].get("replacement") or {}).get("gracePeriodSeconds", 300)
        surplus = len([c for c in self._mine(uid) if not going(c)]) - found["spec"]["replicas"]
        replaced = 0
        for action in plan.singles:
            if not isinstance(action, Delete):
                continue
            document = self.w.world.get("RayCluster", NS, action.ref.name)
            if ready(document) and drain_s:
                since = moment(document["metadata"]["annotations"].get(DRAINING))
                assert 0 < since <= self.w.now + 1 - drain_s, "it had no time to drain"
            if not ready(document) and surplus <= 0 and not draining(document):
                replaced += 1
                assert ready_since(document) + grace_s <= self.w.now + 1, "it had no time to heal"
        assert replaced <= 1, "several are replaced at once"

    def w_name(self, uid):
        return next(s["metadata"]["name"] for s in self.w.sets if s["metadata"]["uid"] == uid)

    # The world -------------------------------------------------------------------------------------

    def ready(self):
        waiting = {c["metadata"]["name"]: c for c in own(self.w) if not c.get("status") and not going(c)}
        if waiting:
            self.w.world.set_status(waiting[self.choose.of(sorted(waiting))], status(at=self.w.now))

    def breaks(self):
        for _ in range(self.choose.number(1, 2)):
            good = {c["metadata"]["name"]: c for c in own(self.w) if ready(c) and not going(c)}
            if good:
                self.w.world.set_status(good[self.choose.of(sorted(good))], status(head=False, at=self.w.now))

    def mends(self):
        for document in own(self.w):
            if document.get("status") and not ready(document):
                self.w.world.set_status(document, status(at=self.w.now))

    def time(self):
        self.w.pass_time(self.choose.number(1, 400))

    def image(self):
        self.w.set_image(f"ray:{self.choose.number(1, 3)}")

    def pauses(self):
        self.w.change(paused=not self.w.fleet["spec"].get("paused", False))

    def undoes(self):
        self.w.annotate(**{"deprecated.deployment.rollback.to": str(self.choose.number(0, 3))})

    def promotes(self):
        state = self.w.status.get("rollout") or {}
        if state.get("revision"):
            self.w.annotate(**{"rayctl.io/promote": f"{state['revision']}:{state.get('step', 0)}"})

    def aborts(self):
        state = self.w.status.get("rollout") or {}
        if state.get("stableRevision") not in (None, "", state.get("revision")) and not state.get("aborted"):
            self.w.annotate(**{"rayctl.io/abort": state["revision"]})

    def orphans(self):
        """Somebody lets a cluster go; it is to come back."""
        mine = {c["metadata"]["name"]: c for c in own(self.w) if not going(c)}
        if mine:
            self.w.world.change(mine[self.choose.of(sorted(mine))], {"metadata": {"ownerReferences": None}})

    def scale(self):
        wanted = self.choose.number(0, 6)
        if wanted != self.w.fleet["spec"]["replicas"]:
            self.watch.scales(wanted)
            self.w.settle()

    def gone(self):
        self.w.let_go()

    # The end ---------------------------------------------------------------------------------------

    def finish(self):
        """With an operator that makes new clusters ready and lets everything go, the goal is reached and all is still.

        What is broken stays so, unless nobody would replace it. Time passes only to when a planner asked to look
        again, and then that planner alone looks: nothing else would wake the others.
        """
        world = self.w
        world.change(paused=False)
        world.settle()
        if (world.status.get("rollout") or {}).get("aborted"):
            world.set_image("ray:9")  # what was given up never comes
        for _ in range(80):
            world.settle()
            world.let_go()
            for document in own(world):
                if not document.get("status"):
                    world.world.set_status(document, status(at=world.now))
            self.heal()
            world.settle()
            if self.over():
                break
            if world.conditions.get("Ready", {}).get("reason") == "Pausing":
                self.promotes()
            elif all(c.get("status") and not going(c) for c in own(world)):
                self.sleep()
        assert self.over(), world.conditions.get("Ready")
        self.still()

    def over(self):
        if not all(ready(c) and not going(c) for c in own(self.w)):
            return False
        return self.w.conditions.get("Ready", {}).get("status") == "True" and not self.w.turn()[0]

    def heal(self):
        """Where broken clusters are not replaced, those of the newest template heal; the others never do."""
        if self.w.fleet["spec"]["replacement"].get("policy") != "Never":
            return
        image = image_of(self.w.fleet["spec"]["template"])
        for document in own(self.w):
            if document.get("status") and not ready(document) and image_of(document) == image:
                self.w.world.set_status(document, status(at=self.w.now))

    def sleep(self):
        """Let time pass until a planner writes something at a moment for which it had asked."""
        for _ in range(200):
            at, planner = self.next_look()
            assert at is not None, f"nobody would look again: {self.w.conditions.get('Ready')}"
            self.w.world.now = max(self.w.now + 1, at)
            before = len(self.w.world.writes)
            planner()
            if any(action.ref.kind != "RayClusterFleet" for action in self.w.world.writes[before:]):
                return
        raise AssertionError("planners look again and again, and nothing happens")

    def next_look(self):
        """Return when which planner looks next (None: never)."""
        names = [found["metadata"]["name"] for found in self.w.sets]
        checks = [(plan_fleet(self.w.look(), self.w.now).next_check_at, self.w.fleet_pass)]
        for name in names:
            look = sets_worlds.look(self.w.world, name)
            at = set_plans.plan_replicaset(look, self.w.now).next_check_at
            checks.append((at, partial(self.w.set_pass, name)))
        known = [(at, planner) for at, planner in checks if at is not None]
        return min(known, key=lambda pair: pair[0], default=(None, None))

    def still(self):
        world = self.w
        wanted = world.fleet["spec"]["replicas"]
        mine = world.images()
        assert len(world.clusters) == wanted + 1, mine  # and the stranger's
        active = [s for s in world.sets if s["spec"]["replicas"] > 0]
        assert len(active) == (1 if wanted else 0), "one revision"  # I4
        image = image_of(world.fleet["spec"]["template"])
        assert sum(1 for c in own(world) if image_of(c) == image) == wanted
        assert world.status["availableReplicas"] == wanted
        assert world.status["observedGeneration"] == world.fleet["metadata"]["generation"]
        limit = world.fleet["spec"].get("revisionHistoryLimit", 10)
        assert len(world.sets) - 1 <= limit, "old revisions are kept too long"
        world.pass_time(1000)  # what was remembered of broken clusters is forgotten
        world.settle()
        before = len(world.world.writes)
        world.pass_time(300)
        world.settle()
        assert len(world.world.writes) == before, "it writes without need"  # I6


def marks_draining(action):
    return bool(((action.changes.get("metadata") or {}).get("annotations") or {}).get(DRAINING))


BOUNDS = (0, 1, 2, 3, "0%", "25%", "50%", "100%")


def seeded(seed):
    """Return a story with everything chosen by a seed."""
    choose = Seeded(seed)
    more = {"replicas": choose.number(1, 5)}
    if choose.number(0, 2) == 0:
        more["drain"] = {"seconds": 60}
    if choose.number(0, 1) == 0:
        more["minReadySeconds"] = 20
    if choose.number(0, 2) == 0:
        more["revisionHistoryLimit"] = 0
    more["replacement"] = choose.of([{"policy": "Never"}, {"gracePeriodSeconds": 50, "backoffSeconds": 10}])
    kind = choose.of(["RollingUpdate"] * 4 + ["Recreate", "Canary", "BlueGreen"])
    return Story(choose, choose.number(0, 1) == 1, choose.of(BOUNDS), choose.of(BOUNDS), kind, **more)


def tell(seed, events=40):
    """Run a story to its end.

    Raises:
        AssertionError: A law does not hold.
    """
    story = seeded(seed)
    for _ in range(story.choose.number(5, events)):
        story.happen()
    story.finish()
