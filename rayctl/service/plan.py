"""What a RayService does next: the switchover's next step, the status of both sides, the upkeep of everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rayctl.core.plan import (
    Action,
    Blocker,
    Create,
    Delete,
    Emit,
    Patch,
    Plan,
    Reason,
    Ref,
    SetStatus,
    Single,
    Together,
)
from rayctl.service import upkeep
from rayctl.service.children import cluster_document, entry_name
from rayctl.service.record import Phase, Record
from rayctl.service.seen import ServiceSeen
from rayctl.service.sides import CLAIM
from rayctl.service.status import build_status, differs, only_pending_differs, seconds_since_written
from rayctl.service.suspend import plan_suspend
from rayctl.service.switchover import MANUAL_GATE, POLL_S, advance
from rayctl.service.terms import Advance, Ask, Claim, Make, Point, Remove, Weigh

__all__ = ["FINALIZER", "begins_switch", "plan_service"]

FINALIZER = "ray.io/rayservice-finalizer"
"""KubeRay's. rayctl sets none (clusters go with their owner), and takes this one away where KubeRay is gone."""
STEADY_S = 10.0
"""How often a service that changes nothing is looked at: its applications send no news."""
PENDING_STATUS_S = 10.0
"""Details of the side that comes up are written at most so often."""
_OPERATORS = ("", "ray.io/kuberay-operator")


def plan_service(seen: ServiceSeen, now: float) -> Plan:
    """Return the plan. Pure; ``now``: seconds since the epoch."""
    manager = str((seen.document.get("spec") or {}).get("managedBy") or "")
    if manager not in _OPERATORS:
        return Plan((), (Reason("managed-by", "ManagedElsewhere", f"it is managed by {manager}"),))
    if seen.document["metadata"].get("deletionTimestamp"):
        return _plan_deletion(seen, now)
    suspended = plan_suspend(seen, now)
    if suspended is not None:
        return suspended
    if seen.spec is None:
        blocker = _invalid(seen)
        status = build_status(seen, seen.record, blocker, now)
        return Plan(_status(seen, status, now, False), _because(seen, None), None, blocker)
    return _plan_life(seen, now)


def _plan_deletion(seen: ServiceSeen, now: float) -> Plan:
    """Return how a service goes: by garbage collection, unless KubeRay's finalizer holds it while it has clusters."""
    metadata = seen.document["metadata"]
    finalizers = list(metadata.get("finalizers") or ())
    if FINALIZER not in finalizers:
        return Plan()
    if seen.clusters:
        deletes = tuple(Delete(cluster.ref) for cluster in seen.clusters.values() if not cluster.going)
        blocker = Blocker("Deleting", f"{len(seen.clusters)} clusters are being deleted", seen.ref)
        return Plan(deletes, (Reason("deletion", "Deleting", blocker.message),), now + STEADY_S, blocker)
    rest = [name for name in finalizers if name != FINALIZER]
    release = Patch(seen.ref, {"metadata": {"finalizers": rest}}, seen.revision)
    return Plan((release,), (Reason("deletion", "Released", "its clusters are gone"),))


def _plan_life(seen: ServiceSeen, now: float) -> Plan:
    assert seen.spec is not None
    step = advance(seen.record, seen.world(now), seen.spec.rules, seen.wish(), now)
    taken = _name_taken(seen, step.do)
    if taken is not None:
        step = Advance(seen.record, None, step.because, taken, now + STEADY_S)
    if step.half and step.do is not None:
        # Head and serve service lead to different clusters: this write ends it, and nothing may come before it.
        return Plan(_translate(seen, step.do, now), _because(seen, step), now + POLL_S, step.blocked_on)
    if _begins(seen, step) and not seen.problems and not seen.saved:
        # First keep what is wanted: a switch can only be gone on with, or returned from, if both ends are known.
        return Plan(tuple(upkeep.save_revision(seen)), _because(seen, step), now + POLL_S, step.blocked_on)
    blocked_on = step.blocked_on or _kept_back(seen, step)
    status = build_status(seen, step.record, blocked_on, now)
    begun = step.record is not seen.record
    first = _status(seen, status, now, step.do is not None and not begun, _asks_somebody(seen, blocked_on))
    act: tuple[Single, ...] = () if step.do is None or begun else _translate(seen, step.do, now)
    # A service that begins to lead elsewhere is the last write: until the other one follows, nothing else is written.
    rest = [] if isinstance(step.do, Point) and act else _upkeep(seen, bool(act), now)
    actions: list[Action] = [*first, *_events(seen, step), *act]
    if rest:
        actions.append(rest[0] if len(rest) == 1 else Together(tuple(rest)))
    return Plan(tuple(actions), _because(seen, step), _next_check(seen, step, now), blocked_on)


def begins_switch(seen: ServiceSeen, now: float) -> bool:
    """Return whether the next pass would begin to make a cluster. ``now``: seconds since the epoch."""
    if seen.spec is None or seen.document["metadata"].get("deletionTimestamp"):
        return False
    return _begins(seen, advance(seen.record, seen.world(now), seen.spec.rules, seen.wish(), now))


def _begins(seen: ServiceSeen, step: Advance) -> bool:
    return step.record is not None and (seen.record is None or step.record.serial != seen.record.serial)


def _status(
    seen: ServiceSeen, status: dict[str, object], now: float, acting: bool, for_a_person: bool = False
) -> tuple[Single, ...]:
    """Return the write of the status, if it says something new. Details of a side that comes up can wait.

    ``for_a_person``: it says for the first time that a person is waited for; who should not wait for that.
    """
    if not differs(seen.status, status):
        return ()
    if only_pending_differs(seen.status, status):
        recent = abs(seconds_since_written(seen.status, now)) < PENDING_STATUS_S
        if acting or (recent and not for_a_person):
            return ()
    return (SetStatus(seen.ref, status, seen.revision),)


def _asks_somebody(seen: ServiceSeen, blocker: Blocker | None) -> bool:
    """Whether a person is waited for, and has not been told."""
    told = [str(item.get("message")) for item in seen.status.get("conditions") or ()]
    return blocker is not None and blocker.code == MANUAL_GATE and not any(blocker.message in text for text in told)


def _next_check(seen: ServiceSeen, step: Advance, now: float) -> float:
    record = step.record
    under_way = record is None or not record.phase.ended or step.record is not seen.record or step.do is not None
    restless = any(not cluster.serve.known or not cluster.serve.all_running for cluster in seen.clusters.values())
    soon = now + (POLL_S if under_way or restless else STEADY_S)
    return min(soon, step.next_check_at) if step.next_check_at is not None else soon


def _upkeep(seen: ServiceSeen, acting: bool, now: float) -> list[Single]:
    """Return all that is due besides. ``acting``: services and clusters are being written to already."""
    found: list[Single] = upkeep.save_revision(seen)
    found += upkeep.label_heads(seen)
    found += upkeep.serve_configs(seen)
    if acting:
        return found
    found += upkeep.update_clusters(seen)
    found += upkeep.update_services(seen)
    if seen.record is not None:
        found += upkeep.update_routes(seen, seen.record)
    if seen.record is not None and seen.record.phase.ended:
        found += upkeep.drop_strays(seen, now)
    return found + upkeep.trim_history(seen)


# From the switchover's words to writes -----------------------------------------------------------------


def _translate(seen: ServiceSeen, ask: Ask, now: float) -> tuple[Single, ...]:
    if isinstance(ask, Make):
        return _make(seen, ask.side)
    if isinstance(ask, Weigh):
        return tuple(upkeep.weigh(seen, ask.weights))
    cluster = seen.clusters.get(ask.side)
    if cluster is None:
        return ()
    if isinstance(ask, Point):
        write = upkeep.point(seen, ask.entry, cluster, now)
        return () if write is None else (write,)
    revision = str(cluster.document["metadata"].get("resourceVersion", ""))
    if isinstance(ask, Claim):
        return (Patch(cluster.ref, {"metadata": {"annotations": {CLAIM: str(ask.serial)}}}, revision),)
    assert isinstance(ask, Remove)
    return (Delete(cluster.ref, revision),)


def _make(seen: ServiceSeen, side: str) -> tuple[Single, ...]:
    record = seen.record
    assert record is not None
    wanted = record.wanted if side == record.target else record.source_wanted
    written = seen.written_as(wanted) or seen.effective
    spec = written.get("rayClusterConfig") or {}
    return (Create(cluster_document(seen.owner, side, spec, record.serial)),)


# Words ------------------------------------------------------------------------------------------------


def _because(seen: ServiceSeen, step: Advance | None) -> tuple[Reason, ...]:
    found: list[Reason] = []
    if seen.problems:
        found.append(Reason("validation", "ValidationFailed", "; ".join(map(str, seen.problems))))
    if step is not None and step.because is not None:
        found.append(step.because)
    return tuple(found)


def _invalid(seen: ServiceSeen) -> Blocker:
    return Blocker(
        "ValidationFailed", "; ".join(map(str, seen.problems[:3])), seen.ref, hint="correct the specification"
    )


def _kept_back(seen: ServiceSeen, step: Advance) -> Blocker | None:
    """Return what keeps the service from what is wanted although no switch waits."""
    if seen.problems:
        return _invalid(seen)
    record = step.record
    if record is None or not record.active or step.do is not None or step.record is not seen.record:
        return None
    side = seen.sides(0.0).get(record.active)
    return side.waits_for if side is not None else None


def _name_taken(seen: ServiceSeen, ask: Ask | None) -> Blocker | None:
    if not isinstance(ask, Point):
        return None
    name = entry_name(seen.owner, ask.entry, seen.spec.serve_service if seen.spec else {})
    if name not in seen.strangers:
        return None
    ref = Ref("v1", "Service", seen.owner.namespace, name)
    return Blocker("NameTaken", f"Service {name} belongs to somebody else", ref, hint="rename or delete it")


def _events(seen: ServiceSeen, step: Advance) -> Sequence[Single]:
    found: list[Single] = []

    def tell(kind: str, reason: str, message: str) -> None:
        found.append(Emit(seen.ref, kind, reason, message))

    observed = int(seen.status.get("observedGeneration") or 0)
    if seen.problems and observed < seen.generation:
        kinds = {problem.kind for problem in seen.problems}
        for kind in sorted(kinds):
            text = "; ".join(str(problem) for problem in seen.problems if problem.kind == kind)
            tell("Warning", f"InvalidRayService{kind}", text)
    before, after = seen.record, step.record
    if (
        after is None
        or after is before
        or (before is not None and after.phase is before.phase and not _anew(before, after))
    ):
        return found
    between = f"{after.source or 'nothing'} to {after.target}"
    if after.phase is Phase.FORWARD:
        tell("Normal", "SwitchoverStarted", f"Switch {after.serial} from {between}: {after.message or after.reason}")
    elif after.phase is Phase.BACK:
        kind = "Normal" if after.reason in ("Reverted", "Superseded", "Aborted") else "Warning"
        tell(kind, "RollbackStarted", f"Switch {after.serial} from {between} is taken back: {after.message}")
    elif after.phase is Phase.SWITCHED:
        tell("Normal", "TrafficShifted", f"Switch {after.serial} from {between}: {_timing(after)}")
    elif after.reason == "InitializingTimeout":
        tell("Warning", "RayServiceInitializingTimeout", after.message)
    else:
        tell("Warning", "RolledBack", f"Switch {after.serial} from {between}: {after.message}")
    return found


def _anew(before: Record, after: Record) -> bool:
    return after.serial != before.serial


def _timing(record: Record) -> str:
    lines = [line for line in record.trace if line.at]
    parts = [f"{line.step} {line.at - record.started_at:.1f} s" for line in lines[1:]]
    return ", ".join(parts) or "done"


def with_refusal(seen: ServiceSeen, message: str, now: float) -> Plan:
    """Return how a write that the server refused is told: in the status, next to what is known of both sides."""
    blocker = Blocker("WriteRefused", message, seen.ref, hint="rayctl describe shows the events; mend what is named")
    status = build_status(seen, seen.record, blocker, now)
    event = Emit(seen.ref, "Warning", "WriteRefused", message)
    write = (SetStatus(seen.ref, status, seen.revision),) if differs(seen.status, status) else ()
    return replace(Plan((*write, event)), blocked_on=blocker)
