"""Whether a rollout may go on: clusters ready, applications running, a metric within bounds, somebody's word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rayctl.fleet.options import GateSpec

__all__ = ["GateAnswer", "ask"]


@dataclass(frozen=True)
class GateAnswer:
    """``passes`` None: not known yet, wait. ``check_at``: look again then."""

    passes: bool | None
    message: str
    check_at: float | None = None


_POLL_S = 10.0


def ask(
    gate: GateSpec, ready: bool, promoted: bool, observed: Mapping[str, Any], since_at: float, now: float
) -> GateAnswer:
    """Ask one gate.

    Args:
        gate: Which.
        ready: Whether all clusters of the new revision that are wanted so far are available.
        promoted: Whether somebody let this step pass.
        observed: ``serve``: cluster → applications or error; ``metrics``: query → value or error.
        since_at: When the step began. Seconds since the epoch, as ``now``.
        now: The time.
    """
    if promoted:
        return GateAnswer(True, "promoted")
    answer = _answer(gate, ready, observed)
    if answer.passes is not None:
        return answer
    ends_at = since_at + gate.seconds
    if gate.seconds and now >= ends_at:
        return GateAnswer(False, f"not passed within {gate.seconds:.0f} s: {answer.message}")
    checks = [ends_at] if gate.seconds else []
    if gate.kind in ("Serve", "Metric"):
        checks.append(now + _POLL_S)
    return GateAnswer(None, answer.message, min(checks, default=None))


def _answer(gate: GateSpec, ready: bool, observed: Mapping[str, Any]) -> GateAnswer:
    if gate.kind == "Manual":
        return GateAnswer(None, "waits to be promoted")
    if not ready:
        return GateAnswer(None, "new clusters are not available yet")
    if gate.kind == "Serve":
        return _serve(gate, observed.get("serve") or {})
    if gate.kind == "Metric":
        return _metric(gate, (observed.get("metrics") or {}).get(gate.query))
    return GateAnswer(True, "all new clusters are available")


def _serve(gate: GateSpec, clusters: Mapping[str, Any]) -> GateAnswer:
    if not clusters:
        return GateAnswer(None, "no cluster has told of its applications yet")
    for cluster in sorted(clusters):
        seen = clusters[cluster] or {}
        if seen.get("error"):
            return GateAnswer(None, f"{cluster} does not answer: {seen['error']}")
        apps: Mapping[str, Any] = seen.get("applications") or {}
        names: Sequence[str] = [gate.application] if gate.application else sorted(apps)
        if not names:
            return GateAnswer(None, f"{cluster} runs no application")
        for name in names:
            state = apps.get(name)
            if state == "DEPLOY_FAILED":
                return GateAnswer(False, f"application {name} on {cluster} is {state}")
            if state != "RUNNING":
                return GateAnswer(None, f"application {name} on {cluster} is {state or 'not there'}")
    return GateAnswer(True, "all applications run")


def _metric(gate: GateSpec, seen: Any) -> GateAnswer:
    if not isinstance(seen, Mapping) or seen.get("value") is None:
        why = seen.get("error") if isinstance(seen, Mapping) else ""
        return GateAnswer(None, f"no value for {gate.query!r}{': ' + str(why) if why else ''}")
    value = float(seen["value"])
    if gate.least is not None and not value >= gate.least:
        return GateAnswer(False, f"{gate.query} is {value:g}, less than {gate.least:g}")
    if gate.most is not None and not value <= gate.most:
        return GateAnswer(False, f"{gate.query} is {value:g}, more than {gate.most:g}")
    return GateAnswer(True, f"{gate.query} is {value:g}")
