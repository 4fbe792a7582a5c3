"""What keeps a pod from being ready: the first thing in the order in which a pod starts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rayctl.core.conditions import parse_conditions

__all__ = ["PodTrouble", "pod_trouble"]

Status = Mapping[str, Any]
_STARTING = ("ContainerCreating", "PodInitializing")


@dataclass(frozen=True)
class PodTrouble:
    """Why a pod is not ready. ``container``: which one's logs tell more; ``previous``: those of the run before."""

    reason: str
    message: str
    container: str = ""
    previous: bool = False


def pod_trouble(status: Status) -> PodTrouble:
    """Return the first thing that keeps a pod from being ready; its reason is ``Ready`` if nothing does."""
    phase = str(status.get("phase") or "Unknown")
    conditions = parse_conditions(status.get("conditions"))
    scheduled = conditions.get("PodScheduled")
    if scheduled is not None and not scheduled.is_true:
        return PodTrouble(scheduled.reason, f"is Pending: {scheduled.message or 'no node was found for it'}")
    if phase == "Failed":
        ended = _ended(status.get("containerStatuses") or ())
        return ended or PodTrouble(str(status.get("reason") or "Failed"), _failed(status))
    for kind, name in (("init container", "initContainerStatuses"), ("container", "containerStatuses")):
        for state in status.get(name) or ():
            found = _container(kind, state)
            if found is not None:
                return found
    if phase != "Running":
        return PodTrouble(phase, f"is {phase}: its node has not begun with it yet")
    ready = conditions.get("Ready")
    if ready is not None and not ready.is_true:
        return PodTrouble(ready.reason, ready.message or "is running, but not ready")
    return PodTrouble("Ready", "is ready")


def _failed(status: Status) -> str:
    return f"has failed: {status.get('message') or status.get('reason') or 'no reason was given'}"


def _container(kind: str, state: Status) -> PodTrouble | None:
    name, now = str(state.get("name")), state.get("state") or {}
    last = (state.get("lastState") or {}).get("terminated")
    waiting, ended = now.get("waiting"), now.get("terminated")
    if waiting:
        reason = str(waiting.get("reason") or "Waiting")
        if last and reason not in _STARTING:
            text = f"{kind} {name} {_how(last)}, {state.get('restartCount', 0)} restarts so far ({reason})"
            return PodTrouble(reason, text, name, previous=True)
        text = f": {waiting['message']}" if waiting.get("message") else ""
        return PodTrouble(reason, f"{kind} {name} waits: {reason}{text}", name)
    if ended and (kind == "container" or ended.get("exitCode")):
        return PodTrouble(str(ended.get("reason") or "Terminated"), f"{kind} {name} {_how(ended)}", name)
    runs = now.get("running") is not None
    if runs and kind == "init container" and not state.get("ready") and not state.get("started"):
        return PodTrouble("Initializing", f"init container {name} is still running", name)
    if runs and kind == "container" and not state.get("ready"):
        return PodTrouble("NotReady", f"container {name} is running, but its readiness probe does not succeed", name)
    return None


def _ended(states: Sequence[Status]) -> PodTrouble | None:
    for state in states:
        ended = (state.get("state") or {}).get("terminated")
        if ended and ended.get("exitCode"):
            name = str(state.get("name"))
            return PodTrouble(str(ended.get("reason") or "Failed"), f"container {name} {_how(ended)}", name)
    return None


def _how(ended: Status) -> str:
    code, signal = ended.get("exitCode"), ended.get("signal")
    how = f"was ended by signal {signal}" if signal else f"ended with exit code {code}"
    reason = ended.get("reason")
    if reason and reason not in ("Error", "Completed"):
        how += f" ({reason})"
    return how + (f": {str(ended['message']).strip()}" if ended.get("message") else "")
