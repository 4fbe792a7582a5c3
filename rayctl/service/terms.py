"""What a switchover sees and what it may ask for: sides with names, entries that lead to one of them, rules, a wish.

It knows nothing of Ray or Kubernetes. RayService's head and serve service are entries, and so are the entry services of
a fleet, or the leases of a control plane that moves house.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rayctl.core.plan import Blocker, Reason
from rayctl.service.gradual import Gradual
from rayctl.service.record import Record

__all__ = ["Advance", "Ask", "Claim", "Entry", "Make", "Point", "Remove", "Rules", "Seen", "Side", "Weigh", "Wish"]


@dataclass(frozen=True)
class Side:
    """What was observed of a side.

    Args:
        name: Its name.
        exists, going: It is there; it is being deleted.
        claim: The serial of the switch that claimed it last.
        ready: It is as it was asked for and can take all traffic; None: nobody could find out.
        serves: It answers, as it is; None: nobody could find out. False is never said for want of knowledge.
        endpoints: How many addresses answer.
        wanted_endpoints: How many its own specification asks for.
        lacking: What it lacks of what the other side has (replicas), as a sentence; empty if nothing.
        failed: Why it will never be ready; empty as long as it may.
        waits_for: Why it is not ready.
        in_flight: Requests that it is answering; None: nobody could find out.
        settled: It has the capacity that the record's split gives it.
    """

    name: str
    exists: bool = False
    going: bool = False
    claim: int = 0
    ready: bool | None = False
    serves: bool | None = False
    endpoints: int = 0
    wanted_endpoints: int = 0
    lacking: str = ""
    failed: str = ""
    waits_for: Blocker | None = None
    in_flight: int | None = None
    settled: bool = True

    @property
    def warm(self) -> bool:
        """Whether traffic could go (back) to it: it is there, stays there, and is not known to be broken."""
        return self.exists and not self.going and self.serves is not False


@dataclass(frozen=True)
class Entry:
    """Something that leads traffic to one side.

    ``at``: which, empty if it is not there or leads nowhere. ``moved_by``: the serial of the switch that wrote it last.
    """

    name: str
    at: str = ""
    moved_at: float = 0.0
    moved_by: int = 0


@dataclass(frozen=True)
class Seen:
    """The world. ``entries``: in the order in which they move forward; ``weights``: of the routes, if there are any."""

    sides: Mapping[str, Side]
    entries: tuple[Entry, ...]
    weights: Mapping[str, int] | None = None

    def side(self, name: str) -> Side:
        """Return what is known of a side; one that was not seen does not exist."""
        return self.sides.get(name) or Side(name)


@dataclass(frozen=True)
class Rules:
    """How to switch.

    Args:
        capacity: The new side needs this share of the old side's endpoints (or all that it asks for itself).
        deadline_s: After so long it is given up; 0: never.
        on_deadline: ``rollback``, or ``pause``: keep both and wait for a person.
        first_deadline_s: The same for the very first side; 0: never.
        manual: Wait for a person before traffic moves.
        drain_min_s, drain_max_s: The old side stays at least, at most so long after traffic has moved.
        settle_s: A count of requests in flight is believed after so long.
        stop_first: The old side goes before the new one comes: for want of room. Nothing answers in between.
        gradual: Move traffic in steps.
    """

    capacity: float = 1.0
    deadline_s: float = 1800.0
    on_deadline: str = "rollback"
    first_deadline_s: float = 0.0
    manual: bool = False
    drain_min_s: float = 0.0
    drain_max_s: float = 60.0
    settle_s: float = 15.0
    stop_first: bool = False
    gradual: Gradual | None = None


@dataclass(frozen=True)
class Wish:
    """What is wanted.

    Args:
        target: The side that fulfils it: one that is there, or the name of a new one.
        wanted: A fingerprint of the wish.
        generation: The object's.
        allowed: Empty, or why no new side may be made for it.
        promote, abort, retry: A person asked to move traffic now, to give up, to try again what was given up.
        weight: A person wants the target to have this share of the traffic (percent) and no more.
    """

    target: str
    wanted: str
    generation: int = 0
    allowed: str = ""
    promote: bool = False
    abort: bool = False
    retry: bool = False
    weight: int | None = None


@dataclass(frozen=True)
class Make:
    """Create this side."""

    side: str


@dataclass(frozen=True)
class Claim:
    """Mark this side as belonging to the switch with this serial, so that whoever knows only older ones cannot delete
    it: their precondition fails."""

    side: str
    serial: int


@dataclass(frozen=True)
class Point:
    """Make this entry lead to this side, and to no other."""

    entry: str
    side: str


@dataclass(frozen=True)
class Weigh:
    """Give the routes these weights (percent by side)."""

    weights: Mapping[str, int]


@dataclass(frozen=True)
class Remove:
    """Delete this side."""

    side: str


Ask = Make | Claim | Point | Weigh | Remove


@dataclass(frozen=True)
class Advance:
    """What comes next: if the record differs from the given one, write it and nothing else; otherwise do what is asked.

    ``half``: the entries lead to different sides; nothing may be written before ``do``.
    """

    record: Record | None
    do: Ask | None = None
    because: Reason | None = None
    blocked_on: Blocker | None = None
    next_check_at: float | None = None
    half: bool = False
