"""A control plane of actors on a Kubernetes API: who makes it, who moves it, how the state changes hands; each under
its own account, with the server's authorizer between and no right that is not used."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rayctl.embedded.apiserver.access.rbac import Authorizer
from rayctl.embedded.apiserver.access.tokens import ADMIN, Tokens
from rayctl.embedded.apiserver.handler import Handler
from rayctl.embedded.apiserver.requests import User
from rayctl.kube.calls import MERGE, Call
from rayctl.kube.kinds import CONFIG_MAPS, LEASES, PODS, RAY_CLUSTERS, SECRETS, SERVICES, kind_of
from rayctl.kube.lease import Observed
from rayctl.manifests.access import CONTROLLERS, INSTALLATION, STATUS, TOKEN, standby_rules, state_rules
from rayctl.manifests.installation import (
    NAME,
    PODS_ACCOUNT,
    STANDBY,
    Installation,
    chosen_fields,
    documents,
    installed,
)
from rayctl.selfhost import moving
from rayctl.selfhost.mover import Mover
from rayctl.selfhost.standby import Standby, status_data
from rayctl.selfhost.turns import NOBODY, MapTurns, Mirror
from rayctl.service.record import Phase
from rayctl.service.switchover import OVERDUE_S
from rayctl.state.turn import Turn, read_turn
from rayctl.testkit.local_transport import LocalTransport
from tests.api.kube.conftest import Kubernetes
from tests.sim.test_rights import Recording, Right

CHOSEN = Installation(actors=True, num_cpus=1, image="rayctl:1")
SECOND = f"{NAME}-2"


class Cluster:
    """An API server with a control plane installed; does what kubelets, Ray and actors would do."""

    def __init__(self) -> None:
        self.kubernetes = Kubernetes()
        self.comes_up = True
        self._known: set[str] = set()
        self.now = 1_000_000.0

    async def start(self) -> Cluster:
        await self.kubernetes.start()
        for document in documents(CHOSEN):
            resource = kind_of(document["apiVersion"], document["kind"])
            metadata = document["metadata"]
            path = resource.path(metadata.get("namespace", ""), metadata["name"])
            await self.admin(Call.apply(path, document, "rayctl"))
        return self

    async def admin(self, call: Call) -> Any:
        return await self.kubernetes.transport.request(call)

    def account(self, name: str) -> Recording:
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{NAME}", "system:authenticated")
        user = User(f"system:serviceaccount:{NAME}:{name}", groups=groups)
        local = self.kubernetes.local
        return Recording(
            LocalTransport(Handler(local.api, Tokens([("t", ADMIN), ("a", user)]), Authorizer(local.store)), "a")
        )

    async def sides(self) -> list[str]:
        return sorted(
            item["metadata"]["name"] for item in (await self.admin(Call.get(RAY_CLUSTERS.path(NAME))))["items"]
        )

    async def selected(self) -> str:
        return str((await self.admin(Call.get(SERVICES.path(NAME, "rayctl"))))["spec"]["selector"]["ray.io/cluster"])

    async def live(self) -> None:
        """Let what is there do its work once."""
        for side in await self.sides():
            if side not in self._known and (self.comes_up or side == NAME):
                self._known.add(side)
                await self._run(side)
        turns = MapTurns(self.kubernetes.transport, NAME)
        turn = await turns.read()
        if turn.must_release(turn.holder):
            await turns.write(Turn(turn.wanted, turn.wanted))
        for name in CONTROLLERS:
            lease = await self.admin(Call.get(LEASES.path(NAME, name)))
            holder = f"{Observed(lease, 0.0).preferred or NAME}_1"
            if lease["spec"].get("holderIdentity") != holder:
                lease["spec"]["holderIdentity"] = holder
                await self.admin(Call("PUT", LEASES.path(NAME, name), body=lease))

    async def _run(self, side: str) -> None:
        await self.kubernetes.status(RAY_CLUSTERS, side, {"state": "ready"}, NAME)
        labels = {"ray.io/cluster": side, "ray.io/node-type": "head"}
        pod = {
            "metadata": {"name": f"{side}-head", "labels": labels},
            "spec": {"containers": [{"name": "a", "image": "a"}]},
        }
        path = PODS.path(NAME, pod["metadata"]["name"])  # type: ignore[index]
        document = {"apiVersion": "v1", "kind": "Pod", **pod}
        await self.admin(Call.apply(path, document, "test", True))
        await self.admin(Call("PATCH", f"{path}/status", body={"status": {"podIP": "10.0.0.1"}}, content_type=MERGE))

    async def move(self, mover: Mover, seconds: float = 60.0) -> moving.Move:
        """Let the mover work until nothing is wanted any more."""
        end = self.now + seconds
        while self.now < end:
            move = await mover.step(Web())  # type: ignore[arg-type]
            await self.live()
            self.now += 1.0
        return move

    def mover(self, transport: Any) -> Mover:
        return Mover(transport, CHOSEN, lambda: self.now, MapTurns(transport, NAME))


class Web:
    """All gateways answer."""

    @asynccontextmanager
    async def get(self, url: str) -> Any:
        assert url == "http://10.0.0.1:8000/healthz"
        yield type("Answer", (), {"status": 200})


def granted(rules: Iterable[dict[str, Any]]) -> set[Right]:
    return {
        (verb, group, resource)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.security("S5")
async def test_the_standby_makes_the_cluster_and_moves_it_and_may_do_no_more() -> None:
    world = await Cluster().start()
    account = world.account(STANDBY)
    standby = Standby(account, CHOSEN)
    await standby.install()
    await standby._write_status(status_data(REPORT))
    assert (await world.sides(), await world.selected()) == ([NAME], NAME)
    await world.live()

    mover = world.mover(account)
    move, found = await mover.move()
    assert move.changes == {NAME: chosen_fields(CHOSEN)}, "what a move back has to know"
    wish = moving.wish_new(move, {**chosen_fields(CHOSEN), "image": "rayctl:2"})
    await world.mover(world.kubernetes.transport).keep(wish, found)  # by whoever typed it
    move = await world.move(mover)
    assert (move.record.phase, move.record.active, moving.at_rest(move)) == (Phase.SWITCHED, SECOND, True)
    assert (await world.sides(), await world.selected()) == ([SECOND], SECOND)
    assert await MapTurns(account, NAME).read() == Turn(SECOND, SECOND)
    live = await world.admin(Call.get(RAY_CLUSTERS.path(NAME, SECOND)))
    assert live["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"] == "rayctl:2"

    back = moving.wish_back(move)
    assert back is not None
    assert back.changes[back.target]["image"] == "rayctl:1"
    # Lost as a whole: the next standby makes what is active, not what was first.
    await world.admin(Call("DELETE", RAY_CLUSTERS.path(NAME, SECOND)))
    await world.admin(Call("DELETE", SERVICES.path(NAME, "rayctl")))
    await Standby(account, CHOSEN).install()
    assert (await world.sides(), await world.selected()) == ([SECOND], SECOND)

    assert not account.refused
    claims = {("patch", "ray.io", "rayclusters")}  # a cluster of that name is there already
    assert granted(standby_rules()) - account.used <= claims
    assert account.used <= granted(standby_rules())


async def test_a_move_that_does_not_become_ready_is_given_up_by_whoever_comes_next() -> None:
    world = await Cluster().start()
    transport = world.kubernetes.transport
    await Standby(transport, CHOSEN).install()
    await world.live()
    world.comes_up = False
    move, found = await world.mover(transport).move()
    await world.mover(transport).keep(moving.wish_new(move, chosen_fields(CHOSEN), 20.0), found)
    await world.move(world.mover(transport), 10.0)
    assert await world.sides() == [NAME, SECOND]
    move = await world.move(world.mover(transport), 20.0 + OVERDUE_S)  # another process
    assert (move.record.phase, moving.at_rest(move)) == (Phase.ROLLED_BACK, True)
    assert "not ready in time" in move.record.message
    assert (await world.sides(), await world.selected()) == ([NAME], NAME)
    assert (await MapTurns(transport, NAME).read()).holder == NAME


async def test_what_is_there_is_not_changed_and_new_choices_wait_for_a_move() -> None:
    world = await Cluster().start()
    transport = world.kubernetes.transport
    await Standby(transport, CHOSEN).install()
    before = await world.admin(Call.get(RAY_CLUSTERS.path(NAME, NAME)))
    changes = {"data": {"image": "rayctl:9", "workers": "3"}}
    await world.admin(Call("PATCH", CONFIG_MAPS.path(NAME, INSTALLATION), body=changes, content_type=MERGE))
    await Standby(transport, CHOSEN).install()
    assert await world.admin(Call.get(RAY_CLUSTERS.path(NAME, NAME))) == before
    found = installed(NAME, await world.admin(Call.get(CONFIG_MAPS.path(NAME, INSTALLATION))))
    assert (found.image, found.workers, found.num_cpus) == ("rayctl:9", 3, 1)


async def test_the_http_api_is_asked_at_its_service_from_wherever_the_standby_is() -> None:
    world = await Cluster().start()
    standby = Standby(world.kubernetes.transport, CHOSEN)
    await standby.install()
    asked: list[str] = []

    class Asked(Web):
        @asynccontextmanager
        async def get(self, url: str) -> Any:
            asked.append(url)
            yield type("Answer", (), {"status": 200})

    body = {"spec": {"clusterIP": "127.96.0.9"}}  # as whoever allocates addresses does
    await world.admin(Call("PATCH", SERVICES.path(NAME, "rayctl"), body=body, content_type=MERGE))
    await standby._look(Asked())  # type: ignore[arg-type]
    assert asked == ["http://127.96.0.9:8000/readyz"]
    assert standby.seen.gateway == ""


def test_what_was_chosen_is_read_as_it_was_written() -> None:
    [config] = [item for item in documents(CHOSEN) if item["metadata"]["name"] == INSTALLATION]
    assert installed(NAME, config) == CHOSEN


REPORT: dict[str, Any] = {
    "pid": 1,
    "state": "ready",
    "reason": "",
    "at": 12.0,
    "steps": {"http": 10.04},
    "http_url": "",
    "system": {"cluster": NAME, "leaders": {"fleet-controller": "a_1"}, "move": None, "state": "ready"},
}


def test_the_published_status_changes_only_with_the_state() -> None:
    found = status_data(REPORT)
    assert found == status_data({**REPORT, "at": 99.0})
    assert (found["state"], found["cluster"], json.loads(found["steps"])) == ("ready", NAME, {"http": 10.0})


# A side's copy ----------------------------------------------------------------------------------------


def blocking(transport: Any) -> Callable[[Call], Any]:
    loop = asyncio.get_running_loop()
    return lambda call: asyncio.run_coroutine_threadsafe(transport.request(call), loop).result(10)


@pytest.mark.security("S5")
async def test_a_side_lets_go_and_the_other_one_takes_over(tmp_path: Path) -> None:
    world = await Cluster().start()
    account = world.account(PODS_ACCOUNT)
    turns = MapTurns(world.kubernetes.transport, NAME)
    await turns.read()
    await turns.write(Turn("blue", "blue"))
    sides = {name: tmp_path / name / "turn.json" for name in ("blue", "green")}
    mirrors = {name: Mirror(blocking(account), NAME, path, path.with_name("token")) for name, path in sides.items()}
    assert [read_turn(path) for path in sides.values()] == [NOBODY, NOBODY]
    assert not any(read_turn(path).is_of(name) for name, path in sides.items())

    async def look() -> list[bool]:
        for mirror in mirrors.values():
            await asyncio.to_thread(mirror.look)
        return [read_turn(path).is_of(name) for name, path in sides.items()]

    assert await look() == [True, False]
    await turns.read()
    await turns.write(Turn("blue", "green"))
    assert await look() == [False, False]
    assert read_turn(sides["blue"]).must_release("blue")
    await asyncio.to_thread(mirrors["blue"].hand_over, "blue", "green")
    assert await look() == [False, True]
    # It was taken back before it was given: it stays.
    await turns.read()
    await turns.write(Turn("green", "green"))
    await asyncio.to_thread(mirrors["green"].hand_over, "green", "blue")
    assert await look() == [False, True]

    for mirror in mirrors.values():
        await asyncio.to_thread(mirror.copy_tokens)
    first, second = (path.with_name("token").read_text() for path in sides.values())
    assert first == second
    assert len(first.split()) == 1
    assert os.stat(sides["blue"].with_name("token")).st_mode & 0o777 == 0o600
    body = {"stringData": {"token": f"{first}another red\n"}}
    await world.admin(Call("PATCH", SECRETS.path(NAME, TOKEN), body=body, content_type=MERGE))
    await asyncio.to_thread(mirrors["green"].copy_tokens)
    assert sides["green"].with_name("token").read_text().splitlines()[1] == "another red"

    assert not account.refused
    assert account.used == granted(state_rules())


async def test_applying_the_installation_again_keeps_records_and_tokens() -> None:
    world = await Cluster().start()
    transport = world.kubernetes.transport
    await Standby(transport, CHOSEN).install()
    await Standby(transport, CHOSEN)._write_status(status_data(REPORT))
    body = {"stringData": {"token": "secret\n"}}
    await world.admin(Call("PATCH", SECRETS.path(NAME, TOKEN), body=body, content_type=MERGE))
    names = [CONFIG_MAPS.path(NAME, moving.CONFIG), CONFIG_MAPS.path(NAME, STATUS), SECRETS.path(NAME, TOKEN)]
    before = [(await world.admin(Call.get(name)))["data"] for name in names]
    for document in documents(CHOSEN):
        resource = kind_of(document["apiVersion"], document["kind"])
        path = resource.path(document["metadata"].get("namespace", ""), document["metadata"]["name"])
        await world.admin(Call.apply(path, document, "rayctl", True))
    assert [(await world.admin(Call.get(name)))["data"] for name in names] == before
    assert all(before)
    labels = (await world.admin(Call.get(names[0])))["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "rayctl"
