"""What strategies look at, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rayctl.core.plan import Blocker, Patch, Reason
from rayctl.fleet.arithmetic import Limits
from rayctl.fleet.capacity import Room
from rayctl.fleet.seen import FleetSeen, RolloutState, SetView

__all__ = ["Move", "Situation"]


@dataclass(frozen=True)
class Situation:
    """A rollout in the middle.

    Args:
        seen: The fleet.
        hash: Of the revision that is rolled out.
        new: Its set; None: still to be made.
        old: All other sets.
        room: The bounds, with the ceiling.
        state: Where the rollout is.
    """

    seen: FleetSeen
    hash: str
    new: SetView | None
    old: tuple[SetView, ...]
    room: Room
    state: RolloutState

    @property
    def limits(self) -> Limits:
        """The bounds."""
        return self.room.limits

    @property
    def sets(self) -> tuple[SetView, ...]:
        """All of them."""
        return (*((self.new,) if self.new else ()), *self.old)

    @property
    def occupied(self) -> int:
        """Clusters that exist or may come at any time, of all sets."""
        return sum(view.occupied for view in self.sets)

    @property
    def unsettled(self) -> SetView | None:
        """A set whose controller has not seen its newest size."""
        return next((view for view in self.sets if not view.settled), None)

    @property
    def old_total(self) -> int:
        """Clusters that old sets want."""
        return sum(view.replicas for view in self.old)

    @property
    def old_there(self) -> int:
        """Clusters that old sets still have, in whatever state."""
        return sum(view.existing + view.terminating for view in self.old)

    def available(self, goal: int) -> bool:
        """Whether the new set has so many available clusters."""
        return self.new is not None and self.new.available >= goal and self.new.replicas >= goal

    @property
    def promote(self) -> str:
        """Up to which step somebody let this revision pass: a number, ``full``, or nothing."""
        return promoted_step(self.seen, self.hash)


def promoted_step(seen: FleetSeen, hash_value: str) -> str:
    """Return the step in the annotation ``rayctl.io/promote``, if it is about this revision."""
    revision, _, step = seen.annotations.get("rayctl.io/promote", "").partition(":")
    return step if revision == hash_value else ""


@dataclass(frozen=True)
class Move:
    """What a strategy wants.

    Args:
        sizes: New sizes of sets that are there, by name.
        create: Size of the new set, if it is to be made; else None.
        reason: Why.
        blocked_on: What is waited for.
        check_at: Look again then, whatever happens.
        state: Where the rollout is now.
        waits: Whether it waits for a person, a pause or a gate, so that the deadline does not count.
        failed: A gate failed: why.
        services: Changes of services.
        goal: Members that are to have the new revision, if not all.
    """

    sizes: Mapping[str, int] = field(default_factory=dict)
    create: int | None = None
    reason: Reason | None = None
    blocked_on: Blocker | None = None
    check_at: float | None = None
    state: RolloutState | None = None
    waits: bool = False
    failed: str = ""
    services: tuple[Patch, ...] = ()
    goal: int | None = None
