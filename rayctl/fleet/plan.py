"""What a RayClusterFleet does next: claim, go back, choose a revision, change in place, scale, roll, tidy up, report.

Pure. At most one revision grows in a pass, and every size is written together with what it was computed for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rayctl.core.conditions import Condition, parse_conditions
from rayctl.core.plan import Action, Blocker, Delete, Emit, Patch, Plan, Reason, Single, Together
from rayctl.fleet.arithmetic import Limits, history_victims
from rayctl.fleet.capacity import demand, room_for, times, total
from rayctl.fleet.edits import edits_for
from rayctl.fleet.progress import Totals, complete, progressing, recheck_at, timed_out
from rayctl.fleet.revisions import merge_to, new_set, next_revision, prepared, rollback_target, template_of_revision
from rayctl.fleet.scaling import Scaled, is_scaling, scale
from rayctl.fleet.seen import REVISION, ROLLBACK, FleetSeen, RolloutState, SetView
from rayctl.fleet.spec import limits_of
from rayctl.fleet.status import (
    AVAILABLE,
    DEGRADED,
    PAUSED,
    PROGRESSING,
    READY,
    count_sets,
    failure_of,
    report,
    totals_before,
    with_conditions,
)
from rayctl.fleet.strategies.bluegreen import blue_green
from rayctl.fleet.strategies.canary import canary
from rayctl.fleet.strategies.move import Move, Situation
from rayctl.fleet.strategies.recreate import recreate
from rayctl.fleet.strategies.rolling import roll
from rayctl.fleet.target import Target, choose
from rayctl.replicaset.builders import owner_reference
from rayctl.replicaset.names import HASH_LABEL
from rayctl.replicaset.template import same_template

__all__ = ["plan_fleet"]


def plan_fleet(seen: FleetSeen, now: float) -> Plan:
    """Return the next step. ``now``: seconds since the epoch."""
    if seen.document["metadata"].get("deletionTimestamp"):
        return Plan(because=(Reason("deletion", "Deleting", "the fleet is being deleted; its sets go with it"),))
    problem = seen.spec.problems[0] if seen.spec.problems else _selector_changed(seen)
    if problem is not None:
        return _plan_invalid(seen, problem, now)
    claims = _claims(seen)
    if claims:
        reason = Reason("ownership", "Claiming", f"{len(claims)} replica sets change owners")
        return Plan((Together(tuple(claims)),), (reason,))
    if ROLLBACK in seen.annotations:
        return _plan_rollback(seen, seen.annotations[ROLLBACK])
    target = choose(seen, now)
    if target.taken:
        return _plan_collision(seen, target, now)
    situation = _situation(seen, target)
    return _plan_rollout(situation, target, now)


# What ends a pass early --------------------------------------------------------------------------------


def _plan_invalid(seen: FleetSeen, problem: tuple[str, str], now: float) -> Plan:
    word, sentence = problem
    conditions = [Condition(kind, "False", word, sentence) for kind in (READY, PROGRESSING)]
    known = parse_conditions(seen.status.get("conditions")).get(READY)
    events = []
    if known is None or (known.reason, known.message) != (word, sentence):
        events.append(Emit(seen.ref, "Warning", word, sentence))
    status = with_conditions(seen, conditions, now, replicas=int(seen.status.get("replicas") or 0))
    blocker = Blocker(word, sentence, seen.ref, hint="Correct the specification; until then nothing is touched.")
    return Plan((*status, *events), (Reason("validity", word, sentence),), None, blocker)


def _selector_changed(seen: FleetSeen) -> tuple[str, str] | None:
    """A changed selector would leave running clusters behind, so it is refused (the API calls it immutable)."""
    for view in seen.sets:
        same = view.selector.without(HASH_LABEL) == seen.spec.selector
        if not view.deleting and not same and not seen.spec.selector.matches(view.labels):
            return "SelectorChanged", f"spec.selector cannot be changed: it does not select replica set {view.name}"
    return None


def _claims(seen: FleetSeen) -> list[Single]:
    uid, claims = seen.ref.uid, []
    for view in seen.sets:
        if not view.deleting and not seen.spec.selector.matches(view.labels):
            owners = [o for o in view.document["metadata"].get("ownerReferences") or () if o.get("uid") != uid]
            claims.append(_owners(view, owners))
    for view in seen.orphans:
        owners = [*(view.document["metadata"].get("ownerReferences") or ()), owner_reference(seen.document)]
        claims.append(_owners(view, owners))
    return claims


def _owners(view: SetView, owners: list[Any]) -> Single:
    revision = str(view.document["metadata"].get("resourceVersion") or "")
    return Patch(view.ref, {"metadata": {"ownerReferences": owners or None}}, revision)


def _plan_rollback(seen: FleetSeen, text: str) -> Plan:
    """Give the fleet the template of an earlier revision; the annotation goes, whatever comes of it."""
    changes: dict[str, Any] = {"metadata": {"annotations": {ROLLBACK: None}}}
    try:
        view = rollback_target(seen, text)
    except ValueError:
        view = None
    if view is None:
        event = Emit(seen.ref, "Warning", "DeploymentRollbackRevisionNotFound", f"There is no revision {text!r}")
    else:
        template = template_of_revision(view)
        if same_template(template, seen.spec.template):
            message = f"The template is that of revision {view.revision} already"
            event = Emit(seen.ref, "Warning", "DeploymentRollbackTemplateUnchanged", message)
        else:
            changes["spec"] = {"template": merge_to(seen.spec.template, template)}
            event = Emit(seen.ref, "Normal", "DeploymentRollback", f"Went back to revision {view.revision}")
    patch = Patch(seen.ref, changes, str(seen.document["metadata"].get("resourceVersion") or ""))
    return Plan((patch, event), (Reason("rollback", event.reason, event.message),))


def _plan_collision(seen: FleetSeen, target: Target, now: float) -> Plan:
    text = f"the name {seen.name}-{target.hash} is taken by something else"
    condition = Condition(PROGRESSING, "True", "HashCollision", text)
    status = with_conditions(
        seen, [condition], now, replicas=int(seen.status.get("replicas") or 0), collisionCount=seen.collisions + 1
    )
    return Plan(tuple(status), (Reason("revision", "HashCollision", text),), now)


# The rollout -------------------------------------------------------------------------------------------


def _situation(seen: FleetSeen, target: Target) -> Situation:
    limits = limits_of(seen.spec)
    template = target.view.template if target.aborted and target.view else seen.spec.template
    held = total(times(demand(view.template), view.existing + view.terminating) for view in seen.sets)
    olds = [demand(view.template) for view in target.old if view.occupied]
    room = room_for(seen.spec.options.capacity, limits, demand(template), olds, held)
    if seen.spec.strategy == "BlueGreen":
        room = replace(room, limits=limits)
    return Situation(seen, target.hash, target.view, target.old, room, target.state)


def _plan_rollout(situation: Situation, target: Target, now: float) -> Plan:
    seen, spec = situation.seen, situation.seen.spec
    scaled: Scaled | None = None
    if target.view is not None and target.change and spec.paused:
        # The change waits; what is there is scaled as it is.
        situation = replace(situation, new=None, old=(*situation.old, target.view))
        target = replace(target, view=None, old=situation.old)
    if is_scaling(situation):
        scaled = scale(situation)
        move = _scaling(situation, scaled)
    elif spec.paused:
        behind = _unfinished(situation)
        move = Move(blocked_on=_paused(seen) if behind else None, waits=behind)
    else:
        move = _strategy(situation, now)
    ended = _judge(situation, target, move, scaled is not None and not scaled.withheld, now)
    actions: list[Action] = list(_writes(situation, target, move, scaled))
    actions += _tidy(situation, ended.done)
    news = [*_size_events(situation, move), *ended.events]
    # While a change of the template waits, the revision is still the one before.
    revision = target.view.revision if target.view else max((view.revision for view in situation.old), default=0)
    patch = _own_revision(seen, target)
    if patch is not None:
        # A status written for the version before would be refused; it follows in the next pass.
        actions.append(patch)
        return Plan((*actions, *news), _reasons(situation, move), now, move.blocked_on)
    actions += report(seen, ended.totals, ended.state, ended.conditions, revision, now)
    checks = [at for at in (move.check_at, ended.check_at) if at is not None]
    blocked = None if ended.done else move.blocked_on
    return Plan((*actions, *news), _reasons(situation, move), min(checks, default=None), blocked)


def _scaling(situation: Situation, scaled: Scaled) -> Move:
    wanted = situation.limits.replicas
    there = {view.name: view.replicas for view in situation.sets}
    sizes = {name: size for name, size in scaled.sizes.items() if size != there[name]}
    blocker = None
    if scaled.withheld:
        text = f"growing to {wanted} waits until clusters that are going are gone"
        blocker = Blocker("WaitingForDeletion", text, situation.seen.ref)
    return Move(sizes, reason=Reason("scale", "Scaling", f"the fleet goes to {wanted}"), blocked_on=blocker)


def _strategy(situation: Situation, now: float) -> Move:
    kind = situation.seen.spec.strategy
    if kind == "Recreate":
        return recreate(situation, now)
    if kind == "Canary":
        return canary(situation, now)
    if kind == "BlueGreen":
        return blue_green(situation, now)
    return roll(situation)


def _reasons(situation: Situation, move: Move) -> tuple[Reason, ...]:
    room = situation.room
    found = [Reason("capacity", "SurgeReduced", room.message)] if room.message else []
    return tuple([*found, *([move.reason] if move.reason else [])])


def _paused(seen: FleetSeen) -> Blocker:
    hint = f"`rayctl rollout resume fleet/{seen.name}` goes on."
    return Blocker("Paused", "the fleet is paused; changes of its template wait", seen.ref, None, hint)


def _unfinished(situation: Situation) -> bool:
    return situation.new is None or any(view.replicas for view in situation.old)


def _writes(situation: Situation, target: Target, move: Move, scaled: Scaled | None) -> list[Action]:
    seen, limits = situation.seen, limits_of(situation.seen.spec)
    edits = edits_for(seen, target, move.sizes, limits, scaled)
    actions: list[Action] = []
    if target.change and target.view is not None:
        spec = edits.setdefault(target.view.name, {}).setdefault("spec", {})
        spec["template"] = prepared(seen.name, seen.spec.template, target.view.hash, seen.spec.strategy == "BlueGreen")
    patches: list[Single] = [
        Patch(view.ref, edits[view.name], str(view.document["metadata"].get("resourceVersion") or ""))
        for view in situation.sets
        if view.name in edits
    ]
    patches += move.services
    if patches:
        actions.append(patches[0] if len(patches) == 1 else Together(tuple(patches)))
    if move.create is not None:
        actions.append(new_set(seen, situation.hash, move.create, limits))
    return actions


def _own_revision(seen: FleetSeen, target: Target) -> Patch | None:
    """The fleet carries the number of its revision, as Deployments do."""
    if target.view is None or target.aborted or seen.spec.paused:
        return None
    wanted = str(max(target.view.revision, next_revision(target.old)))
    if seen.annotations.get(REVISION) == wanted:
        return None
    return Patch(seen.ref, {"metadata": {"annotations": {REVISION: wanted}}}, "")


def _tidy(situation: Situation, done: bool) -> list[Action]:
    """Forget old revisions, when a rollout is complete or waits."""
    seen = situation.seen
    if not done and not seen.spec.paused:
        return []
    keep = situation.state.stable
    rows = [
        (
            view.name,
            view.revision,
            view.created_at,
            not view.occupied and view.observed >= view.generation and view.hash != keep,
        )
        for view in situation.old
    ]
    victims = set(history_victims(rows, seen.spec.history))
    return [Delete(view.ref) for view in situation.old if view.name in victims]


def _size_events(situation: Situation, move: Move) -> list[Emit]:
    ref, events = situation.seen.ref, []
    for view in situation.sets:
        size = move.sizes.get(view.name, view.replicas)
        if size != view.replicas:
            way = "up" if size > view.replicas else "down"
            text = f"Scaled {way} replica set {view.name} from {view.replicas} to {size}"
            events.append(Emit(ref, "Normal", "ScalingReplicaSet", text))
    if move.create is not None:
        text = f"Scaled up replica set {situation.seen.name}-{situation.hash} from 0 to {move.create}"
        events.append(Emit(ref, "Normal", "ScalingReplicaSet", text))
    return events


# The verdict -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ended:
    """What a pass amounts to."""

    done: bool
    totals: Totals
    state: RolloutState
    conditions: tuple[Condition, ...]
    events: tuple[Emit, ...] = ()
    check_at: float | None = None


def _judge(situation: Situation, target: Target, move: Move, scaling: bool, now: float) -> _Ended:
    seen, spec = situation.seen, situation.seen.spec
    totals = count_sets(seen.sets, target.view)
    moved = bool(move.sizes) or move.create is not None or scaling or progressing(totals_before(seen), totals)
    waiting = any(view.terminating for view in seen.sets)
    settled = all(view.observed >= view.generation for view in situation.sets)
    done = not moved and not waiting and settled and complete(spec.replicas, totals, move.goal) and not move.waits
    # A step that has just been done is not the last of it, although all is as it was to be until here.
    done = done and target.view is not None and not target.change and move.state is None
    state = _progressed(move.state or situation.state, seen, moved, move.waits, now)
    late = not done and not move.waits and timed_out(state.progressed_at, spec.deadline_s, now)
    why = ("GateFailed", move.failed) if move.failed else None
    if late and why is None:
        text = f"nothing has moved for {spec.deadline_s:.0f} s"
        detail = move.blocked_on.message if move.blocked_on else ""
        why = ("ProgressDeadlineExceeded", f"{text}: {detail}" if detail else text)
    events: tuple[Emit, ...] = ()
    check_at = None
    if why is not None and spec.options.roll_back and not target.aborted and _can_go_back(situation):
        state = replace(state, aborted=situation.hash, aborted_reason=why[0], aborted_message=why[1])
        events = (Emit(seen.ref, "Warning", "RollingBack", f"Revision {situation.hash} is given up: {why[1]}"),)
        check_at = now
    elif why is None and not done and not move.waits:
        check_at = recheck_at(state.progressed_at, spec.deadline_s)
    if done and not target.aborted:
        state = replace(state, stable=situation.hash)
    conditions = _conditions(situation, target, move, totals, state, done, why)
    return _Ended(done, totals, state, conditions, events, check_at)


def _can_go_back(situation: Situation) -> bool:
    return any(view.revision for view in situation.old)


def _progressed(state: RolloutState, seen: FleetSeen, moved: bool, waits: bool, now: float) -> RolloutState:
    """The deadline counts from the last move; while something waits on purpose, it does not count."""
    if seen.spec.paused or waits:
        return replace(state, progressed_at=0.0)
    if moved or not state.progressed_at:
        return replace(state, progressed_at=float(int(now)))
    return state


def _conditions(
    situation: Situation,
    target: Target,
    move: Move,
    totals: Totals,
    state: RolloutState,
    done: bool,
    why: tuple[str, str] | None,
) -> tuple[Condition, ...]:
    seen, spec = situation.seen, situation.seen.spec
    limits: Limits = limits_of(spec)
    least = limits.fewest if spec.rolling else 0
    found = [
        Condition(AVAILABLE, "True", "MinimumReplicasAvailable", f"{totals.available} clusters are available")
        if totals.available >= least
        else Condition(
            AVAILABLE, "False", "MinimumReplicasUnavailable", f"{totals.available} of at least {least} are available"
        ),
        _progress_condition(situation, target, move, state, done, why),
    ]
    failure = failure_of(target.view, seen.sets)
    if failure is not None:
        found.append(failure)
    if spec.paused:
        found.append(Condition(PAUSED, "True", "DeploymentPaused", "changes of the template wait"))
    bad = why
    if bad is None and state.aborted:
        text = (
            f"revision {state.aborted} was given up ({state.aborted_message}); change the template, or undo, to go on"
        )
        bad = (state.aborted_reason, text)
    if bad is not None:
        found.append(Condition(DEGRADED, "True", bad[0], bad[1]))
    elif failure is not None:
        found.append(Condition(DEGRADED, "True", failure.reason, failure.message))
    if done and not state.aborted and failure is None:
        found.append(Condition(READY, "True", "AllAvailable", f"all {spec.replicas} clusters are available"))
    else:
        found.append(_not_ready(situation, move, totals, bad, failure))
    return tuple(found)


def _not_ready(
    situation: Situation, move: Move, totals: Totals, bad: tuple[str, str] | None, failure: Condition | None
) -> Condition:
    if bad is not None:
        return Condition(READY, "False", bad[0], bad[1])
    if failure is not None:
        return Condition(READY, "False", failure.reason, failure.message)
    if move.blocked_on is not None:
        return Condition(READY, "False", move.blocked_on.code, move.blocked_on.message)
    text = move.reason.message if move.reason else f"{totals.available} of {situation.limits.replicas} are available"
    return Condition(READY, "False", move.reason.code if move.reason else "Progressing", text)


def _progress_condition(
    situation: Situation, target: Target, move: Move, state: RolloutState, done: bool, why: tuple[str, str] | None
) -> Condition:
    name = target.view.name if target.view else f"{situation.seen.name}-{situation.hash}"
    if state.aborted and (target.aborted or why is not None):
        given_up = f"revision {state.aborted} was given up ({state.aborted_message})"
        if target.aborted and why is not None:
            return Condition(PROGRESSING, "False", why[0], f"{given_up}; going back to {name}: {why[1]}")
        if target.aborted and done:
            return Condition(
                PROGRESSING, "False", "RolledBack", f"{given_up}; {name} is used until the template changes"
            )
        back = f"going back to {name}" if target.aborted else "going back"
        return Condition(PROGRESSING, "True", "RollingBack", f"{given_up}; {back}")
    if why is not None:
        return Condition(PROGRESSING, "False", why[0], why[1])
    if situation.seen.spec.paused and not done:
        return Condition(PROGRESSING, "Unknown", "DeploymentPaused", "the fleet is paused")
    if done:
        return Condition(PROGRESSING, "True", "NewReplicaSetAvailable", f"{name} is complete")
    if move.create is not None:
        return Condition(PROGRESSING, "True", "NewReplicaSetCreated", f"{name} is made")
    text = f"{name} progresses" if move.blocked_on is None else move.blocked_on.message
    return Condition(PROGRESSING, "True", "ReplicaSetUpdated", text)
