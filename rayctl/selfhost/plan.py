"""What the supervisor does next: a pure function of what it sees and of the time.

Two children are kept alive: a Ray head, or the embedded Kubernetes server (``kube``) on which there will be one, and
the resident. The resident is a driver of the Ray cluster or a client of the server, so it never survives the other
one: when that goes, both go, and both are started again at once. Before everything has been ready for the first time,
failures end the attempt (somebody is waiting in front of it); afterwards they are repaired for ever, with growing
pauses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["HEAD", "KUBE", "RESIDENT", "Part", "Plan", "Seen", "delay_s", "died", "plan"]

HEAD = "ray"
KUBE = "kube"
RESIDENT = "resident"

_WHAT = {HEAD: "the Ray head", KUBE: "the Kubernetes API server"}

LONG_LIFE_S = 60.0
MAX_DELAY_S = 30.0
HEAD_READY_S = 240.0
HEARTBEAT_S = 300.0
RESIDENT_ATTEMPTS = 3


@dataclass(frozen=True)
class Part:
    """One child. ``failures`` counts ends in a row that came soon after the start; times are monotonic seconds."""

    name: str
    alive: bool = False
    started_at: float | None = None
    died_at: float | None = None
    failures: int = 0
    last_exit: str = ""


@dataclass(frozen=True)
class Seen:
    """Everything that a decision depends on. ``head``: of either kind; None: the cluster is not ours to start."""

    head: Part | None
    resident: Part
    head_ready: bool = False
    services: str = "starting"  # what the resident reports: starting, ready, broken
    services_reason: str = ""
    heartbeat_at: float | None = None
    ever_ready: bool = False


@dataclass(frozen=True)
class Plan:
    """Stop these parts, then start those, then be in this state. ``give_up``: the part that made it hopeless."""

    stop: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    state: str = "starting"
    reason: str = ""
    give_up: str | None = None


def delay_s(failures: int) -> float:
    """Return the pause before the next start: none after the first failure, then 1, 2, 4 … 30 seconds."""
    return 0.0 if failures <= 1 else min(MAX_DELAY_S, 2.0 ** (failures - 2))


def died(part: Part, now: float, last_exit: str) -> Part:
    """Return the part after its process ended; a long life forgives earlier failures."""
    lived = now - (part.started_at if part.started_at is not None else now)
    failures = 1 if lived >= LONG_LIFE_S else part.failures + 1
    return replace(part, alive=False, died_at=now, failures=failures, last_exit=last_exit)


def plan(seen: Seen, now: float) -> Plan:
    """Decide what to stop and start now."""
    if seen.head is not None:
        decided = _plan_head(seen, seen.head, now)
        if decided is not None:
            return decided
    return _plan_resident(seen, now)


def _plan_head(seen: Seen, head: Part, now: float) -> Plan | None:
    what = _WHAT[head.name]
    if not head.alive:
        if head.started_at is None:
            return Plan(stop=_alive(seen.resident), start=(head.name, RESIDENT), reason=f"starting {what}")
        reason = f"{what} ended ({head.last_exit})"
        if not seen.ever_ready:
            return Plan(give_up=head.name, state="failed", reason=reason)
        wait = _wait(head, now)
        if wait > 0:
            return Plan(stop=_alive(seen.resident), reason=f"{reason}; next start in {wait:.0f} s")
        return Plan(stop=_alive(seen.resident), start=(head.name, RESIDENT), reason=f"{reason}; starting it again")
    if not seen.head_ready and head.started_at is not None and now - head.started_at > HEAD_READY_S:
        reason = f"{what} was not complete after {HEAD_READY_S:.0f} s"
        if not seen.ever_ready:
            return Plan(give_up=head.name, state="failed", reason=reason)
        return Plan(stop=(*_alive(seen.resident), head.name), reason=reason)
    return None


def _plan_resident(seen: Seen, now: float) -> Plan:
    resident = seen.resident
    if not resident.alive:
        if resident.started_at is None:
            return Plan(start=(RESIDENT,), reason="starting the control plane")
        reason = f"the resident ended ({resident.last_exit})"
        if not seen.ever_ready and resident.failures >= RESIDENT_ATTEMPTS:
            return Plan(give_up=RESIDENT, state="failed", reason=reason)
        wait = _wait(resident, now)
        if wait > 0:
            return Plan(reason=f"{reason}; next start in {wait:.0f} s")
        return Plan(start=(RESIDENT,), reason=f"{reason}; starting it again")
    last_sign = max(resident.started_at or 0.0, seen.heartbeat_at or 0.0)
    if now - last_sign > HEARTBEAT_S:
        return Plan(stop=(RESIDENT,), reason=f"the resident gave no sign of life for {HEARTBEAT_S:.0f} s")
    if seen.services == "ready":
        return Plan(state="ready")
    if seen.head is not None and not seen.head_ready:
        return Plan(reason=f"waiting for {_WHAT[seen.head.name]}")
    return Plan(reason=seen.services_reason or "waiting for the control plane")


def _wait(part: Part, now: float) -> float:
    return (part.died_at or 0.0) + delay_s(part.failures) - now


def _alive(part: Part) -> tuple[str, ...]:
    return (part.name,) if part.alive else ()
