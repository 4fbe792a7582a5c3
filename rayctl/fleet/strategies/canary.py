"""Canary: the new revision gets a share of the members, step by step, with pauses and gates between."""

from __future__ import annotations

from dataclasses import replace

from rayctl.core.plan import Blocker, Reason
from rayctl.fleet.arithmetic import canary_counts
from rayctl.fleet.gates import ask
from rayctl.fleet.options import Step
from rayctl.fleet.strategies.move import Move, Situation
from rayctl.fleet.strategies.rolling import roll_to

__all__ = ["canary", "goal_of"]


def goal_of(situation: Situation) -> tuple[int, int]:
    """Return how many members are to be new and old at the step where the rollout is."""
    steps, replicas = situation.seen.spec.options.steps, situation.limits.replicas
    at = len(steps) if situation.promote == "full" else min(situation.state.step, len(steps))
    if at >= len(steps):
        return replicas, 0
    sized = [step for step in steps[: at + 1] if step.weight is not None or step.replicas is not None]
    if not sized:
        return 0, replicas
    last = sized[-1]
    if last.weight is not None:
        return canary_counts(replicas, last.weight, situation.limits.surge)
    new = min(replicas, last.replicas or 0)
    return new, replicas - new


def canary(situation: Situation, now: float) -> Move:
    """Return the next step. ``now``: seconds since the epoch."""
    steps, state = situation.seen.spec.options.steps, situation.state
    goal, floor = goal_of(situation)
    if not (situation.old_total or situation.old_there):
        return roll_to(situation, situation.limits.replicas, 0)  # nothing to compare with: the first revision
    move = roll_to(situation, goal, floor)
    if move.sizes or move.create is not None or state.step >= len(steps) or situation.promote == "full":
        return move
    step = steps[state.step]
    there = situation.available(goal) and situation.old_total <= floor
    if not there and (step.weight is not None or step.replicas is not None):
        return move
    passed, waits = _pass(situation, step, there, now)
    if passed is None:
        return replace(move, blocked_on=waits.blocked_on, check_at=waits.check_at, waits=waits.waits)
    if not passed:
        return replace(move, failed=waits.failed)
    text = f"step {state.step + 1} of {len(steps)} ({step}) is done"
    onward = replace(state, step=state.step + 1, step_at=float(int(now)))
    return replace(move, state=onward, blocked_on=None, reason=Reason("rollout", "StepDone", text), check_at=now)


def _pass(situation: Situation, step: Step, there: bool, now: float) -> tuple[bool | None, Move]:
    """Return whether a step is over (None: not yet), and what it waits for or why it failed."""
    state = situation.state
    promoted = situation.promote.isdigit() and int(situation.promote) >= state.step
    hint = f"`rayctl rollout promote fleet/{situation.seen.name}` lets it pass."
    place = f"step {state.step + 1} of {len(situation.seen.spec.options.steps)}"
    if step.gate is not None:
        answer = ask(step.gate, there, promoted, situation.seen.observed, state.step_at, now)
        if answer.passes is None:
            text = f"{place}: gate {step.gate.kind}: {answer.message}"
            blocker = Blocker("WaitingForGate", text, None, state.step_at or None, hint)
            return None, Move(blocked_on=blocker, check_at=answer.check_at, waits=there)
        return answer.passes, Move(failed=f"gate {step.gate.kind}: {answer.message}")
    if step.pause is not None and not promoted:
        ends_at = state.step_at + step.pause
        if now < ends_at:
            text = f"{place}: {step}"
            blocker = Blocker("Pausing", text, None, state.step_at or None, hint)
            return None, Move(blocked_on=blocker, check_at=ends_at if ends_at != float("inf") else None, waits=True)
    return True, Move()
