"""`rayctl plan` and the view: the way ahead by the controllers' own planners, and the tree with its verdict."""

import pytest

from rayctl.fleet.preview import preview
from rayctl.fleet.view import EXIT_CODES, fleet_view, history, tree
from tests.unit.fleet.test_strategies import STEPS, gpu_template
from tests.unit.fleet.worlds import FleetWorld, fleet, rolling
from tests.unit.replicaset.worlds import BEGAN, status, template


def look_ahead(world, **spec):
    document = {**world.fleet, "spec": {**world.fleet["spec"], **spec}}
    return preview(document, world.sets, world.clusters, world.now)


def kinds(answer, do):
    return [step.what for step in answer.steps if step.do == do]


def test_a_new_fleet():
    document = fleet(made=gpu_template(), replicas=3)
    answer = preview(document, [], [], BEGAN)
    assert len(kinds(answer, "create")) == 4  # a set and three clusters
    assert answer.document()["resources"] == {"before": "", "peak": "GPU 12", "after": "GPU 12"}
    assert (answer.most, answer.fewest) == (3, None)
    assert answer.verdict == "can start now"
    assert answer.revision == (0, 1)


def test_a_rollout_says_its_peak_and_its_lowest():
    world = FleetWorld(made=gpu_template(), strategy=rolling(1, 0))
    world.roll_out()
    before = len(world.world.writes)
    answer = look_ahead(world, template=gpu_template("ray:2.60"))
    assert answer.document()["resources"] == {"before": "GPU 12", "peak": "GPU 16", "after": "GPU 12"}
    assert (answer.most, answer.fewest) == (4, 3)
    assert answer.revision == (1, 2)
    assert len(kinds(answer, "delete")) == 3
    assert answer.finished
    assert len(world.world.writes) == before  # nothing is written


def test_looking_ahead_ends_however_many_clusters_there_are_to_be(monkeypatch):
    monkeypatch.setattr("rayctl.fleet.preview._MOST_STEPS", 60)
    answer = preview(fleet(replicas=100_000), [], [], BEGAN)
    assert 60 <= len(answer.steps) < 10_000
    assert not answer.finished
    assert answer.verdict == "goes on beyond what was looked at"


def test_it_is_what_the_controllers_do():
    world = FleetWorld(strategy=rolling(1, 1), replicas=4)
    world.roll_out()
    foreseen = [
        step.what
        for step in look_ahead(world, template=template(image="ray:2.60")).steps
        if step.do in ("create", "delete")
    ]
    world.set_image("ray:2.60")
    mark = len(world.world.writes)
    world.roll_out()
    names = {"RayCluster": "cluster", "RayClusterReplicaSet": "set"}
    done = [
        f"{names[action.ref.kind]} {action.ref.name}"
        for action in world.world.writes[mark:]
        if type(action).__name__ in ("Create", "Delete")
    ]
    assert foreseen == done


def test_nothing_to_do():
    world = FleetWorld()
    world.roll_out()
    answer = look_ahead(world)
    assert answer.steps == []
    assert answer.verdict == "nothing to do"


def test_what_cannot_be_is_told():
    answer = preview(fleet(selector={"matchLabels": {"app": "foo"}}), [], [], BEGAN)
    assert answer.steps == []
    assert "does not select" in answer.verdict
    world = FleetWorld(made=gpu_template(), strategy=rolling(1, 0))
    world.roll_out()
    rollout = {"capacity": {"limits": {"nvidia.com/gpu": 12}, "whenFull": "Wait"}}
    answer = look_ahead(world, template=gpu_template("ray:2.60"), rollout=rollout)
    assert answer.blocked.code == "WaitingForCapacity"


def test_a_canary_waits_and_is_promoted_on_the_way():
    world = FleetWorld(replicas=5, strategy=rolling(1, 0), rollout={"strategy": "Canary", "steps": STEPS})
    world.roll_out()
    answer = look_ahead(world, template=template(image="ray:2.60"))
    assert answer.finished
    assert len(kinds(answer, "promote")) == 1
    assert answer.steps[-1].after_s >= 60


def test_sizes_change_in_place_without_a_new_cluster():
    world = FleetWorld(replicas=2)
    world.roll_out()
    answer = look_ahead(world, template=template(workers=3))
    assert [step.do for step in answer.steps] == ["change", "change", "wait"]


# The view --------------------------------------------------------------------------------------------


def view_of(world):
    return fleet_view(world.fleet, world.sets, world.clusters, world.now)


def test_the_tree_of_a_rollout():
    world = FleetWorld(strategy=rolling(1, 0))
    world.roll_out()
    world.set_image("ray:2.60")
    world.settle()
    view = view_of(world)
    assert view["verdict"] == "progressing"
    assert EXIT_CODES[view["verdict"]] == 5
    lines = tree(view, lambda seconds: f"{seconds:.0f}s")
    assert lines[0] == "fleet/llm  rev 2   ◌ Progressing 1/3"
    assert lines[1].startswith("├─ rev 2  new")
    assert "◌" in lines[2]
    assert lines[3].startswith("└─ rev 1  old")
    assert sum("✔" in line for line in lines) == 3
    assert "are available" in lines[-1]


@pytest.mark.parametrize(
    ("change", "verdict", "code"),
    [
        ({}, "complete", 0),
        ({"paused": True}, "complete", 0),
        ({"selector": {}}, "invalid", 4),
    ],
)
def test_verdicts(change, verdict, code):
    world = FleetWorld()
    world.roll_out()
    if change:
        world.change(**change)
        if "selector" in change:
            world.fleet["spec"]["selector"] = {}
    world.settle()
    assert view_of(world)["verdict"] == verdict
    assert EXIT_CODES[verdict] == code


def test_before_the_controller_has_looked_nothing_is_complete():
    world = FleetWorld()
    world.roll_out()
    world.set_image("ray:2.60")
    assert view_of(world)["verdict"] == "unobserved"


def test_failure_is_final():
    world = FleetWorld(progressDeadlineSeconds=60)
    world.settle()
    world.pass_time(60)
    world.settle()
    view = view_of(world)
    assert (view["verdict"], view["reason"]) == ("failed", "ProgressDeadlineExceeded")


def test_paused_in_the_middle():
    world = FleetWorld(strategy=rolling(1, 0))
    world.roll_out()
    world.set_image("ray:2.60")
    world.settle()
    world.change(paused=True)
    world.settle()
    assert view_of(world)["verdict"] == "paused"


def test_history_shows_images_and_states():
    world = FleetWorld(replicas=1, annotations={"kubernetes.io/change-cause": "the first"})
    world.roll_out()
    world.set_image("ray:2.60")
    world.roll_out()
    rows = history(world.fleet, world.sets)
    assert [(row["revision"], row["images"], row["state"]) for row in rows] == [
        (2, ["ray:2.60"], "stable"),
        (1, ["ray:2.59"], ""),
    ]
    assert rows[0]["cause"] == "the first"


def test_a_broken_cluster_is_marked():
    world = FleetWorld(replicas=1)
    world.roll_out()
    world.world.set_status(world.clusters[0], status(head=False))
    world.settle()
    lines = tree(view_of(world), str)
    assert any("✖" in line and "Unready" in line for line in lines)
