"""The switchover: one function that takes traffic from one side to another, from the intent to the end of the old side.

`advance` looks at both sides, at the entries that lead to one of them, and at the record, and says what comes next: at
most one write to the outside, or a new record to be written first. It is called again and again, by whoever is there;
a crash, a lost answer or a second caller changes nothing, because every step is decided from what was observed.
"""

from __future__ import annotations

import math
from dataclasses import replace

from rayctl.core.plan import Blocker, Reason
from rayctl.service.gradual import next_split
from rayctl.service.record import OVERDUE, Phase, Record, Split
from rayctl.service.terms import Advance, Ask, Claim, Make, Point, Remove, Rules, Seen, Side, Weigh, Wish

__all__ = ["MANUAL_GATE", "POLL_S", "advance"]

POLL_S = 2.0
"""How soon to look again while something is under way that sends no news (a Ray cluster's applications)."""
GATE = "switchover"
MANUAL_GATE = "ManualGate"
SKEW_S = 5.0
"""Clocks of controllers differ by so much."""
OVERDUE_S = 60.0
"""A deadline that has passed is told first, and acted upon after this: a clock that jumps ahead ends no switch."""


def advance(record: Record | None, seen: Seen, rules: Rules, wish: Wish, now: float) -> Advance:
    """Return what comes next. Pure; ``now``: seconds since the epoch."""
    if record is None:
        return _begin(Record(0, "", "", phase=Phase.ROLLED_BACK), wish, rules, now)
    turned = _clock_went_back(record, rules, now)
    if turned is not None:
        return _write(turned, "the clock went back: times are taken anew")
    if record.phase is Phase.FORWARD:
        return _forward(record, seen, rules, wish, now)
    if record.phase is Phase.BACK:
        return _back(record, seen, rules, wish, now)
    return _at_rest(record, seen, rules, wish, now)


def _clock_went_back(record: Record, rules: Rules, now: float) -> Record | None:
    """Return the record with times of now, where its own are in the future: else it would wait for them to come."""
    late = now + SKEW_S
    if record.phase.ended:
        return replace(record, ended_at=now) if record.ended_at > late else None
    limit = rules.deadline_s if record.source else rules.first_deadline_s
    if record.started_at > late:
        split = record.split and replace(record.split, moved_at=min(record.split.moved_at, now))
        return replace(record, started_at=now, deadline_at=now + limit if limit else 0.0, split=split)
    if record.split is not None and record.split.moved_at > late:
        return replace(record, split=replace(record.split, moved_at=now))
    return None


# Beginning --------------------------------------------------------------------------------------------


def _begin(
    before: Record, wish: Wish, rules: Rules, now: float, because: str = "", message: str = "", refused: str = ""
) -> Advance:
    source = before.active
    limit = rules.deadline_s if source else rules.first_deadline_s
    following = Record(
        before.serial + 1,
        source,
        wish.target,
        wish.wanted,
        before.active_wanted,
        wish.generation,
        reason=because or ("Changed" if source else "Started"),
        message=message,
        started_at=now,
        deadline_at=now + limit if limit else 0.0,
        refused=refused,
    )
    if rules.gradual is not None and source and not rules.stop_first:
        following = replace(following, split=Split(100, 0, 0, now))
    following = following.reached("prepare", now, f"from {source or 'nothing'} to {wish.target}")
    return _write(before.followed_by(following), f"a switch to {wish.target} begins")


def _write(record: Record, message: str) -> Advance:
    return Advance(record, because=Reason(GATE, record.step.title().replace("-", "") or "Written", message))


def _act(record: Record, do: Ask, code: str, message: str, half: bool = False) -> Advance:
    return Advance(record, do, Reason(GATE, code, message), half=half)


def _wait(record: Record, blocker: Blocker, now: float, until: float | None = None) -> Advance:
    at = min(filter(None, (until, now + POLL_S, record.deadline_at if record.deadline_at > now else None)))
    return Advance(record, None, Reason(GATE, blocker.code, blocker.message), blocker, at)


# At rest ----------------------------------------------------------------------------------------------


def _at_rest(record: Record, seen: Seen, rules: Rules, wish: Wish, now: float) -> Advance:
    active, retiring = seen.side(record.active), seen.side(record.retiring)
    stray = next((entry for entry in seen.entries if entry.at != active.name), None)
    if active.name and stray is not None and active.exists:
        half = len({entry.at for entry in seen.entries}) > 1
        return _act(record, Point(stray.name, active.name), "Repaired", f"{stray.name} leads elsewhere", half)
    fails = active.name and active.serves is False and retiring.warm and retiring.serves is True
    if fails and record.phase is Phase.SWITCHED:
        # The old side is still warm: return to it, and do not try again what has just failed.
        why = active.waits_for.message if active.waits_for else f"{active.name} does not serve any more"
        back = replace(wish, target=retiring.name)
        return _begin(record, back, replace(rules, gradual=None), now, "Unhealthy", why, wish.wanted)
    begun = _wanted_at_rest(record, seen, rules, wish, now)
    if begun is not None and begun.record is not record:
        return begun
    if active.name and not active.exists:
        return _act(record, Make(active.name), "Created", f"{active.name} is gone, and is created again")
    ended = _retire(record, active, retiring, rules, now)
    return ended or begun or Advance(record)


def _wanted_at_rest(record: Record, seen: Seen, rules: Rules, wish: Wish, now: float) -> Advance | None:
    """Return how the next switch begins, what keeps it from it, or None if nothing else is wanted."""
    if wish.target == record.active:
        # Changed in place: what a later switch is measured against.
        return None if wish.wanted == record.active_wanted else Advance(record.fulfils(wish.wanted))
    refused = record.refused and record.refused == wish.wanted
    if refused and not wish.retry:
        blocker = Blocker(
            record.reason or "RolledBack",
            f"the change is not tried again: {record.message or record.reason}",
            since_at=record.ended_at or None,
            hint="change the specification, or ask for another attempt: rayctl service promote --retry",
        )
        return Advance(record, None, Reason(GATE, "Refused", blocker.message), blocker)
    retiring = seen.side(record.retiring)
    if wish.target == retiring.name and retiring.warm:
        return _begin(record, wish, rules, now, "Reverted")
    if wish.allowed and record.active:
        return Advance(
            record,
            None,
            Reason(GATE, "NotAllowed", wish.allowed),
            Blocker("UpgradeDisabled", wish.allowed, hint="set spec.upgradeStrategy.type to NewCluster"),
        )
    if retiring.exists and not retiring.going:
        blocker = Blocker("Draining", f"{retiring.name} is still being drained; the next switch begins after it")
        return Advance(record, None, Reason(GATE, "Draining", blocker.message), blocker, now + POLL_S)
    return _begin(record, wish, rules, now)


def _retire(record: Record, active: Side, retiring: Side, rules: Rules, now: float) -> Advance | None:
    """Return how the side goes that is not needed any more: never before the other one serves."""
    if not retiring.name or not retiring.exists or retiring.going:
        return None
    earliest = record.ended_at + rules.drain_min_s
    latest = max(earliest, record.ended_at + rules.drain_max_s)
    if record.active and active.serves is not True:
        blocker = Blocker("KeptWarm", f"{retiring.name} is kept: {active.name} does not serve at the moment")
        return Advance(record, None, Reason(GATE, "KeptWarm", blocker.message), blocker, now + POLL_S)
    quiet = now >= max(earliest, record.ended_at + rules.settle_s) and retiring.in_flight == 0
    if not record.touched or quiet or now >= latest:
        left = "" if quiet or not record.touched else _left(retiring)
        return _act(record, Remove(retiring.name), "Retired", f"{retiring.name} is not needed any more{left}")
    known = "an unknown number of" if retiring.in_flight is None else str(retiring.in_flight)
    message = f"{retiring.name} is drained: {known} requests in flight, {max(0.0, latest - now):.0f} s left"
    due = min(at for at in (earliest, record.ended_at + rules.settle_s, latest, latest) if at > now or at == latest)
    return Advance(record, None, Reason(GATE, "Draining", message), None, min(due, now + POLL_S))


def _left(side: Side) -> str:
    if side.in_flight:
        return f"; the limit passed with {side.in_flight} requests in flight"
    return "" if side.in_flight == 0 else "; the limit passed, requests in flight unknown"


# Forward ----------------------------------------------------------------------------------------------


def _forward(record: Record, seen: Seen, rules: Rules, wish: Wish, now: float) -> Advance:
    source, target = seen.side(record.source), seen.side(record.target)
    moved = [entry for entry in seen.entries if entry.at == target.name]
    rest = [entry for entry in seen.entries if entry.at != target.name]
    if moved and rest:
        # Half done: the next write ends it, in the direction that is safe.
        better = target.serves is True or (target.serves is None and source.serves is False)
        if better or not source.exists:
            return _act(record, Point(rest[0].name, target.name), "Promoted", f"{rest[0].name} follows", half=True)
        return _act(record, Point(moved[-1].name, source.name), "Repaired", f"{target.name} does not serve", half=True)
    why = _turn_back(record, source, target, wish, rules, bool(moved), now)
    if why is not None and why[0] in ("DeadlineExceeded", "InitializingTimeout") and record.reason != OVERDUE:
        grace = min(OVERDUE_S, (rules.deadline_s if source.name else rules.first_deadline_s) / 10)
        overdue = record.reached("overdue", now, why[1], reason=OVERDUE, deadline_at=now + grace)
        return _write(overdue, why[1])
    if why is not None:
        return _write(_turned(record, seen, wish, why, now), why[1])
    if moved:
        return _write(_committed(record, seen, now), f"{target.name} serves")
    if wish.target == target.name and wish.wanted != record.wanted and not _returning(record):
        limit = rules.deadline_s if source.name else rules.first_deadline_s
        again = record.reached("prepare", now, "the wish has changed", wanted=wish.wanted, generation=wish.generation)
        return _write(replace(again, deadline_at=now + limit if limit else 0.0), "the deadline begins anew")
    stray = next((entry for entry in rest if source.exists and entry.at != source.name), None)
    if stray is not None and not rules.stop_first:
        return _act(record, Point(stray.name, source.name), "Repaired", f"{stray.name} leads elsewhere")
    if not target.exists or target.going:
        return _make(record, source, target, rules, now)
    if target.claim != record.serial:
        return _act(record, Claim(target.name, record.serial), "Claimed", f"{target.name} takes part in switch")
    return _gates(record, seen, source, target, rules, wish, now)


def _returning(record: Record) -> bool:
    """Whether this is the return to a side that was left shortly before: what is wanted has just failed."""
    return record.reason == "Unhealthy"


def _turn_back(
    record: Record, source: Side, target: Side, wish: Wish, rules: Rules, moved: bool, now: float
) -> tuple[str, str] | None:
    """Return why the switch is given up: a word and a sentence."""
    if wish.abort:
        return "Aborted", "it was aborted by hand"
    returning = _returning(record)
    if wish.target == source.name and source.name and not returning:
        return "Reverted", "the specification is as it was before"
    if wish.target not in (source.name, target.name) and not moved and not returning:
        return "Superseded", "the specification has changed again"
    if not source.name:
        late = record.deadline_at and now >= record.deadline_at and not moved
        return ("InitializingTimeout", "it did not become ready in time") if late else None
    if not (source.warm or rules.stop_first):
        return None  # there is nothing to go back to
    if target.failed and not moved:
        return "Failed", target.failed
    if moved and target.serves is False and source.serves is True:
        return "Unhealthy", target.waits_for.message if target.waits_for else f"{target.name} does not serve any more"
    if record.deadline_at and now >= record.deadline_at and rules.on_deadline == "rollback" and not moved:
        waits = f": {target.waits_for.message}" if target.waits_for else ""
        return "DeadlineExceeded", f"{target.name} was not ready in time{waits}"
    return None


def _turned(record: Record, seen: Seen, wish: Wish, why: tuple[str, str], now: float) -> Record:
    reason, message = why
    weights = seen.weights or {}
    touched = any(entry.at == record.target for entry in seen.entries) or bool(weights.get(record.target))
    again = reason in ("Reverted", "Superseded")
    return record.reached(
        "roll-back",
        now,
        message,
        phase=Phase.BACK,
        reason=reason,
        message=message,
        touched=record.touched or touched or bool(record.split and record.split.traffic),
        refused="" if again else wish.wanted,
    )


def _committed(record: Record, seen: Seen, now: float) -> Record:
    for entry in seen.entries:
        record = record.reached(f"promote-{entry.name}", entry.moved_at or now)
    reason = record.reason if record.reason == "Unhealthy" else "Switched"
    took = f"after {now - record.started_at:.1f} s" if record.started_at else ""
    return record.reached(
        "drain" if record.source else "done",
        now,
        f"{record.target} serves {took}".strip(),
        phase=Phase.SWITCHED,
        reason=reason,
        ended_at=now,
        touched=True,
        split=None,
    )


def _make(record: Record, source: Side, target: Side, rules: Rules, now: float) -> Advance:
    if target.exists:
        return _wait(
            record, Blocker("Terminating", f"{target.name} is being deleted; it is made again after that"), now
        )
    if rules.stop_first and source.exists:
        if not source.going:
            return _act(record, Remove(source.name), "Stopped", f"{source.name} makes room for {target.name}")
        return _wait(record, Blocker("Stopping", f"{source.name} is being deleted to make room"), now)
    return _act(record, Make(target.name), "Created", f"{target.name} is created")


def _gates(record: Record, seen: Seen, source: Side, target: Side, rules: Rules, wish: Wish, now: float) -> Advance:
    """Return what keeps traffic from moving, or the first move."""
    empty = record.split is not None and record.split.target_capacity == 0 and target.settled
    if target.ready is not True and not empty:
        blocker = target.waits_for or Blocker("NotReady", f"{target.name} is not ready")
        return _wait(record, _late(record, rules, blocker, now), now)
    if rules.gradual is None and not wish.promote:
        short = _short(source, target, rules)
        if short:
            hint = f"rayctl service promote moves traffic all the same; rayctl service abort keeps {source.name}"
            return _wait(record, _late(record, rules, Blocker("CapacityGate", short, hint=hint), now), now)
    new = record.reason not in ("Reverted", "Unhealthy")  # else it goes back to what has served before
    if rules.manual and new and not wish.promote and wish.weight is None and source.name and record.split is None:
        blocker = Blocker(MANUAL_GATE, f"{target.name} is ready and waits", hint="rayctl service promote")
        return _wait(record, _late(record, rules, blocker, now), now)
    if source.exists and (record.split is not None or wish.weight is not None) and not wish.promote:
        held = _divide(record, seen, rules, wish, now)
        if held is not None:
            return held
    if wish.promote and record.split is not None and record.split.target_capacity < 100:
        full = replace(record.split, target_capacity=100)
        return _write(
            record.reached("shift", now, "all capacity, by hand", split=full), "the new side gets all capacity"
        )
    if wish.promote and not target.settled:
        return _wait(record, Blocker("CapacityMoving", f"{target.name} changes its capacity"), now)
    first = seen.entries[0]
    return _act(record, Point(first.name, target.name), "Promoted", f"{first.name} leads to {target.name}")


def _short(source: Side, target: Side, rules: Rules) -> str:
    """Return what the target lacks to take over, as a sentence."""
    if not source.name:
        return ""
    needed = max(1, min(math.ceil(rules.capacity * source.endpoints), max(1, target.wanted_endpoints)))
    if target.endpoints < needed:
        return f"{target.name} has {target.endpoints} endpoints of the {needed} that it needs to take over"
    return target.lacking


def _late(record: Record, rules: Rules, blocker: Blocker, now: float) -> Blocker:
    """Return the blocker, with what is said after the deadline of a switch that is not taken back by itself."""
    if not record.source or not record.deadline_at or now < record.deadline_at:
        return replace(blocker, since_at=blocker.since_at or record.started_at or None)
    kept = "the policy is to pause" if rules.on_deadline == "pause" else f"{record.source} cannot serve either"
    return replace(
        blocker,
        message=f"{blocker.message}; the deadline has passed, and {kept}",
        since_at=blocker.since_at or record.started_at or None,
        hint=blocker.hint or "rayctl service promote, or rayctl service abort",
    )


def _divide(record: Record, seen: Seen, rules: Rules, wish: Wish, now: float) -> Advance | None:
    """Return the next move of weighted traffic; None when all of it may go to the target."""
    split = record.split or Split(100, 100, 0, now)
    source, target = seen.side(record.source), seen.side(record.target)
    weights = {source.name: 100 - split.traffic, target.name: split.traffic}
    if record.split is not None and dict(seen.weights or {}) != weights:
        return _act(record, Weigh(weights), "Weighted", f"{split.traffic} % of the traffic to {target.name}")
    unsettled = next((side for side in (source, target) if not side.settled and side.ready is not False), None)
    if unsettled is not None:
        blocker = Blocker("CapacityMoving", f"{unsettled.name} changes its capacity")
        return _wait(record, _late(record, rules, blocker, now), now)
    if wish.weight is not None:
        share = min(wish.weight, split.target_capacity)
        if record.split is None or share != split.traffic:
            moved = replace(split, traffic=share, moved_at=now)
            return _write(record.reached("shift", now, f"{share} % by hand", split=moved, touched=True), f"{share} %")
        blocker = Blocker(
            "WeightHeld", f"held at {share} % by hand", hint="rayctl service weight --clear, promote or abort"
        )
        return _wait(record, blocker, now)
    if rules.gradual is None:
        return None  # the weight by hand was taken back: all of it
    found = next_split(split, rules.gradual, now)
    if found.through:
        return None
    if found.wait_until is not None:
        return _wait(record, Blocker("Shifting", found.message), now, found.wait_until)
    touched = record.touched or found.split.traffic > 0
    return _write(record.reached("shift", now, found.message, split=found.split, touched=touched), found.message)


# Back -------------------------------------------------------------------------------------------------


def _back(record: Record, seen: Seen, rules: Rules, wish: Wish, now: float) -> Advance:
    source, target = seen.side(record.source), seen.side(record.target)
    moved = [entry for entry in seen.entries if entry.at == target.name]
    half = bool(moved) and len(moved) < len(seen.entries)
    resumed = record.reason == "Reverted" and wish.target == target.name and target.warm
    if resumed and not half:
        limit = now + rules.deadline_s if rules.deadline_s else 0.0
        forward = record.reached("prepare", now, "wanted again", phase=Phase.FORWARD, reason="Changed", message="")
        return _write(replace(forward, deadline_at=limit, wanted=wish.wanted), "the switch goes on")
    if source.name and not source.exists:
        if target.exists and rules.stop_first:
            if not target.going:
                return _act(record, Remove(target.name), "Stopped", f"{target.name} makes room for {source.name}")
            return _wait(record, Blocker("Stopping", f"{target.name} is being deleted to make room"), now)
        return _act(record, Make(source.name), "Created", f"{source.name} is created again")
    if source.name and moved and source.serves is False:
        if half:
            rest = next(entry for entry in seen.entries if entry.at != target.name)
            return _act(record, Point(rest.name, target.name), "Repaired", f"{source.name} does not serve", half=True)
        return _wait(record, source.waits_for or Blocker("NotReady", f"{source.name} is not ready"), now)
    if record.split is not None and source.exists:
        held = _divide_back(record, seen, rules, now)
        if held is not None:
            return held
    if moved and source.name:
        return _act(record, Point(moved[-1].name, source.name), "RolledBack", f"{moved[-1].name} leads back", half)
    stray = next((entry for entry in seen.entries if source.exists and entry.at != source.name), None)
    if stray is not None:
        return _act(record, Point(stray.name, source.name), "Repaired", f"{stray.name} leads elsewhere")
    loose = next((entry for entry in seen.entries if entry.at == source.name and entry.moved_by != record.serial), None)
    if source.exists and loose is not None:
        # A write of this switch may still be on its way: after this one it comes too late.
        return _act(record, Point(loose.name, source.name), "Sealed", f"{loose.name} stays where it is")
    message = f"{source.name} serves as before" if source.name else "nothing serves"
    ended = record.reached("done", now, message, phase=Phase.ROLLED_BACK, ended_at=now, split=None)
    return _write(ended, f"rolled back: {record.message}")


def _divide_back(record: Record, seen: Seen, rules: Rules, now: float) -> Advance | None:
    """Return the next move of weighted traffic back to the source; None when it has all of it."""
    split = record.split
    assert split is not None
    source, target = seen.side(record.source), seen.side(record.target)
    weights = {source.name: 100 - split.traffic, target.name: split.traffic}
    if dict(seen.weights or {}) != weights:
        return _act(record, Weigh(weights), "Weighted", f"{100 - split.traffic} % of the traffic to {source.name}")
    if not source.settled and source.ready is not False:
        return _wait(record, Blocker("CapacityMoving", f"{source.name} changes its capacity"), now)
    if split.traffic == 0 and split.source_capacity == 100:
        return None
    steps = rules.gradual is not None and record.reason in ("Reverted", "Aborted", "Superseded")
    if steps and rules.gradual is not None:
        found = next_split(split, rules.gradual, now, back=True)
        if found.wait_until is not None:
            return _wait(record, Blocker("Shifting", found.message), now, found.wait_until)
        if not found.through:
            return _write(record.reached("shift-back", now, found.message, split=found.split), found.message)
    elif split.source_capacity < 100:
        full = replace(split, source_capacity=100)
        return _write(record.reached("shift-back", now, "full capacity", split=full), "the old side gets all capacity")
    all_back = replace(split, source_capacity=100, traffic=0, moved_at=now)
    return _write(record.reached("shift-back", now, "all traffic", split=all_back), "all traffic goes back")
