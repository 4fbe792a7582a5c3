"""At no moment does the server accept a write from somebody who has lost the lease, whatever happens to whom.

``RAYCTL_TEST_LEASE_SEEDS``: how many simulated histories (default 60).
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

import pytest

from rayctl.kube import lease
from rayctl.kube.calls import Call, Resource
from rayctl.kube.errors import KubernetesError, LeaseLost
from rayctl.kube.lease import (
    LEASES,
    PREFERRED,
    RESERVED_S,
    STANDBY,
    Elector,
    Fence,
    FencedTransport,
    Observed,
    Terms,
    asking,
    may_claim,
    must_give_back,
    renewal,
    wants_to_ask,
)
from rayctl.testkit.faults import Answer, Fault, FaultTransport, Hang, LostAnswer, Unreachable
from rayctl.testkit.local_transport import LocalTransport
from rayctl.testkit.virtual_time import run_virtual
from tests.unit.embedded.local import Local

MAPS = Resource("", "v1", "configmaps", "ConfigMap")
KEY = ("default", "control-plane")
SEEDS = int(os.environ.get("RAYCTL_TEST_LEASE_SEEDS", "60"))
TERMS = Terms()
MARGIN_S = TERMS.duration_s - TERMS.renew_deadline_s


def wall() -> float:
    """A clock for people. Renewals that wrote the same time twice would be no change, and so none at all."""
    return 1_700_000_000.0 + asyncio.get_running_loop().time()


def document(holder: str, epoch: int = 3, duration_s: int = 15, revision: str = "7") -> dict[str, Any]:
    spec = {"holderIdentity": holder, "leaseTransitions": epoch, "leaseDurationSeconds": duration_s}
    return {"metadata": {"resourceVersion": revision}, "spec": spec}


def test_a_lease_is_claimed_only_after_its_holders_own_duration_without_a_change() -> None:
    seen = Observed(document("other", duration_s=40), since=100.0)
    assert not may_claim(seen, 139.9)
    assert may_claim(seen, 140.0)
    assert may_claim(Observed(document(""), since=100.0), 100.0)
    assert not may_claim(Observed(document("me"), since=100.0), 100.0)  # perhaps a process before this one
    same = seen.then(document("other", duration_s=40), 130.0)
    assert same.since == 100.0
    assert seen.then(document("other", duration_s=40, revision="8"), 130.0).since == 130.0


def test_the_epoch_moves_with_every_change_of_hands_and_only_then() -> None:
    mine, other = Observed(document("me"), 0.0), Observed(document("other"), 0.0)
    assert renewal(mine, KEY, "me", TERMS, 0.0)["spec"]["leaseTransitions"] == 3
    assert renewal(other, KEY, "me", TERMS, 0.0)["spec"]["leaseTransitions"] == 4
    assert renewal(None, KEY, "me", TERMS, 0.0)["spec"]["leaseTransitions"] == 0
    assert renewal(other, KEY, "me", TERMS, 0.0)["metadata"]["resourceVersion"] == "7"


def annotated(holder: str, **annotations: str) -> Observed:
    found = document(holder)
    names = {"preferred": PREFERRED, "standby": STANDBY}
    found["metadata"]["annotations"] = {names[name]: value for name, value in annotations.items()}
    return Observed(found, since=100.0)


def test_a_lease_is_left_for_a_while_to_who_is_preferred() -> None:
    free = annotated("", preferred="blue")
    assert [may_claim(free, 100.0, name) for name in ("blue", "blue_1", "bluer_1", "green_1")] == [
        True,
        True,
        False,
        False,
    ]
    assert may_claim(free, 100.0 + RESERVED_S, "green_1")
    dead = annotated("green_0", preferred="blue")
    assert not may_claim(dead, 114.9, "blue_1")
    assert may_claim(dead, 115.0, "blue_1")
    assert not may_claim(dead, 115.0, "green_1")


@pytest.mark.parametrize(
    ("holder", "annotations", "gives_back", "asked"),
    [
        ("a", {}, False, False),
        ("a", {"preferred": "a"}, False, False),
        ("a", {"preferred": "b"}, True, False),
        ("a", {"standby": "true"}, False, True),
        ("a", {"standby": "true", "preferred": "b"}, True, False),
        ("", {"standby": "true"}, False, False),
    ],
)
def test_who_makes_way(holder: str, annotations: dict[str, str], gives_back: bool, asked: bool) -> None:
    seen = annotated(holder, **annotations)
    assert must_give_back(seen, "a") is gives_back
    assert wants_to_ask(seen, TERMS) is asked
    assert not wants_to_ask(seen, Terms(standby=True))


def test_asking_changes_nothing_but_who_is_preferred() -> None:
    seen = annotated("a", standby="true")
    asked = Observed(asking(seen, "b"), 0.0)
    assert (asked.holder, asked.transitions, asked.revision, asked.standby) == ("a", 3, "7", True)
    assert asked.preferred == "b"
    assert "annotations" not in renewal(asked, KEY, "b", TERMS, 0.0)["metadata"]


def test_what_others_have_written_on_a_lease_stays() -> None:
    seen = annotated("a", standby="true", preferred="b")
    seen.document["metadata"]["annotations"]["team"] = "x"
    seen.document["metadata"] |= {"labels": {"app.kubernetes.io/part-of": "rayctl"}, "managedFields": [{}], "uid": "u"}
    written = renewal(seen, KEY, "b", TERMS, 0.0)["metadata"]
    assert written["labels"] == {"app.kubernetes.io/part-of": "rayctl"}
    assert written["annotations"] == {"team": "x"}
    assert (written["uid"], written["resourceVersion"]) == ("u", "7")
    assert "managedFields" not in written
    standing_in = renewal(seen, KEY, "b", Terms(standby=True), 0.0)["metadata"]
    assert standing_in["annotations"] == {"team": "x", STANDBY: "true"}


def test_terms_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="duration_s > renew_deadline_s"):
        Terms(duration_s=10, renew_deadline_s=10)


class History:
    """What the server accepted: every write with its author's epoch, and every state of the Lease, in order."""

    def __init__(self) -> None:
        self.accepted = 0
        self.leaders: set[tuple[str, int]] = set()
        self.wrong: list[str] = []
        self._epoch = -1

    def look(self, call: Call, answer: Any) -> None:
        if call.path.startswith(LEASES.path("default")) and call.writes:
            epoch = answer["spec"]["leaseTransitions"]
            if epoch < self._epoch:
                self.wrong.append(f"the epoch went from {self._epoch} to {epoch}")
            self._epoch = epoch
            if answer["spec"]["holderIdentity"]:
                self.leaders.add((answer["spec"]["holderIdentity"], epoch))
        elif call.path.startswith(MAPS.path("default")) and call.writes:
            self.accepted += 1
            epoch = int(answer["data"]["epoch"])
            if epoch != self._epoch:
                self.wrong.append(f"a write of epoch {epoch} in epoch {self._epoch}")


class Recording:
    """The transport next to the server: sees what was accepted, when it is."""

    def __init__(self, inner: LocalTransport, history: History) -> None:
        self._inner, self._history = inner, history
        self.watch, self.close = inner.watch, inner.close

    async def request(self, call: Call) -> Any:
        answer = await self._inner.request(call)
        self._history.look(call, answer)
        return answer


def candidate(name: str, local: Local, history: History, chance: random.Random) -> asyncio.Future[None]:
    """One process: it leads if it can, and then writes once in a while, however its faults come."""
    storm_until = 0.0
    fault: Fault | None = None

    def decide(number: int, call: Call) -> Fault | None:
        nonlocal storm_until, fault
        now = asyncio.get_running_loop().time()
        if now >= storm_until and chance.random() < 0.06:
            storm_until = now + chance.choice([0.0, 5.0, 20.0, 40.0])
            late = chance.choice([None, 0.0, 0.5 * MARGIN_S, 0.9 * MARGIN_S])
            fault = chance.choice([Unreachable(), LostAnswer(), Hang(late), Answer(500), Answer(409, "Conflict")])
            return fault
        return fault if now < storm_until else None

    transport = FaultTransport(Recording(LocalTransport(local.handler, "t"), history), decide)

    async def lead(fence: Fence) -> None:
        fenced = FencedTransport(transport, fence)
        count = 0
        while True:
            count += 1
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m{count % 3}"}}
            body["data"] = {"epoch": str(fence.epoch), "by": name, "count": str(count)}
            try:
                await fenced.request(Call.apply(MAPS.path("default", f"m{count % 3}"), body, name))
            except LeaseLost:
                # It ought to be cancelled about now; one that is not goes on trying, in vain.
                await asyncio.sleep(0.5)
            except KubernetesError:
                await asyncio.sleep(0.1)
            await asyncio.sleep(chance.random())

    elector = Elector(transport, KEY, name, lead, wall, TERMS, chance)
    return asyncio.ensure_future(elector.run())


def simulate(seed: int) -> History:
    """A few minutes with two candidates, processes that end, and new ones in their place."""

    async def main() -> History:
        local = await Local(seed).start()
        chance = random.Random(seed)
        history = History()
        tasks = {name: candidate(name, local, history, chance) for name in ("a", "b")}
        for turn in range(8):
            await asyncio.sleep(30 * chance.random() + 5)
            # One ends at once (cancelled: it gives the lease back), a new process takes its place.
            if turn % 3 == 2:
                old = chance.choice(sorted(tasks))
                tasks[old].cancel()
                await asyncio.wait([tasks[old]])
                tasks[old + "'"] = candidate(old + "'", local, history, chance)
                del tasks[old]
        assert not any(task.done() for task in tasks.values())
        return history

    return run_virtual(main())


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nobody_writes_who_does_not_lead(seed: int) -> None:
    history = simulate(seed)
    assert history.wrong == []
    assert history.accepted > 0
    assert history.leaders


def _never_closed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Fence, "left_s", lambda fence: 100.0 if fence.until else 0.0)


def _too_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lease, "may_claim", lambda seen, now, who: not seen.holder or now >= seen.since + 7)


def _released_in_doubt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FencedTransport, "_doubt", lambda fenced, call: None)


def _counted_from_the_answer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Terms, "renew_deadline_s", 14.9)
    patch.setattr(Elector, "_write", _late_fence(Elector._write))


def _late_fence(write: Any) -> Any:
    async def later(elector: Elector, timeout_s: float) -> Fence:
        fence: Fence = await write(elector, timeout_s)
        fence.until = asyncio.get_running_loop().time() + 14.9
        return fence

    return later


@pytest.mark.parametrize("plant", [_never_closed, _too_early, _released_in_doubt, _counted_from_the_answer])
def test_the_simulation_notices_planted_defects(plant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    assert any(simulate(seed).wrong for seed in range(40))


def test_the_same_seed_gives_the_same_history() -> None:
    def run() -> list[Any]:
        async def main() -> list[Any]:
            local = await Local(5).start()
            history = History()
            chance = random.Random(5)
            tasks = [candidate(name, local, history, chance) for name in ("a", "b")]
            await asyncio.sleep(300)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            found = await LocalTransport(local.handler, "t").request(Call.get(MAPS.path("default")))
            return [history.accepted, sorted(history.leaders), [item["data"] for item in found["items"]]]

        return run_virtual(main())

    assert run() == run()


def test_leadership_goes_over_in_time() -> None:
    async def main() -> None:
        local = await Local().start()
        history = History()
        dead = False
        transport = LocalTransport(local.handler, "t")
        behind = FaultTransport(Recording(transport, history), lambda number, call: Unreachable() if dead else None)
        led: list[tuple[str, float]] = []
        loop = asyncio.get_running_loop()

        def leading(name: str) -> Any:
            async def lead(fence: Fence) -> None:
                led.append((name, loop.time()))
                await asyncio.sleep(1e6)

            return lead

        first = asyncio.ensure_future(Elector(behind, KEY, "a", leading("a"), wall).run())
        await asyncio.sleep(5)
        other = Recording(transport, history)
        second = asyncio.ensure_future(Elector(other, KEY, "b", leading("b"), wall).run())
        await asyncio.sleep(20)
        assert [name for name, _ in led] == ["a"]
        dead = True
        died = loop.time()
        await asyncio.sleep(60)
        assert [name for name, _ in led] == ["a", "b"]
        assert 10 <= led[1][1] - died <= 15 + 3 * 2.4
        second.cancel()  # gives it back
        dead = False
        given = loop.time()
        await asyncio.wait([second])
        await asyncio.sleep(10)
        assert [name for name, _ in led] == ["a", "b", "a"]
        assert led[2][1] - given < 3
        first.cancel()
        await asyncio.wait([first])

    run_virtual(main())


def test_a_standby_leads_only_while_nobody_else_is_there_and_an_upgrade_moves_the_lease() -> None:
    async def main() -> None:
        local = await Local().start()
        history = History()
        transport = Recording(LocalTransport(local.handler, "t"), history)
        led: list[tuple[str, float]] = []
        loop = asyncio.get_running_loop()

        def candidate(name: str, standby: bool = False) -> asyncio.Future[None]:
            async def lead(fence: Fence) -> None:
                led.append((name, loop.time()))
                await asyncio.sleep(1e6)

            elector = Elector(transport, KEY, name, lead, wall, Terms(standby=standby))
            return asyncio.ensure_future(elector.run())

        tasks = [candidate("standby", True)]
        await asyncio.sleep(5)
        at = loop.time()
        tasks.append(candidate("old_1"))
        await asyncio.sleep(30)
        assert [name for name, _ in led] == ["standby", "old_1"]
        assert led[1][1] - at < 8
        tasks.append(candidate("new_1"))
        await asyncio.sleep(30)
        assert [name for name, _ in led] == ["standby", "old_1"]
        at = loop.time()
        seen = Observed(await transport.request(Call.get(LEASES.path(*KEY))), 0.0)
        await transport.request(Call("PUT", LEASES.path(*KEY), body=asking(seen, "new")))
        await asyncio.sleep(30)
        assert [name for name, _ in led] == ["standby", "old_1", "new_1"]
        assert led[2][1] - at < 8
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    run_virtual(main())


def test_what_the_leader_raises_comes_out_and_the_lease_is_free() -> None:
    async def main() -> None:
        local = await Local().start()
        transport = LocalTransport(local.handler, "t")

        async def lead(fence: Fence) -> None:
            raise ZeroDivisionError("planned")

        with pytest.raises(ZeroDivisionError):
            await Elector(transport, KEY, "a", lead, wall).run()
        left = await transport.request(Call.get(LEASES.path(*KEY)))
        assert left["spec"].get("holderIdentity", "") == ""

    run_virtual(main())
