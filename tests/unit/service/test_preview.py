"""What an edit would lead to, before it is made."""

from __future__ import annotations

from typing import Any

import pytest

from rayctl.service.preview import Preview, preview
from rayctl.service.problems import cluster_problems
from tests.unit.service.world import World, cluster_spec, ray_service, running, serve_config


def foretold(world: World, **edit: Any) -> Preview:
    found = world.look()
    service = {**found["service"], "spec": {**found["service"]["spec"], **edit}}
    return preview(found, service, cluster_problems)


@pytest.mark.parametrize(("edit", "kind"), [
    ({}, "none"),
    ({"serveConfigV2": serve_config(args={"n": 2})}, "live"),
    ({"rayClusterConfig": cluster_spec(workers=3)}, "in-place"),
    ({"rayClusterConfig": cluster_spec("ray:2")}, "switch"),
    ({"rayClusterConfig": cluster_spec("ray:2"), "upgradeStrategy": {"type": "None"}}, "disabled"),
    ({"rayClusterConfig": cluster_spec("ray:2"), "upgradeStrategy": {"type": "StopThenStart"}}, "stop-then-start"),
    ({"serveConfigV2": "["}, "invalid"),
    ({"rayClusterConfig": {**cluster_spec(), "headGroupSpec": {"template": {"spec": {}}}}}, "invalid"),
    ({"suspend": True}, "suspend"),
])  # fmt: skip
def test_the_class_of_an_edit_is_what_then_happens(edit: dict[str, Any], kind: str) -> None:
    world = running()
    before = world.active
    answer = foretold(world, **edit)
    assert answer.kind == kind
    assert answer.pending is (kind not in ("none", "disabled", "invalid"))
    if kind == "invalid":
        assert answer.problems
        return
    world.edit("RayService", "chat", **edit)
    world.settle(seconds=100)
    assert (world.active != before) is (kind in ("switch", "stop-then-start", "suspend"))
    assert (world.puts != []) is (kind in ("live", "switch", "stop-then-start"))
    if kind == "switch":
        assert f"create {world.active}" in answer.steps, "even the name is foretold"


def test_taking_back_and_what_was_refused() -> None:
    world = running()
    world.auto = False
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=5)
    assert foretold(world, rayClusterConfig=cluster_spec()).kind == "cancel"
    again = foretold(world, rayClusterConfig=cluster_spec("ray:3"))
    assert again.kind == "switch"
    assert again.steps[0].startswith(f"delete {world.pending}")
    world.annotate("RayService", "chat", abort=world.pending)
    world.settle(seconds=5)
    assert foretold(world).kind == "refused"


def test_a_service_that_is_not_there_yet() -> None:
    service = ray_service()
    answer = preview({"service": service}, service, cluster_problems)
    assert answer.kind == "first"
    assert answer.steps[0] == "create the first cluster", "names come from uids"
    assert answer.document()["meaning"] == "the first cluster is made"


@pytest.mark.parametrize("dry_run", [False, True], ids=["as written", "as a dry run answers"])
def test_the_cluster_that_is_named_is_the_one_that_comes(dry_run: bool) -> None:
    world = running()
    found = world.look()
    edited = {**found["service"]["spec"], "rayClusterConfig": cluster_spec("ray:2")}
    metadata = found["service"]["metadata"]
    metadata = {**metadata, "generation": metadata["generation"] + 1} if dry_run else metadata
    answer = preview(found, {**found["service"], "metadata": metadata, "spec": edited}, cluster_problems)
    world.edit("RayService", "chat", rayClusterConfig=cluster_spec("ray:2"))
    world.settle(seconds=3)
    assert answer.steps[0] == f"create {world.active}"
