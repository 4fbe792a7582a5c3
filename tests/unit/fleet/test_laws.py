"""What holds whatever happens: bounds, ownership, numbers, convergence (I1-I10), under random histories.

The laws themselves are in `stories`; `planted` has defects that they must notice.
"""

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.fleet.planted import PLANTED
from tests.unit.fleet.stories import BOUNDS, Story, Watched, own, ready, tell
from tests.unit.fleet.worlds import FleetWorld, rolling
from tests.unit.replicaset.worlds import NS, STARTING, cluster, status, template

BOUND = st.sampled_from(BOUNDS)
STORIES = 400


class Drawn:
    """Chooses by hypothesis."""

    def __init__(self, data):
        self.data = data

    def number(self, least, most):
        return self.data.draw(st.integers(least, most))

    def of(self, options):
        return self.data.draw(st.sampled_from(list(options)))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.booleans(), BOUND, BOUND, st.integers(1, 5), st.integers(0, 2))
def test_never_too_many_never_too_few_and_nothing_foreign(data, lingering, surge, unavailable, replicas, drain):
    more = {"drain": {"seconds": 300}} if drain else {}
    story = Story(
        Drawn(data), lingering, surge, unavailable, replicas=replicas, replacement={"policy": "Never"}, **more
    )
    for _ in range(data.draw(st.integers(5, 40))):
        story.happen()
    story.finish()


@pytest.mark.parametrize("seed", [1001, 1506, 1908, 3658])
def test_a_third_colour_waits_for_sets_that_have_not_told_of_their_clusters(seed):
    tell(seed)


@pytest.mark.parametrize("first", [0, 20, 40])
def test_stories_by_seed(first):
    for seed in range(first, first + 20):
        tell(seed)


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_defect_is_noticed(plant, monkeypatch):
    plant(monkeypatch)
    for seed in [PLANTED[plant], *range(STORIES)]:
        try:
            tell(seed)
        except AssertionError:
            return
    pytest.fail(f"{STORIES} stories show nothing of it: {plant.__doc__ or plant.__name__}")


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


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
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
    kept = copy.deepcopy(made)
    world = FleetWorld(made=made)
    world.roll_out()
    assert made == kept
    assert world.world.get("RayClusterFleet", NS, "llm")["spec"]["template"] == kept
