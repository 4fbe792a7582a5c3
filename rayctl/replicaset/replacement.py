"""When a cluster that does not come back is replaced: after a grace period, one at a time, ever more slowly.

What is inside a cluster (a worker, the head's container) is healed by the cluster's own controller. Only a cluster
that stays broken longer than the grace period is replaced; each replacement in a row that did not help doubles the
pause, and after some the broken clusters are left as they are for somebody to look at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rayctl.replicaset.health import Phase
from rayctl.replicaset.options import Replacement
from rayctl.replicaset.seen import Member, Memory, SetSeen

__all__ = ["Decision", "decide_replacements", "pause_s", "unsettled_now"]

_LONGEST_S = 3600.0
_SETTLED_S = 600.0
"""With everything ready for so long after a replacement, the count begins anew."""


@dataclass(frozen=True)
class Decision:
    """What is to be replaced.

    Args:
        doomed: uids of clusters that are replaced (now, or decided before and still there).
        memory: What is to be remembered.
        check_at: When this may change by time alone; None: never.
        quarantined: Broken clusters that are left as they are.
        fresh: Clusters whose replacement is decided in this pass.
    """

    doomed: frozenset[str]
    memory: Memory
    check_at: float | None = None
    quarantined: tuple[Member, ...] = ()
    fresh: tuple[Member, ...] = ()


def pause_s(policy: Replacement, count: int) -> float:
    """Return the seconds between the last replacement and the next; ``count``: replacements in a row so far."""
    return 0.0 if count == 0 else min(_LONGEST_S, policy.backoff_s * 2.0 ** min(count - 1, 20))


def unsettled_now(seen: SetSeen, now: float) -> dict[str, tuple[str, float]]:
    """Return what the status is to say about clusters whose own status does not say since when they are as they are.

    A cluster that lacks workers has no time of its own, nor one whose workers have just come back; until it has been
    ready for ``minReadySeconds`` it is kept in mind.
    """
    before: Mapping[str, tuple[str, float]] = seen.memory.unsettled or {}
    found: dict[str, tuple[str, float]] = {}
    for member in seen.members:
        phase, since = before.get(member.uid, ("", 0.0))
        if member.health.phase is Phase.UNREADY:
            at = member.health.since_at or (since if phase == "Unready" and since else float(int(now)))
            found[member.uid] = ("Unready", min(at, since) if phase == "Unready" and since else at)
        elif member.health.ready and phase:
            at = since if phase == "Settling" else float(int(now))
            if at + seen.spec.min_ready_s > now:
                found[member.uid] = ("Settling", at)
    return found


def _broken_at(member: Member, unsettled: Mapping[str, tuple[str, float]], policy: Replacement) -> float | None:
    """Return when this cluster's time is over; None if it has none."""
    if member.health.phase is Phase.UNREADY:
        return unsettled[member.uid][1] + policy.grace_s
    if member.health.phase is Phase.STARTING and policy.startup_s > 0:
        return member.created_at + policy.startup_s
    return None


def decide_replacements(seen: SetSeen, unsettled: Mapping[str, tuple[str, float]], now: float) -> Decision:
    """Decide. ``unsettled``: from `unsettled_now`; ``now``: seconds since the epoch."""
    policy, memory = seen.spec.replacement, seen.memory
    there = [member for member in seen.members if not member.terminating]
    if memory.generation != seen.generation or (
        memory.replaced and now - memory.replaced_at >= _SETTLED_S and all(member.health.ready for member in there)
    ):
        memory = replace(memory, replaced=0, replaced_at=0.0, generation=seen.generation)
    if policy.policy == "Never":
        return Decision(frozenset(), replace(memory, replacing=frozenset()))
    broken = {member.uid for member in there if not member.health.ready}
    decided = memory.replacing & broken
    due = [(at, member) for member in there if (at := _broken_at(member, unsettled, policy)) is not None]
    due = sorted(((at, member) for at, member in due if member.uid not in decided), key=lambda item: item[0])
    overdue = [member for at, member in due if at <= now]
    checks = [at for at, _ in due if at > now]
    memory = replace(memory, replacing=decided)
    if overdue and memory.replaced >= policy.at_most:
        return Decision(decided, memory, min(checks, default=None), tuple(overdue))
    free_at = memory.replaced_at + pause_s(policy, memory.replaced)
    if not overdue or decided:
        return Decision(decided, memory, min(checks, default=None))
    if free_at > now:
        return Decision(decided, memory, min([*checks, free_at]))
    # One at a time: what broke them all (an image, a node pool) should not take everything at once.
    fresh = overdue[0]
    memory = replace(memory, replaced=memory.replaced + 1, replaced_at=float(int(now)), replacing=decided | {fresh.uid})
    checks = [*checks, now + pause_s(policy, memory.replaced)] if len(overdue) > 1 else checks
    return Decision(memory.replacing, memory, min(checks, default=None), fresh=(fresh,))
