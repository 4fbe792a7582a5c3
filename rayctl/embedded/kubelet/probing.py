"""What probe results mean: a pure state per probe, from single results to a verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rayctl.embedded.kubelet.spec import ProbeSpec

__all__ = ["ProbeState", "next_at", "seen"]


@dataclass(frozen=True)
class ProbeState:
    """``verdict``: None until enough results agree; ``text``: what the last failure said."""

    successes: int = 0
    failures: int = 0
    verdict: bool | None = None
    last_at: float | None = None
    text: str = ""


def seen(state: ProbeState, probe: ProbeSpec, ok: bool, text: str, now: float) -> ProbeState:
    """Return the state after one more result."""
    if ok:
        count = state.successes + 1
        verdict = True if count >= probe.successes else state.verdict
        return replace(state, successes=count, failures=0, verdict=verdict, last_at=now)
    count = state.failures + 1
    verdict = False if count >= probe.failures else state.verdict
    return ProbeState(0, count, verdict, now, text)


def next_at(state: ProbeState, probe: ProbeSpec, started_at: float) -> float:
    """Return when to ask next, for a container that started then."""
    if state.last_at is None:
        return started_at + probe.delay_s
    return state.last_at + probe.period_s
