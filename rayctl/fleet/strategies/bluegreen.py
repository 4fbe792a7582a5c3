"""Blue/green: the new revision comes up beside the old one, is checked, takes over; the old one goes later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rayctl.core.plan import Blocker, Patch, Reason, Ref
from rayctl.fleet.gates import ask
from rayctl.fleet.seen import TAKEN_OVER, SetView
from rayctl.fleet.strategies.move import Move, Situation
from rayctl.replicaset.names import REVISION_LABEL

__all__ = ["blue_green"]


def blue_green(situation: Situation, now: float) -> Move:
    """Return the next step. ``now``: seconds since the epoch."""
    options, replicas = situation.seen.spec.options.blue_green, situation.limits.replicas
    first = not (situation.old_total or situation.old_there)
    over = first or situation.state.step >= TAKEN_OVER
    wanted = replicas if over or options.preview_replicas is None else min(options.preview_replicas, replicas)
    new = situation.new
    between = None if over else _between(situation)
    if between is not None:
        return between
    if new is None:
        lacking = _capacity(situation, wanted)
        return lacking or Move(create=wanted, reason=Reason("rollout", "CreatingRevision", "beside the old one"))
    services = _services(situation, over)
    if new.replicas != wanted:
        lacking = _capacity(situation, wanted - new.replicas)
        text = f"the new revision goes from {new.replicas} to {wanted}"
        return lacking or Move({new.name: wanted}, reason=Reason("rollout", "SizingNew", text), services=services)
    if not over:
        return replace(_before(situation, wanted, now), services=services)
    return replace(_after(situation, now), services=services)


def _between(situation: Situation) -> Move | None:
    """Have revisions go that were overtaken before they took over: two colours, not three."""
    used = _used(situation)
    left = [view for view in situation.old if used is not None and view.name != used.name]
    sizes = {view.name: 0 for view in left if view.replicas > 0}
    if sizes:
        return Move(sizes, reason=Reason("rollout", "ShrinkingOld", "a revision that never took over goes"))
    going = next((view for view in left if view.occupied or not view.settled), None)
    if going is None or situation.new is not None:
        return None
    text = f"clusters of {going.name}, which never took over, may still be there"
    return Move(blocked_on=Blocker("WaitingForDeletion", text, going.ref))


def _used(situation: Situation) -> SetView | None:
    """Return the old set that is in use."""
    return max(situation.old, key=lambda view: (view.hash == situation.state.stable, view.revision), default=None)


def _capacity(situation: Situation, more: int) -> Move | None:
    fits = situation.room.grow
    if fits is None or more <= fits:
        return None
    text = f"blue/green needs room for {more} more clusters, {fits} fit under the ceiling"
    hint = "Raise rollout.capacity.limits, lower rollout.blueGreen.previewReplicas, or use RollingUpdate."
    return Move(blocked_on=Blocker("WaitingForCapacity", text, hint=hint))


def _before(situation: Situation, wanted: int, now: float) -> Move:
    """Check the new revision; let it take over when everything holds."""
    options, state, new = situation.seen.spec.options.blue_green, situation.state, situation.new
    assert new is not None
    promoted = situation.promote == "full" or (situation.promote.isdigit() and int(situation.promote) >= state.step)
    there = situation.available(wanted)
    if not there:
        text = f"{new.available} of {wanted} clusters of {new.name} are available"
        return Move(blocked_on=Blocker("WaitingForAvailable", text, new.ref))
    hint = f"`rayctl rollout promote fleet/{situation.seen.name}` lets it take over."
    for gate in options.gates:
        answer = ask(gate, there, promoted, situation.seen.observed, state.step_at, now)
        if answer.passes is None:
            blocker = Blocker("WaitingForGate", f"gate {gate.kind}: {answer.message}", None, None, hint)
            return Move(blocked_on=blocker, check_at=answer.check_at, waits=True)
        if not answer.passes:
            return Move(failed=f"gate {gate.kind}: {answer.message}")
    if not options.auto and not promoted:
        blocker = Blocker("WaitingForPromotion", f"{new.name} is ready to take over", new.ref, None, hint)
        return Move(blocked_on=blocker, waits=True)
    reason = Reason("rollout", "TakingOver", f"{new.name} is in use from now on")
    return Move(state=replace(state, step=TAKEN_OVER, step_at=float(int(now))), reason=reason, check_at=now)


def _after(situation: Situation, now: float) -> Move:
    """Let the old revision go when its time is over and the new one has its full size."""
    new, replicas = situation.new, situation.limits.replicas
    assert new is not None
    sizes = {view.name: 0 for view in situation.old if view.replicas > 0}
    if new.available < replicas:
        text = f"{new.available} of {replicas} clusters of {new.name} are available"
        return Move(blocked_on=Blocker("WaitingForAvailable", text, new.ref))
    ends_at = situation.state.step_at + situation.seen.spec.options.blue_green.delay_s
    if sizes and now < ends_at and situation.state.step >= TAKEN_OVER:
        text = "the old revision stays for a while, to go back to at once"
        return Move(blocked_on=Blocker("KeepingOld", text), check_at=ends_at, waits=True)
    if sizes:
        return Move(sizes, reason=Reason("rollout", "ShrinkingOld", "the new revision is in use"))
    if situation.old_there:
        return Move(blocked_on=Blocker("WaitingForDeletion", f"{situation.old_there} old clusters are still there"))
    return Move()


def _services(situation: Situation, over: bool) -> tuple[Patch, ...]:
    """Return the changes of the services' selectors: in use, and newest."""
    options, new = situation.seen.spec.options.blue_green, situation.new
    assert new is not None
    old = _used(situation)
    in_use = new.hash if over and new.available else old.hash if old else ""
    found = []
    for name, wanted in ((options.active, in_use), (options.preview, new.hash)):
        service = situation.seen.services.get(name)
        if name and wanted and service is not None and _selector(service).get(REVISION_LABEL) != wanted:
            metadata = service["metadata"]
            changes = {"spec": {"selector": {REVISION_LABEL: wanted}}}
            found.append(Patch(Ref.to(service), changes, str(metadata.get("resourceVersion") or "")))
    return tuple(found)


def _selector(service: Mapping[str, object]) -> Mapping[str, object]:
    spec = service.get("spec")
    selector = spec.get("selector") if isinstance(spec, Mapping) else None
    return selector if isinstance(selector, Mapping) else {}
