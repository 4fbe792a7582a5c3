"""Random interleavings: whatever crashes, is lost or stale, both services agree and nothing is deleted too early."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rayctl.service.plan import plan_service
from rayctl.service.seen import see
from tests.unit.service.world import ConflictError, CrashError, World, cluster_spec, running, serve_config

SETTINGS = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes, and the tracing for it too
)


@dataclass
class Oracle:
    """Checks every revision of the store. ``strict``: one controller at a time, looking at the present."""

    world: World
    strict: bool = True
    split_since: int = -1
    serving: str = ""
    going: set[str] = field(default_factory=set)
    max_clusters: int = 0

    def __call__(self, world: World) -> None:
        head, serve = world.pointers
        clusters = {
            c["metadata"]["name"]: c for c in world.all("RayCluster") if not c["metadata"].get("deletionTimestamp")
        }
        self.max_clusters = max(self.max_clusters, len(clusters))
        assert len(clusters) <= 2, "a third cluster"
        if serve != self.serving:
            better = [name for name in clusters if name != serve and healthy(world, name)]
            if self.strict and self.serving:
                assert healthy(world, serve) or not better, f"traffic went to {serve}, which does not serve"
            self.serving = serve
        if head and serve and head != serve:
            record = world.record
            assert {head, serve} == {record["from"], record["to"]}, "split without a record that says so"
            if self.split_since < 0:
                self.split_since = len(world.writes)
            elif self.strict:
                assert len(world.writes) == self.split_since, "split for more than one write"
        else:
            self.split_since = -1
        for cluster in world.all("RayCluster"):
            name = cluster["metadata"]["name"]
            if cluster["metadata"].get("deletionTimestamp") and name not in self.going:
                self.going.add(name)
                assert name not in (head, serve), f"{name} is deleted while a service leads to it"
                assert serve in clusters, "deleted although nothing else is there"
                if self.strict and self.was(world, name):
                    assert healthy(world, serve), "deleted although the other side does not serve"

    @staticmethod
    def was(world: World, name: str) -> bool:
        """Whether a cluster has been the active one before the present switch."""
        record = world.record
        return name == record.get("from") and record.get("phase") == "Switched"


def healthy(world: World, name: str) -> bool:
    """Whether a cluster can answer requests."""
    ray = world.rays.get(name)
    return ray is not None and ray.head_ready and ray.status not in ("DEPLOY_FAILED", "UNHEALTHY")


def attempt(world: World, limit: int | None = None, lost: int | None = None) -> None:
    """One pass of a controller that may die, or may not learn what became of a write."""
    with contextlib.suppress(ConflictError, CrashError):
        world.execute(world.plan(), limit, lost)


def calm(world: World) -> None:
    """Everything works again and nothing more is wanted: what must come out of it."""
    for ray in world.rays.values():
        ray.head_ready = ray.workers_ready = ray.reachable = True
        ray.status, ray.rejects, ray.running, ray.in_flight = "RUNNING", "", None, 0
    world.auto = True
    world.keep_terminating = False
    world.settle(seconds=2200, each=200)
    assert world.record["phase"] in ("Switched", "RolledBack")
    assert world.pointers == (world.active, world.active)
    assert [c["metadata"]["name"] for c in world.all("RayCluster")] == [world.active]
    assert world.condition("Ready")[0] == "True"
    before = world.revision
    world.settle(seconds=60, each=5)
    assert world.revision == before, "writes after everything was settled"


Event = tuple[str, Any]
IMAGES = st.sampled_from(["ray:1", "ray:2", "ray:3"])
WORK = st.one_of(
    st.tuples(st.just("pass"), st.integers(1, 6)),
    st.tuples(st.just("crash"), st.integers(0, 2)),
    st.tuples(st.just("lost"), st.integers(1, 2)),
    st.tuples(st.just("time"), st.sampled_from([1, 20, 70])),
)
TROUBLE = st.one_of(
    st.tuples(st.just("image"), IMAGES),
    st.tuples(st.just("image"), IMAGES),
    st.tuples(st.just("config"), st.integers(1, 3)),
    st.tuples(st.just("invalid"), st.just(0)),
    st.tuples(st.just("break"), st.integers(0, 1)),
    st.tuples(st.just("mend"), st.integers(0, 1)),
    st.tuples(st.just("deaf"), st.integers(0, 1)),
    st.tuples(st.just("app"), st.sampled_from(["RUNNING", "DEPLOYING", "DEPLOY_FAILED", "UNHEALTHY"])),
    st.tuples(st.just("abort"), st.just(0)),
    st.tuples(st.just("promote"), st.just(0)),
    st.tuples(st.just("time"), st.just(2000)),
)
EVENTS = st.tuples(TROUBLE, st.lists(WORK, min_size=1, max_size=6))
STALE = st.one_of(st.tuples(st.just("look"), st.just(0)), st.tuples(st.just("act"), st.just(0)))


def happen(world: World, event: Event) -> None:
    kind, value = event
    if kind == "pass":
        for _ in range(value):
            world.operate()
            attempt(world)
    elif kind == "crash":
        attempt(world, limit=value)
    elif kind == "lost":
        attempt(world, lost=value)
    elif kind == "time":
        world.now += value
    elif kind in ("abort", "promote"):
        if world.pending:
            world.annotate("RayService", "chat", **{kind: world.pending})
    elif kind in ("image", "config", "invalid"):
        edits: dict[str, Any] = {
            "image": {"rayClusterConfig": cluster_spec(str(value))},
            "config": {"serveConfigV2": serve_config(args={"n": value})},
            "invalid": {"serveConfigV2": "applications: ["},
        }
        world.edit("RayService", "chat", **edits[kind])
    else:
        befall(world, kind, value)


def befall(world: World, kind: str, value: Any) -> None:
    """Something happens to a cluster: the newest, or (1) the oldest."""
    names = sorted(world.rays, key=lambda name: int(world.objects["RayCluster", name]["metadata"]["uid"][4:]))
    if not names:
        return
    ray = world.rays[names[0] if value == 1 else names[-1]]
    if kind == "break":
        ray.head_ready = ray.workers_ready = False
    elif kind == "mend":
        ray.head_ready = ray.workers_ready = ray.reachable = True
    elif kind == "deaf":
        ray.reachable = False
    else:
        ray.status = value
    world.operate()


@settings(SETTINGS)
@given(events=st.lists(EVENTS, min_size=1, max_size=8), auto=st.booleans())
def test_one_controller_with_crashes_and_lost_answers(events: list[tuple[Event, list[Event]]], auto: bool) -> None:
    world = running()
    world.watchers.append(Oracle(world))
    world.auto = auto
    for trouble, work in events:
        for event in (trouble, *work):
            happen(world, event)
    world.edit("RayService", "chat", serveConfigV2=serve_config())
    calm(world)


@settings(SETTINGS)
@given(events=st.lists(st.tuples(TROUBLE, st.lists(st.one_of(WORK, STALE), max_size=8)), min_size=1, max_size=6))
def test_a_second_controller_that_acts_on_what_it_saw_long_ago(events: list[tuple[Event, list[Event]]]) -> None:
    world = running()
    world.watchers.append(Oracle(world, strict=False))
    old: tuple[dict[str, Any], float] = world.look(), world.now
    for trouble, work in events:
        for event in (trouble, *work):
            if event[0] == "look":
                old = world.look(), world.now
            elif event[0] == "act":
                with contextlib.suppress(ConflictError):
                    world.execute(plan_service(see(old[0], lambda spec: ()), old[1]))
            else:
                happen(world, event)
    world.edit("RayService", "chat", serveConfigV2=serve_config())
    calm(world)


SECOND: dict[str, list[Event]] = {
    "another image": [("image", "ray:3")],
    "reverted": [("image", "ray:1")],
    "reverted and wanted again": [("image", "ray:1"), ("pass", 2), ("image", "ray:2")],
    "configuration": [("config", 2)],
    "invalid": [("invalid", 0)],
    "new side breaks": [("break", 0)],
    "old side breaks": [("break", 1)],
    "new side deaf": [("deaf", 0)],
    "old side deaf": [("deaf", 1)],
    "new side unhealthy": [("app", "UNHEALTHY")],
    "new side fails": [("app", "DEPLOY_FAILED"), ("time", 70)],
    "aborted": [("abort", 0)],
    "promoted": [("promote", 0)],
    "late": [("time", 2000)],
    "drained": [("time", 70)],
}


@pytest.mark.parametrize("second", SECOND)
def test_everything_at_every_point_of_a_switch(second: str) -> None:
    """A switch is begun; after each number of passes something else happens; after a few more, all is well again."""
    for passes in range(1, 11):
        world = running()
        world.keep_terminating = passes % 2 == 0
        world.watchers.append(Oracle(world))
        for event in [("image", "ray:2"), ("pass", passes), *SECOND[second], ("pass", 6)]:
            happen(world, event)
        happen(world, ("image", "ray:3" if second == "another image" else "ray:2"))
        world.edit("RayService", "chat", serveConfigV2=serve_config())
        calm(world)


def writes_of(world: World) -> int:
    """Writes until everything is settled."""
    world.settle(seconds=100)
    return len(world.writes)


@pytest.mark.parametrize("back", [False, True], ids=["forward", "back"])
@pytest.mark.parametrize("how", ["before", "after", "lost"])
def test_every_crash_point_of_a_switch(back: bool, how: str) -> None:
    """The controller dies at each write in turn; the next one brings it to the same end."""

    def begin() -> World:
        world = running()
        world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
        if back:
            while not world.record.get("to") or world.pointers[0] != world.record["to"]:
                world.step()
            world.rays[world.record["to"]].status = "UNHEALTHY"
            world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:1"))
        return world

    reference = begin()
    first = len(reference.writes)
    total = writes_of(reference)
    assert total > first
    for point in range(first, total):
        world = begin()
        world.watchers.append(Oracle(world))
        dead = False
        while not dead:
            world.operate()
            room = point - len(world.writes)
            plan = world.plan()
            wanted = sum(1 for action in plan.writes if type(action).__name__ != "CallServe")
            if wanted > room and not any(type(action).__name__ == "CallServe" for action in plan.writes):
                with contextlib.suppress(CrashError, ConflictError):
                    if how == "lost":
                        world.execute(plan, lost=room + 1)
                    else:
                        world.execute(plan, limit=room + (how == "after"))
                dead = True
            else:
                with contextlib.suppress(ConflictError):
                    world.execute(plan)
            world.now += 1
        world.settle(seconds=100)
        assert world.record["phase"] == reference.record["phase"]
        assert world.pointers == (world.active, world.active)
        assert len(world.all("RayCluster")) == 1
        assert len(world.writes) <= total + 2, "more writes than the crash explains"


def test_a_switch_costs_eight_writes() -> None:
    world = running()
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=100)
    assert world.record["phase"] == "Switched"
    assert len(world.writes) <= 8, world.writes
