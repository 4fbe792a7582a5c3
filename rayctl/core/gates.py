"""Decisions in a row: each gate looks, may act, and says why; the first one that must not be passed ends the row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rayctl.core.plan import Action, Blocker, Plan, Reason

__all__ = ["Gate", "Verdict", "run_gates"]

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Verdict:
    """What a gate decided.

    Args:
        actions: What it wants done.
        code: A word for the reason; empty if there is nothing to tell.
        message: A sentence for people.
        stop: Later gates are not asked.
        next_check_at: Look again at this time (seconds since the epoch).
        blocked_on: What is waited for.
    """

    actions: tuple[Action, ...] = ()
    code: str = ""
    message: str = ""
    stop: bool = False
    next_check_at: float | None = None
    blocked_on: Blocker | None = None


PASS = Verdict()
"""Nothing to do and nothing to say."""


@dataclass(frozen=True)
class Gate(Generic[Seen]):
    """A decision with a name. ``decide``: (what was seen, now) → verdict; pure."""

    name: str
    decide: Callable[[Seen, float], Verdict]


def run_gates(gates: Sequence[Gate[Seen]], seen: Seen, now: float) -> Plan:
    """Return the plan of all gates up to the first that stops. ``now``: seconds since the epoch."""
    actions: list[Action] = []
    because: list[Reason] = []
    checks: list[float] = []
    blocked_on: Blocker | None = None
    for gate in gates:
        verdict = gate.decide(seen, now)
        actions.extend(verdict.actions)
        if verdict.code:
            because.append(Reason(gate.name, verdict.code, verdict.message))
        if verdict.next_check_at is not None:
            checks.append(verdict.next_check_at)
        blocked_on = blocked_on or verdict.blocked_on
        if verdict.stop:
            break
    return Plan(tuple(actions), tuple(because), min(checks) if checks else None, blocked_on)
