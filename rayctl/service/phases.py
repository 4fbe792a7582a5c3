"""How long the phases of a switchover took, from its record: what the metrics tell. Pure."""

from __future__ import annotations

from rayctl.service.record import Phase, Record

__all__ = ["phases_of"]


def phases_of(before: Record | None, after: Record | None) -> dict[str, float]:
    """Return phase → seconds of a switch that has just ended; nothing if none has, or if it was the first start.

    ``prepare``: until the first service moved, ``move``: until both had, ``total``: both together. A switch that was
    taken back has ``back`` (from the decision to the end) and ``rolled-back`` (all of it).
    """
    if after is None or not after.phase.ended or not after.source or not after.started_at:
        return {}
    if before is not None and before.serial == after.serial and before.phase.ended:
        return {}
    steps = {line.step: line.at for line in reversed(after.trace)}
    total = after.ended_at - after.started_at
    if after.phase is Phase.SWITCHED:
        moved = [at for step, at in steps.items() if step.startswith("promote-")]
        first = min(moved, default=after.ended_at)
        found = {"prepare": first - after.started_at, "move": after.ended_at - first, "total": total}
    else:
        found = {"back": after.ended_at - steps.get("roll-back", after.ended_at), "rolled-back": total}
    return {phase: max(0.0, seconds) for phase, seconds in found.items()}
