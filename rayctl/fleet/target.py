"""Which revision a fleet is to have: that of its template, or the last good one if the template's was given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rayctl.fleet.revisions import change_in_place, find_equal, hash_of
from rayctl.fleet.seen import ABORT, TAKEN_OVER, FleetSeen, RolloutState, SetView

__all__ = ["Target", "choose"]


@dataclass(frozen=True)
class Target:
    """A revision.

    Args:
        hash: What it is known by.
        view: Its set; None: still to be made.
        old: All other sets that are not being deleted.
        change: Whether the set's template is to be changed in place.
        aborted: Whether it takes the place of the template's own revision.
        taken: Whether the name of the set to be made belongs to something else.
        state: Where the rollout is.
    """

    hash: str
    view: SetView | None
    old: tuple[SetView, ...]
    state: RolloutState
    change: bool = False
    aborted: bool = False
    taken: bool = False


def choose(seen: FleetSeen, now: float) -> Target:
    """Choose. ``now``: seconds since the epoch."""
    there = [view for view in seen.sets if not view.deleting]
    view = find_equal(seen)
    change = view is None
    if view is None:
        view = change_in_place(seen)
    if view is None:
        found = hash_of(seen.name, seen.spec.template, seen.collisions)
        name = f"{seen.name}-{found}"
        taken = name in seen.taken or any(other.name == name for other in seen.sets)
        state = _state(seen, found, now)
        # A revision that was given up stays so, also when its set has been deleted.
        back = _back(seen, there, found, state, now)
        return back or Target(found, None, tuple(there), state, taken=taken)
    state = _state(seen, view.hash, now)
    back = _back(seen, _others(there, view), view.hash, state, now)
    return back or Target(view.hash, view, _others(there, view), state, change)


def _others(there: Sequence[SetView], view: SetView) -> tuple[SetView, ...]:
    return tuple(other for other in there if other.name != view.name)


def _back(seen: FleetSeen, others: Sequence[SetView], bad: str, state: RolloutState, now: float) -> Target | None:
    """Return the last good revision, one of ``others``, if the template's own one (``bad``: its hash) was given up."""
    stable = _stable(others, state) if bad in (state.aborted, seen.annotations.get(ABORT)) else None
    if stable is None:
        return None
    if state.aborted != bad:
        state = replace(state, aborted=bad, aborted_reason="Aborted", aborted_message="given up by hand")
    if state.revision != stable.hash:
        # No steps on the way back.
        steps = max(1, len(seen.spec.options.steps))
        state = replace(state, revision=stable.hash, step=steps, step_at=0.0, progressed_at=float(int(now)))
    there = [view for view in seen.sets if not view.deleting]
    return Target(stable.hash, stable, _others(there, stable), state, aborted=True)


def _state(seen: FleetSeen, hash_value: str, now: float) -> RolloutState:
    """Return where the rollout of a revision is; another one than before begins at its first step."""
    state = seen.state
    if state.aborted and state.aborted != hash_value:
        state = replace(state, aborted="", aborted_reason="", aborted_message="")
    going_back = state.aborted == hash_value
    if state.revision != hash_value and not going_back:
        at = float(int(now))
        if seen.spec.strategy == "BlueGreen" and state.step >= TAKEN_OVER and hash_value != state.stable:
            state = replace(state, stable=state.revision)  # it is in use, though the one before is still there
        # What was good before needs no steps to come back.
        step = max(1, len(seen.spec.options.steps)) if hash_value == state.stable else 0
        progressed_at = 0.0 if seen.spec.paused else at
        state = replace(state, revision=hash_value, step=step, step_at=at, progressed_at=progressed_at)
    return state


def _stable(others: Sequence[SetView], state: RolloutState) -> SetView | None:
    known = [view for view in others if view.hash == state.stable]
    return max(
        known or [view for view in others if view.revision],
        key=lambda view: (view.replicas > 0, view.revision),
        default=None,
    )
