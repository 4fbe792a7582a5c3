"""What a RayClusterReplicaSet does next: claim, change in place, delete or drain, create, report. Pure.

Every cluster that exists has a place, healthy or not, and one that is being deleted keeps its place until it is gone:
so there are never more than wanted, except for what ``replacement.surge`` allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rayctl.core.plan import Action, Blocker, Create, Delete, Emit, Patch, Plan, Reason, Single, Together
from rayctl.replicaset.builders import adopt, create_cluster, drain, release, set_in_place, undrain
from rayctl.replicaset.health import Phase
from rayctl.replicaset.names import cluster_name
from rayctl.replicaset.replacement import Decision, decide_replacements, unsettled_now
from rayctl.replicaset.seen import Member, SetSeen
from rayctl.replicaset.status import Counts, count, invalid, quarantine_condition, ready_condition, report
from rayctl.replicaset.template import in_place_hash
from rayctl.replicaset.victims import choose_victims, rank

__all__ = ["BURST", "DRAIN_POLL_S", "plan_replicaset", "slow_start"]

BURST = 500
"""Clusters created or deleted in one pass, at most."""
DRAIN_POLL_S = 10.0
"""How often a cluster that drains is asked whether its work is done."""
BELIEVED_S = 15.0
"""How long a cluster with applications drains at least: Ray tells of requests up to ten seconds late."""


@dataclass(frozen=True)
class _Moves:
    """What one pass does to the clusters."""

    create: int = 0
    delete: tuple[Member, ...] = ()
    drain: tuple[Member, ...] = ()
    undrain: tuple[Member, ...] = ()
    check_at: float | None = None


def plan_replicaset(seen: SetSeen, now: float) -> Plan:
    """Return the next step. ``now``: seconds since the epoch."""
    if seen.deleting:
        return Plan(because=(Reason("deletion", "Deleting", "the set is being deleted; its clusters go with it"),))
    if seen.spec.problems:
        return _plan_invalid(seen, now)
    claims = _claims(seen)
    if claims:
        message = f"{_clusters(len(claims))} to be taken in or let go"
        return Plan((Together(tuple(claims)),), (Reason("ownership", "Claiming", message),))
    unsettled = unsettled_now(seen, now)
    decision = decide_replacements(seen, unsettled, now)
    counts = count(seen, unsettled, now)
    moves = _moves(seen, decision, counts, now)
    if moves.delete and _untold(seen):
        # A pass was cut short before it told which names it had used; they must not come again.
        moves = _Moves(check_at=now)
    created, next_ordinal = _creations(seen, moves.create)
    changes = _in_place(seen, {member.uid for member in (*moves.delete, *moves.drain, *moves.undrain)})
    actions, because = _actions(seen, moves, created, changes, now)
    blocker = _blocker(seen, counts, moves)
    conditions = [
        ready_condition(seen, counts, blocker.message if blocker else ""),
        *quarantine_condition(decision.quarantined),
    ]
    # What is counted here was there before the change: the newest specification is not observed until that is seen.
    observed = int((seen.document.get("status") or {}).get("observedGeneration") or 0) if changes else seen.generation
    actions += report(seen, counts, decision, unsettled, next_ordinal, conditions, observed, now)
    actions += _events(seen, moves, created, decision)
    checks = [at for at in (decision.check_at, counts.check_at, moves.check_at) if at is not None]
    return Plan(tuple(actions), tuple(because), min(checks, default=None), blocker)


def _plan_invalid(seen: SetSeen, now: float) -> Plan:
    status, events = invalid(seen, now)
    word, sentence = seen.spec.problems[0]
    blocker = Blocker(word, sentence, seen.ref, hint="Correct the specification; until then no cluster is touched.")
    return Plan((*status, *events), (Reason("validity", word, sentence),), None, blocker)


def _claims(seen: SetSeen) -> list[Single]:
    lost = [
        release(seen, member)
        for member in seen.members
        if not member.terminating and not seen.spec.selector.matches(member.labels)
    ]
    return [*lost, *(adopt(seen, member) for member in seen.orphans)]


def _moves(seen: SetSeen, decision: Decision, counts: Counts, now: float) -> _Moves:
    wanted, doomed = seen.spec.replicas, decision.doomed
    there = [member for member in seen.members if not member.terminating]
    draining = [member for member in there if member.draining_at]
    kept = [member for member in there if not member.draining_at]
    gone, check_at = _drained(seen, draining, now)
    limit, delete = wanted, list(gone)
    if doomed and seen.spec.replacement.policy == "Surge":
        # The broken ones stay until enough others can serve.
        if counts.available < wanted:
            limit = wanted + min(seen.spec.replacement.surge, len(doomed))
    elif doomed:
        delete += [member for member in kept if member.uid in doomed]
        kept = [member for member in kept if member.uid not in doomed]
    surplus = len(kept) - limit
    if surplus > 0:
        victims = choose_victims(kept, min(surplus, BURST), doomed, counts.settling)
        slow = tuple(member for member in victims if seen.spec.drain.seconds and member.health.ready)
        delete += [member for member in victims if member not in slow]
        return _Moves(0, tuple(delete[:BURST]), slow, (), now + DRAIN_POLL_S if slow else check_at)
    back = sorted((member for member in draining if member not in gone and member.health.ready), key=rank)
    wanted_back = tuple(back[::-1][: max(0, wanted - len(kept))])
    # All that is there keeps its place until it is gone, whatever becomes of it.
    room = limit - len(seen.members)
    return _Moves(max(0, min(room, BURST)), tuple(delete[:BURST]), (), wanted_back, check_at)


def _drained(seen: SetSeen, draining: Sequence[Member], now: float) -> tuple[list[Member], float | None]:
    """Return the clusters whose work is done or whose time is over, and when to ask the others again."""
    gone, checks = [], []
    for member in draining:
        ends_at = member.draining_at + seen.spec.drain.seconds
        idle = not seen.spec.drain.jobs or member.jobs == 0
        if seen.spec.drain.requests:
            told_late = member.serving and now < member.draining_at + BELIEVED_S
            idle = idle and member.requests == 0 and not told_late
        if idle or ends_at <= now or not member.health.ready:
            gone.append(member)
        else:
            checks.append(min(ends_at, now + DRAIN_POLL_S))
    return gone, min(checks, default=None)


def _creations(seen: SetSeen, number: int) -> tuple[list[Create], int]:
    """Return the creations, and the first ordinal that no cluster will have had.

    The status notes that ordinal only after all creations of a pass were answered. So one whose outcome is unknown is
    asked for again under its own name, and cannot come a second time, however late it is carried out.
    """
    used = {member.ordinal for member in seen.members if member.ordinal is not None}
    found: list[Create] = []
    mark = in_place_hash(seen.spec.template)
    ordinal = seen.memory.next_ordinal
    while len(found) < number:
        if ordinal not in used and cluster_name(seen.name, ordinal) not in seen.taken:
            found.append(create_cluster(seen, ordinal, mark))
        ordinal += 1
    return found, max(_after(seen), ordinal)


def _untold(seen: SetSeen) -> bool:
    """Tell whether clusters have names that the status should know of; definitions of others have no place for that."""
    status = seen.document.get("status") or {}
    return (not status or "nextOrdinal" in status) and seen.memory.next_ordinal < _after(seen)


def _after(seen: SetSeen) -> int:
    """Return the ordinal after all that clusters have."""
    return max((member.ordinal for member in seen.members if member.ordinal is not None), default=-1) + 1


def slow_start(creations: Sequence[Single]) -> list[Action]:
    """Return creations in groups of 1, 2, 4, 8 …: a failing group ends the pass, before many have failed alike."""
    groups: list[Action] = []
    start, size = 0, 1
    while start < len(creations):
        group = tuple(creations[start : start + size])
        groups.append(group[0] if len(group) == 1 else Together(group))
        start, size = start + size, size * 2
    return groups


def _actions(
    seen: SetSeen, moves: _Moves, created: Sequence[Create], changes: Sequence[Patch], now: float
) -> tuple[list[Action], list[Reason]]:
    actions: list[Action] = []
    because: list[Reason] = []
    groups: list[tuple[str, str, str, list[Single]]] = [
        ("in-place", "ChangingInPlace", "to get the template's sizes and labels", list(changes)),
        ("scale", "Undraining", "draining, wanted again", [undrain(member) for member in moves.undrain]),
        ("scale", "Draining", "to finish the work and go", [drain(member, now) for member in moves.drain]),
        ("scale", "Deleting", "to go: too many, drained or broken", [Delete(member.ref) for member in moves.delete]),
    ]
    for gate, code, text, singles in groups:
        if singles:
            actions.append(Together(tuple(singles)))
            because.append(Reason(gate, code, f"{_clusters(len(singles))} {text}"))
    if created:
        actions += slow_start(created)
        because.append(Reason("scale", "Creating", f"{_clusters(len(created))} missing"))
    return actions, because


def _clusters(number: int) -> str:
    return "1 cluster" if number == 1 else f"{number} clusters"


def _in_place(seen: SetSeen, busy: set[str]) -> list[Patch]:
    if not any(member.in_place_hash for member in seen.members):
        return []
    mark = in_place_hash(seen.spec.template)
    return [
        set_in_place(member, seen.spec.template)
        for member in seen.members
        if member.in_place_hash not in ("", mark) and not member.terminating and member.uid not in busy
    ][:BURST]


def _blocker(seen: SetSeen, counts: Counts, moves: _Moves) -> Blocker | None:
    wanted = seen.spec.replicas
    drained = [member for member in seen.members if member.draining_at and not member.terminating]
    if counts.available >= wanted and len(seen.members) == wanted and not drained:
        return None
    ending = next((member for member in seen.members if member.terminating), None)
    if ending is not None and counts.replicas - counts.draining <= wanted and not moves.delete:
        text = f"cluster {ending.name} is being deleted: {ending.health.message}"
        return Blocker("WaitingForDeletion", text, ending.ref, ending.health.since_at or None, _HINTS["deletion"])
    if drained:
        first = drained[0]
        text = f"cluster {first.name} finishes its work ({_work_of(first)})"
        return Blocker("Draining", text, first.ref, first.draining_at, _HINTS["drain"])
    member = _worst(seen)
    if member is None:
        return Blocker("Creating", f"{wanted - counts.replicas} clusters are being created", seen.ref)
    if member.health.ready:
        text = f"cluster {member.name} has to stay ready for {seen.spec.min_ready_s} s"
        return Blocker("WaitingForMinReadySeconds", text, member.ref, member.health.since_at or None)
    text = f"cluster {member.name} is {member.health.phase.value.lower()}: {member.health.message}"
    return Blocker(member.health.reason, text, member.ref, member.health.since_at or None, _HINTS["cluster"])


def _work_of(member: Member) -> str:
    """Return what a cluster still does. Requests come and go: their number would be a new status every time."""
    jobs = "unknown" if member.jobs is None else str(member.jobs)
    requests = "unknown" if member.requests is None else "some" if member.requests else "no"
    return f"{jobs} jobs, {requests} requests"


_HINTS = {
    "deletion": "Its finalizers must be removed by those who set them.",
    "drain": "It goes when its jobs and requests have ended, or when spec.drain.seconds are over.",
    "cluster": "`rayctl explain` on the cluster goes down to the pod.",
}


def _worst(seen: SetSeen) -> Member | None:
    """Return the cluster that keeps the set from being ready: a broken one first, then the oldest that starts."""
    there = [member for member in seen.members if not member.terminating]
    broken = [member for member in there if member.health.phase is Phase.UNREADY]
    starting = [member for member in there if member.health.phase in (Phase.STARTING, Phase.SUSPENDED)]
    return next(iter(broken or sorted(starting, key=lambda member: (member.created_at, member.name)) or there), None)


def _events(seen: SetSeen, moves: _Moves, created: Sequence[Create], decision: Decision) -> list[Emit]:
    events = []
    if created:
        names = _listed([create.ref.name for create in created])
        events.append(Emit(seen.ref, "Normal", "SuccessfulCreate", f"Created clusters {names}"))
    fresh = {member.uid for member in decision.fresh}
    deleted = [member.name for member in moves.delete if member.uid not in fresh]
    if deleted:
        events.append(Emit(seen.ref, "Normal", "SuccessfulDelete", f"Deleted clusters {_listed(deleted)}"))
    if moves.drain:
        names = _listed([member.name for member in moves.drain])
        events.append(Emit(seen.ref, "Normal", "DrainStarted", f"Clusters finish their work: {names}"))
    for member in decision.fresh:
        text = f"Cluster {member.name} is replaced: {member.health.reason}: {member.health.message}"
        events.append(Emit(seen.ref, "Warning", "ReplacingCluster", text))
    return events


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
