"""The move of the control plane to another cluster: what it sees, wants, and in which order things move."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rayctl.errors import Unavailable
from rayctl.manifests.access import CONTROLLERS
from rayctl.manifests.installation import NAME
from rayctl.selfhost import moving
from rayctl.selfhost.moving import Move, at_rest, look, parse_move, side_of, wish_back, wish_new
from rayctl.service.record import Phase
from rayctl.service.switchover import advance
from rayctl.service.terms import Claim, Make, Point, Remove, Side
from rayctl.state.turn import Turn, read_turn, turn_file, wait_for_turn, write_turn


class World:
    """Two sides and what leads to them; does at once what is asked."""

    def __init__(self) -> None:
        self.sides = {NAME: Side(NAME, True, ready=True, serves=True, endpoints=1, wanted_endpoints=1)}
        self.selected, self.turn, self.leader = NAME, Turn(), NAME
        self.move = parse_move(None)
        self.asked: list[str] = []
        self.ready = True

    def step(self, now: float) -> None:
        self.move = parse_move({"data": self.move.data()})  # as it would be after a restart
        leases = {name: lease(name, f"{self.leader}_1") for name in CONTROLLERS}
        seen = look(self.move, self.sides, self.selected, self.turn, leases)
        found = advance(self.move.record, seen, moving.RULES, self.move.wish, now)
        if found.record is not None and found.record != self.move.record:
            self.move = replace(self.move, record=found.record)
        elif found.do is not None:
            self.do(found.do)

    def do(self, ask: Any) -> None:
        self.asked.append(f"{type(ask).__name__} {getattr(ask, 'entry', '') or ask.side}")
        if isinstance(ask, Make):
            self.turn = Turn(self.turn.holder or NAME, self.turn.wanted or NAME)
            serial = self.move.record.serial
            self.sides[ask.side] = Side(ask.side, True, False, serial, self.ready, self.ready, int(self.ready), 1)
        elif isinstance(ask, Claim):
            self.sides[ask.side] = replace(self.sides[ask.side], claim=ask.serial)
        elif isinstance(ask, Remove):
            self.sides[ask.side] = Side(ask.side)
        elif isinstance(ask, Point) and ask.entry == moving.SERVICE:
            self.selected = ask.side
        elif isinstance(ask, Point) and ask.entry == moving.STATE:
            self.turn = Turn(ask.side, ask.side)
        elif isinstance(ask, Point):
            self.leader = ask.side

    def run(self, seconds: float = 30.0, began: float = 1_000_000.0) -> None:
        now = began
        while now < began + seconds:
            self.step(now)
            now += 0.5


def lease(name: str, holder: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": "1"}, "spec": {"holderIdentity": holder}}


def test_nothing_is_wanted_at_first() -> None:
    world = World()
    world.run()
    assert world.asked == []
    assert at_rest(world.move)
    assert wish_back(world.move) is None


def test_service_state_and_leases_move_in_this_order_and_the_old_side_goes_last() -> None:
    world = World()
    world.move = wish_new(world.move, {"num_cpus": 1})
    assert not at_rest(world.move)
    world.run()
    new = world.move.record.target
    assert new != NAME
    assert world.asked == [f"Make {new}", "Point service", "Point state", "Point leases", f"Remove {NAME}"]
    assert (world.selected, world.turn, world.leader) == (new, Turn(new, new), new)
    assert at_rest(world.move)
    assert world.move.record.active == new
    assert world.move.changes[new] == {"num_cpus": 1}


def test_the_next_move_has_another_name_and_keeps_what_was_changed() -> None:
    world = World()
    world.move = wish_new(world.move, {"num_cpus": 1})
    world.run()
    second = wish_new(world.move, {"memory": "1Gi"})
    assert second.target not in (NAME, world.move.record.active)
    assert second.changes[second.target] == {"num_cpus": 1, "memory": "1Gi"}
    back = wish_back(world.move)
    assert back is not None
    assert back.changes[back.target] == {}


def test_a_side_that_never_becomes_ready_is_given_up_and_nothing_moves() -> None:
    world = World()
    world.ready = False
    world.move = wish_new(world.move, {})
    world.run(400.0)
    assert world.move.record.phase is Phase.ROLLED_BACK
    assert not [ask for ask in world.asked if ask.startswith("Point") and world.selected != NAME]
    assert (world.selected, world.leader) == (NAME, NAME)
    assert not world.sides[world.move.record.target].exists
    assert at_rest(world.move)


def test_a_move_that_is_aborted_ends_where_it_began() -> None:
    world = World()
    world.ready = False
    world.move = wish_new(world.move, {})
    world.run(10.0)
    aborted = wish_back(world.move)
    assert aborted is not None
    world.move = aborted
    world.run(30.0, 1_000_010.0)
    assert (world.move.record.phase, world.selected) == (Phase.ROLLED_BACK, NAME)
    assert not world.sides[world.move.record.target].exists


def test_a_wish_with_which_nobody_has_begun_is_taken_back() -> None:
    world = World()
    world.move = wish_new(world.move, {})
    world.run()
    active = world.move.record.active
    world.move = wish_new(world.move, {"memory": "1Gi"})
    taken_back = wish_back(world.move)
    assert taken_back is not None
    assert at_rest(taken_back)
    world.move = taken_back
    world.asked.clear()
    world.run(30.0, 1_000_900.0)
    assert (world.asked, world.move.record.active) == ([], active)


@pytest.mark.parametrize(
    ("state", "gateway", "ready", "serves"),
    [("ready", True, True, True), ("", True, False, True), ("", False, False, False), ("ready", None, False, None)],
)
def test_a_side_is_ready_when_its_cluster_is_and_its_gateway_answers(
    state: str, gateway: bool | None, ready: bool, serves: bool | None
) -> None:
    side = side_of("blue", {"metadata": {}, "status": {"state": state}}, gateway)
    assert (side.ready, side.serves) == (ready, serves)


@pytest.mark.parametrize(
    ("conditions", "why"),
    [
        ([], "blue: there is no head"),
        ([("False", "0/1 nodes are available")], "blue: 0/1 nodes are available"),
        ([("True", "")], "blue: its HTTP API does not answer"),
    ],
)
def test_a_side_that_is_not_ready_says_why(conditions: list[tuple[str, str]], why: str) -> None:
    found = [{"type": "HeadPodReady", "status": status, "message": message} for status, message in conditions]
    side = side_of("blue", {"metadata": {}, "status": {"conditions": found}}, False)
    assert side.waits_for is not None
    assert side.waits_for.message == why


def test_leases_that_a_standby_has_do_not_move() -> None:
    move: Move = wish_new(parse_move(None), {})
    seen = look(move, {}, NAME, Turn(), {name: lease(name, "standby_1") for name in CONTROLLERS})
    assert {entry.name: entry.at for entry in seen.entries}[moving.LEASES] == NAME


def test_one_side_at_a_time_works_with_the_state(tmp_path: Path) -> None:
    path = turn_file(tmp_path)
    assert read_turn(path).is_of("blue")
    write_turn(path, Turn("blue", "green"))
    turn = read_turn(path)
    assert [turn.is_of(side) for side in ("blue", "green", "")] == [False, False, True]
    assert turn.must_release("blue")
    assert not turn.must_release("green")
    with pytest.raises(Unavailable, match="moving"):
        wait_for_turn(path, "green", 0.0)
    write_turn(path, Turn("green", "green"))
    wait_for_turn(path, "green", 0.0)
