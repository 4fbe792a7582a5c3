"""One greedy user does not starve the others; who has too much waiting is refused, and told when to come again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rayctl.embedded.apiserver.access.rbac import Authorizer
from rayctl.embedded.apiserver.access.tokens import Tokens
from rayctl.embedded.apiserver.fairness import Crowd, Lane, Limits
from rayctl.embedded.apiserver.handler import Handler
from rayctl.embedded.apiserver.requests import Request, Response, Stream, User
from rayctl.testkit.virtual_time import run_virtual
from tests.unit.embedded.local import Local

MAPS = "/api/v1/namespaces/default/configmaps"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
USERS = ("greedy", "modest", "third")


class Server:
    """A server with few seats, and in which order it answered whom."""

    def __init__(self, local: Local, limits: Limits) -> None:
        tokens = Tokens([(name, User(name, groups=("system:masters",))) for name in USERS])
        self.local = local
        self.handler = Handler(local.api, tokens, Authorizer(local.store), None, limits)
        self.answered: list[str] = []

    def begin(self, user: str, method: str, target: str, body: Any = None) -> asyncio.Task[Response | Stream]:
        """Send a request without waiting for its answer."""
        return asyncio.ensure_future(self._send(user, method, target, body))

    async def _send(self, user: str, method: str, target: str, body: Any) -> Response | Stream:
        headers = {"authorization": f"Bearer {user}", "content-type": "application/json"}
        raw = b"" if body is None else json.dumps(body).encode()
        answer = await self.handler.handle(Request.make(method, target, headers, raw))
        self.answered.append(user)
        return answer


def play(limits: Limits, body: Callable[[Server], Awaitable[None]]) -> None:
    async def main() -> None:
        await body(Server(await Local().start(), limits))

    run_virtual(main())


def named(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}}


@pytest.mark.parametrize(("waiting", "begun"), [(20, 8), (80, 2)])
def test_beside_a_greedy_user_a_turn_is_short(waiting: int, begun: int) -> None:
    """What the others wait for is the turn that goes on when they ask."""

    async def main() -> None:
        crowd = Crowd()
        lane = Lane(8, Limits(greedy=64, beside=4), crowd)
        crowd.note("greedy")
        crowd.note("modest")
        going: list[int] = []

        async def ask(number: int) -> None:
            await lane.wait("greedy")
            going.append(number)

        asking = [asyncio.ensure_future(ask(number)) for number in range(waiting)]
        await asyncio.sleep(0)  # all have asked
        await asyncio.sleep(0)  # one turn
        await asyncio.sleep(0)  # who had it goes on
        assert len(going) == begun
        for each in asking:
            each.cancel()
        await asyncio.wait(asking)

    run_virtual(main())


@pytest.mark.security("S17")
def test_a_read_does_not_wait_behind_a_greedy_users_hundreds() -> None:
    async def body(server: Server) -> None:
        many = [server.begin("greedy", "GET", MAPS) for _ in range(300)]
        await asyncio.sleep(0)
        answer = await server.begin("modest", "GET", MAPS)
        assert isinstance(answer, Response)
        assert answer.code == 200
        assert len(server.answered) <= 4 * 4  # a few turns of the loop, not 300 answers
        await asyncio.gather(*many)
        assert server.answered.count("greedy") == 300

    play(Limits(reads=4, alone=1), body)


def test_three_users_get_the_same_share() -> None:
    async def body(server: Server) -> None:
        many = [server.begin(user, "GET", MAPS) for user in USERS for _ in range(100)]
        await asyncio.gather(*many)
        first = server.answered[10:160]  # the first seats were given away before anybody else had asked
        assert all(45 <= first.count(user) <= 55 for user in USERS), {user: first.count(user) for user in USERS}

    play(Limits(reads=5, alone=1), body)


def test_writes_take_turns_as_well_and_none_is_lost() -> None:
    async def body(server: Server) -> None:
        many = [server.begin("greedy", "POST", MAPS, named(f"g{number}")) for number in range(200)]
        await asyncio.sleep(0)
        answer = await server.begin("modest", "POST", MAPS, named("mine"))
        assert isinstance(answer, Response)
        assert answer.code == 201
        assert len(server.answered) < 30
        assert {getattr(found, "code", 0) for found in await asyncio.gather(*many)} == {201}

    play(Limits(mutations=4, alone=1), body)


@pytest.mark.security("S17")
def test_who_has_too_much_waiting_is_refused_after_a_while_and_nobody_else() -> None:
    async def body(server: Server) -> None:
        began = asyncio.get_running_loop().time()
        many = [server.begin("greedy", "GET", MAPS) for _ in range(60)]
        other = [server.begin("modest", "GET", MAPS) for _ in range(20)]
        answers = [found for found in await asyncio.gather(*many, *other) if isinstance(found, Response)]
        refused = [answer for answer in answers if answer.code == 429]
        assert len(refused) == 60 - 4 - 20
        assert asyncio.get_running_loop().time() - began == 1.0
        assert [answer.code for answer in answers[60:]] == [200] * 20
        document = json.loads(refused[0].body)
        assert ("Retry-After", "1") in refused[0].headers
        assert (document["reason"], document["details"]) == ("TooManyRequests", {"retryAfterSeconds": 1})
        again = await server.begin("greedy", "GET", MAPS)
        assert isinstance(again, Response)
        assert again.code == 200

    play(Limits(reads=4, alone=1, waiting=20, refused_after_s=1.0), body)


def test_watches_take_no_seats_while_they_last() -> None:
    async def body(server: Server) -> None:
        now = server.local.store.revision
        streams = [await server.begin("greedy", "GET", f"{MAPS}?watch=true&resourceVersion={now}") for _ in range(50)]
        assert all(isinstance(stream, Stream) for stream in streams)
        assert server.handler.hub.count == 50
        assert isinstance(await server.begin("greedy", "GET", MAPS), Response)
        await asyncio.sleep(0)
        assert server.handler.fairness.reads.in_flight == 0
        for stream in streams:
            await stream.chunks.aclose()  # type: ignore[union-attr,attr-defined]

    play(Limits(reads=2, alone=1), body)


@pytest.mark.security("S17")
def test_a_busy_user_keeps_its_leases() -> None:
    async def body(server: Server) -> None:
        many = [server.begin("greedy", "POST", MAPS, named(f"g{number}")) for number in range(300)]
        await asyncio.sleep(0)
        answer = await server.begin("greedy", "POST", LEASES, named("mine"))
        assert isinstance(answer, Response)
        assert answer.code == 201
        assert len(server.answered) < 30
        await asyncio.gather(*many)

    play(Limits(mutations=4, alone=1), body)


@pytest.mark.security("S17")
def test_health_is_asked_for_without_waiting() -> None:
    async def body(server: Server) -> None:
        many = [server.begin("greedy", "GET", MAPS) for _ in range(300)]
        many.append(server.begin("greedy", "GET", "/livez"))
        await asyncio.sleep(0)
        assert many[-1].done()
        await asyncio.gather(*many)

    play(Limits(reads=4, alone=1), body)


def test_long_lists_take_the_turns_that_they_cost() -> None:
    async def body(server: Server) -> None:
        for number in range(2_000):
            await server.local.call("POST", MAPS, named(f"m{number:04}"))
        # One such list is worth more than all seats: a second one, in the same turn, waits.
        lists = [server.begin("greedy", "GET", f"{MAPS}?labelSelector=a%3Db") for _ in range(30)]
        await asyncio.sleep(0)
        assert len(server.answered) == 1
        await server.begin("modest", "GET", MAPS + "/m0001")
        assert server.answered.index("modest") <= 4
        await asyncio.gather(*lists)

    play(Limits(alone=1), body)


def test_a_long_list_and_a_watch_that_begins_with_one_are_whole_however_busy_the_server_is() -> None:
    async def body(server: Server) -> None:
        for number in range(1_200):
            await server.local.call("POST", MAPS, named(f"m{number:04}"))
        listed, watched = [
            await server.begin("modest", "GET", MAPS + query) for query in ("", "?watch=true&timeoutSeconds=1")
        ]
        assert isinstance(listed, Stream)
        assert isinstance(watched, Stream)
        many = [server.begin("greedy", "GET", MAPS + "/m0001") for _ in range(200)]
        many += [server.begin("modest", "GET", MAPS + "/m0001") for _ in range(20)]
        document = json.loads((await listed.gathered()).body)
        assert len(document["items"]) == len({item["metadata"]["name"] for item in document["items"]}) == 1_200
        events = b"".join([chunk async for chunk in watched.chunks]).splitlines()
        assert len(events) == 1_200
        await asyncio.gather(*many)

    play(Limits(reads=2, alone=1), body)


def test_so_many_mutations_are_in_flight_and_no_more() -> None:
    async def body(server: Server) -> None:
        lane, most = server.handler.fairness.mutations, 0
        right = server.local.api.write

        async def slow(*arguments: Any) -> Any:
            nonlocal most
            most = max(most, lane.in_flight)
            await asyncio.sleep(0.01)  # virtual: a disk that takes its time
            return await right(*arguments)

        server.local.api.write = slow  # type: ignore[method-assign]
        await asyncio.gather(*(server.begin("greedy", "POST", MAPS, named(f"g{number}")) for number in range(100)))
        assert most == 20
        assert lane.in_flight == 0
        assert server.local.store.count("configmaps") >= 100

    play(Limits(in_flight=20), body)


def test_whoever_gives_up_waiting_takes_nothing_along() -> None:
    async def main() -> None:
        lane = Lane(2, Limits(), Crowd(), in_flight=2)
        assert [lane.enter("a"), lane.enter("a"), lane.enter("a")] == [True, True, False]
        waiting = [asyncio.ensure_future(lane.wait("a")) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()  # before its turn
        lane.leave()
        await asyncio.sleep(0)
        waiting[1].cancel()  # at the very moment of its turn, perhaps
        await asyncio.wait(waiting[:2])
        await asyncio.wait_for(waiting[2], 1)
        lane.leave()
        lane.leave()
        assert lane.in_flight == 0
        assert lane.waiting("a") == 0

    run_virtual(main())


def test_a_user_alone_is_given_longer_turns_until_another_one_comes() -> None:
    async def body(server: Server) -> None:
        async def in_one_turn() -> int:
            before = len(server.answered)
            many = [server.begin("greedy", "GET", MAPS) for _ in range(100)]
            await asyncio.sleep(0)
            found = len(server.answered) - before
            await asyncio.gather(*many)
            return found

        await server.begin("greedy", "GET", MAPS)
        await asyncio.sleep(2)
        assert await in_one_turn() == 12
        await server.begin("modest", "GET", MAPS)
        assert await in_one_turn() == 4
        await asyncio.sleep(2)
        assert await in_one_turn() == 12

    play(Limits(reads=4, alone=3), body)
