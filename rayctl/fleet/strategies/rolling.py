"""RollingUpdate: new clusters come and old ones go, within surge and unavailability; at most one revision grows.

Growing counts clusters that exist, not those that are wanted: one that still drains or is being deleted has its place.
"""

from __future__ import annotations

from rayctl.core.plan import Blocker, Reason
from rayctl.fleet.arithmetic import new_size, shrink_old
from rayctl.fleet.seen import SetView
from rayctl.fleet.strategies.move import Move, Situation

__all__ = ["roll", "roll_to"]


def roll(situation: Situation) -> Move:
    """Return the next step towards the new revision, except for the members that stay with the old one."""
    replicas = situation.limits.replicas
    stay = min(situation.seen.spec.options.partition, replicas) if situation.old_there or situation.old_total else 0
    return roll_to(situation, replicas - stay, stay)


def roll_to(situation: Situation, goal: int, floor: int) -> Move:
    """Return the next step.

    Args:
        situation: The rollout.
        goal: Members that are to have the new revision.
        floor: Members that are to keep an old one.
    """
    limits, new = situation.limits, situation.new
    partial = goal if goal < limits.replicas else None
    current = new.replicas if new else 0
    wanted = new_size(limits, situation.occupied, current, goal)
    if partial is not None and wanted < current:
        wanted = max(wanted, current - _spare(situation))
    fits = situation.room.grow
    if fits is not None and wanted > current:
        unborn = sum(max(0, view.replicas - view.existing - view.terminating) for view in situation.sets)
        wanted = max(current, min(wanted, current + fits - unborn))
    if new is None:
        # A set that has not seen that it is to shrink may have more clusters than it says: grow when it has.
        wanted = wanted if situation.unsettled is None else 0
        return Move(create=wanted, reason=Reason("rollout", "CreatingRevision", "a new revision begins"), goal=partial)
    if wanted < current or (wanted > current and situation.unsettled is None):
        text = f"the new revision goes from {current} to {wanted} of {goal}"
        return Move({new.name: wanted}, reason=Reason("rollout", "SizingNew", text), goal=partial)
    if floor and situation.old_total < floor and situation.unsettled is None:
        missing = min(floor - situation.old_total, limits.most - situation.occupied)
        stable = _stable(situation)
        if missing > 0 and stable is not None:
            size = next(view.replicas for view in situation.old if view.name == stable) + missing
            return Move({stable: size}, reason=Reason("rollout", "KeepingOld", f"{floor} keep the old"), goal=partial)
    stale = next((view for view in situation.old if view.replicas > 0 and not view.settled), None)
    if stale is not None:
        # What it says of its clusters is from before its last change: one that seemed broken may serve by now.
        return Move(blocked_on=_unseen(stale), goal=partial)
    shrunk = shrink_old(limits, new.size, [view.size for view in situation.old], floor)
    sizes = {
        size.name: size.replicas
        for size, view in zip(shrunk, situation.old, strict=True)
        if size.replicas != view.replicas
    }
    if sizes:
        taken = situation.old_total - sum(size.replicas for size in shrunk)
        text = "1 old cluster goes" if taken == 1 else f"{taken} old clusters go"
        return Move(sizes, reason=Reason("rollout", "ShrinkingOld", text), goal=partial)
    return Move(blocked_on=_blocker(situation, goal, floor), goal=partial)


def _spare(situation: Situation) -> int:
    """Return how many clusters of the new revision can go when only a part is to have it: none that is needed."""
    if situation.new is None or situation.unsettled is not None:
        return 0
    size = situation.new.size
    available = sum(view.size.available for view in situation.sets)
    return size.replicas - size.available + max(0, available - situation.limits.fewest)


def _stable(situation: Situation) -> str | None:
    known = [view for view in situation.old if view.hash == situation.state.stable]
    known = known or sorted(situation.old, key=lambda view: view.revision)[-1:]
    return known[0].name if known else None


def _unseen(view: SetView) -> Blocker:
    return Blocker("WaitingForReplicaSet", f"{view.name} has not seen its new size yet", view.ref)


def _blocker(situation: Situation, goal: int, floor: int) -> Blocker | None:
    new, limits = situation.new, situation.limits
    assert new is not None
    if new.replicas < goal:
        behind = situation.unsettled
        if behind is not None and situation.occupied < limits.most:
            return _unseen(behind)
        if situation.room.grow == 0 or (situation.room.lacks and limits.surge == limits.unavailable == 0):
            text = situation.room.message or "the ceiling leaves no room for another cluster"
            return Blocker("WaitingForCapacity", text, hint="Raise rollout.capacity.limits, or free clusters.")
    leaving = next((view for view in situation.sets if view.existing + view.terminating > view.replicas), None)
    if new.available < min(new.replicas, goal):
        text = f"{new.available} of {new.replicas} clusters of {new.name} are available"
        return Blocker("WaitingForAvailable", text, new.ref, hint="`rayctl explain` goes down to the pod.")
    if leaving is not None:
        text = f"clusters of {leaving.name} finish their work or are being deleted"
        return Blocker("WaitingForDeletion", text, leaving.ref)
    if situation.old_total > floor or new.replicas < goal:
        short = [view for view in situation.old if view.available < view.replicas]
        text = "too few clusters are available to let another one go"
        return Blocker("WaitingForAvailable", text, short[0].ref if short else new.ref)
    return None
