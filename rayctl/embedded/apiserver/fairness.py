"""Fairness between users: how much is begun at once, whose turn it is then, and who has too much waiting.

All work is done on one event loop, so what one user can take from the others is turns of that loop. In each turn only
so many requests are begun; what is more waits, and is begun in later turns, one request of each user after the other.
While there is one user only, turns may be longer: large groups of writes are cheaper, and nobody is kept waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

from rayctl.embedded.apiserver.errors import ApiError
from rayctl.embedded.apiserver.measures import Series
from rayctl.embedded.apiserver.requests import Info

__all__ = ["Crowd", "Fairness", "Lane", "Limits", "Pause", "seats_of"]

OBJECTS_PER_SEAT = 50
"""To look at so many objects takes about as long as one small request."""
MOST_SEATS = 40
"""What the first slice of a long list is worth."""
SLICE_SEATS = 10
"""What a slice of a list, or of a watch's beginning, is worth."""
Pause = Callable[[], Awaitable[None]]
"""Awaited between two slices of long work."""
PATCH_SEATS = 2
"""A patch costs twice what a create costs: managed fields."""
LATELY_S = 1.0
HEALTH = ("/healthz", "/livez", "/readyz")
_READS = ("get", "list", "watch", "head", "options")


@dataclass(frozen=True)
class Limits:
    """How much is too much.

    Args:
        reads, mutations: Begun in one turn of the event loop: some milliseconds of work.
        alone: So many times more, while nobody else asks for anything.
        greedy: A user with so many waiting is greedy; so many times fewer (``beside``) are begun in a turn then, if
            somebody else asks too: what these wait for is the turn that goes on when they ask.
        in_flight: Mutations begun and not yet answered.
        waiting: Requests of one user that wait, of each sort. Those beyond are refused.
        refused_after_s: A refusal is held back so long. Who comes again at once, whatever Retry-After says, would
            keep the server busy with refusals.
    """

    reads: int = 16
    mutations: int = 8
    alone: int = 4
    greedy: int = 64
    beside: int = 4
    in_flight: int = 256
    waiting: int = 500
    refused_after_s: float = 1.0


class Crowd:
    """Whether more than one user has asked for something lately."""

    def __init__(self) -> None:
        self._last: str | None = None
        self._changed_at = float("-inf")

    def note(self, flow: str) -> None:
        """Note that somebody asks."""
        if flow != self._last:
            if self._last is not None:
                self._changed_at = asyncio.get_running_loop().time()
            self._last = flow

    def is_one_user(self) -> bool:
        """Whether all that was asked for lately was asked for by one user."""
        return asyncio.get_running_loop().time() - self._changed_at > LATELY_S


class Lane:
    """Requests of one sort.

    Args:
        seats: So many are given away in one turn of the event loop.
        limits: What holds for each user.
        crowd: Who asks at the moment.
        in_flight: So many requests are under way at most; None: it does not matter how many are.
    """

    def __init__(self, seats: int, limits: Limits, crowd: Crowd, in_flight: int | None = None) -> None:
        self._seats, self._limits, self._crowd, self._most = seats, limits, crowd, in_flight
        self._taken, self._now = 0, seats
        self.in_flight = self.refused = 0
        self._turning = False
        self._waiting: dict[str, deque[tuple[asyncio.Future[None], int]]] = {}

    def waiting(self, flow: str) -> int:
        """Return how many requests of a user wait."""
        return len(self._waiting.get(flow, ()))

    def _is_full(self) -> bool:
        if self._taken >= self._now and (
            self._taken >= self._seats * self._limits.alone or not self._crowd.is_one_user()
        ):
            return True
        return self._most is not None and self.in_flight >= self._most

    @property
    def waiting_count(self) -> int:
        """How many requests wait."""
        return sum(map(len, self._waiting.values()))

    def enter(self, flow: str, seats: int = 1) -> bool:
        """Begin if there are seats left in this turn and nobody waits; else return False: `wait`, then."""
        if self._waiting or self._is_full():
            return False
        self._take(seats)
        self._turn_soon()
        return True

    def _take(self, seats: int) -> None:
        self._taken += seats
        self.in_flight += 1

    async def wait(self, flow: str, seats: int = 1) -> None:
        """Wait for the turn to begin, each user in its turn.

        Raises:
            ApiError: 429, this user has too many requests waiting already.
        """
        if self.waiting(flow) >= self._limits.waiting:
            self.refused += 1
            await asyncio.sleep(self._limits.refused_after_s)
            text = "too many requests of this user are waiting already; please try again later"
            raise ApiError(429, "TooManyRequests", text, {"retryAfterSeconds": 1})
        await self._queue(flow, seats)

    async def pause(self, flow: str, seats: int) -> None:
        """Let others be answered between two pieces of long work; the next one is worth so many seats."""
        await asyncio.sleep(0)
        if not self.enter(flow, seats):
            await self._queue(flow, seats)
        self.leave()

    async def _queue(self, flow: str, seats: int) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(flow, deque()).append((turn, seats))
        self._turn_soon()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise
        finally:
            self._turn_soon()

    def leave(self) -> None:
        """Say that a request has been answered."""
        self.in_flight -= 1
        if self._waiting:
            self._turn_soon()

    def _turn_soon(self) -> None:
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = False
        self._taken = 0
        waiting = self._waiting
        is_greedy = any(len(queue) >= self._limits.greedy for queue in waiting.values())
        self._now = max(1, self._seats // self._limits.beside) if is_greedy else self._seats
        while waiting and not self._is_full():
            flow = next(iter(waiting))
            queue = waiting.pop(flow)
            turn, seats = queue.popleft()
            if queue:
                waiting[flow] = queue  # to the end of the row
            if not turn.done():
                self._take(seats)
                turn.set_result(None)


class Fairness:
    """The lanes of a server, and what requests are worth in them."""

    def __init__(self, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self._crowd = Crowd()
        self.reads = Lane(limits.reads, limits, self._crowd)
        self.mutations = Lane(limits.mutations, limits, self._crowd, limits.in_flight)

    def lane(self, info: Info) -> Lane | None:
        """Return where a request belongs; None if it is let through always: whether the server lives."""
        if info.verb in _READS:
            return None if not info.resource and info.path.startswith(HEALTH) else self.reads
        return self.mutations

    def flow(self, user: str, info: Info) -> str:
        """Return whose turn a request takes. A user's leases have turns of their own: whoever is busy keeps leading."""
        found = f"{user}\0leases" if info.resource == "leases" else user
        self._crowd.note(found)
        return found

    def series(self) -> Iterator[Series]:
        """Yield how much is going on, for whoever counts."""
        lanes = {"readOnly": self.reads, "mutating": self.mutations}

        def each(value: Callable[[Lane], int]) -> list[tuple[Mapping[str, str], float]]:
            return [({"request_kind": name}, float(value(lane))) for name, lane in lanes.items()]

        yield "apiserver_current_inflight_requests", "gauge", "Begun, not answered.", each(lambda lane: lane.in_flight)
        waiting = each(lambda lane: lane.waiting_count)
        yield "apiserver_current_inqueue_requests", "gauge", "Waiting for their user's turn.", waiting
        refused = each(lambda lane: lane.refused)
        yield "apiserver_flowcontrol_rejected_requests_total", "counter", "Refused: too many of one user.", refused

    def pause(self, flow: str) -> Pause:
        """Return what long reads of a user await between their slices."""
        return lambda: self.reads.pause(flow, SLICE_SEATS)


def seats_of(info: Info, objects: int) -> int:
    """Return what a request is worth. ``objects``: how many it looks at; in its first slice, as then it pauses."""
    if info.verb == "patch":
        return PATCH_SEATS
    return 1 + min(objects // OBJECTS_PER_SEAT, MOST_SEATS)
