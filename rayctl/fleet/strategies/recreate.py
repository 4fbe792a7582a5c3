"""Recreate: all old clusters go, down to their last pod, before the first new one comes."""

from __future__ import annotations

from rayctl.core.plan import Blocker, Reason
from rayctl.fleet.strategies.move import Move, Situation

__all__ = ["recreate"]

PODS_POLL_S = 2.0
"""How often the pods are looked for that outlive their clusters: they are not watched."""


def recreate(situation: Situation, now: float) -> Move:
    """Return the next step. ``now``: seconds since the epoch."""
    sizes = {view.name: 0 for view in situation.old if view.replicas > 0}
    if sizes:
        return Move(sizes, reason=Reason("rollout", "ShrinkingOld", "all old clusters go first"))
    new, replicas = situation.new, situation.limits.replicas
    behind = next((view for view in situation.old if not view.settled), None)
    if behind is not None:
        text = f"{behind.name} has not seen that its clusters are to go"
        return Move(blocked_on=Blocker("WaitingForReplicaSet", text, behind.ref))
    if situation.old_there:
        left = next(view for view in situation.old if view.existing + view.terminating)
        text = f"{situation.old_there} old clusters are still there"
        return Move(blocked_on=Blocker("WaitingForDeletion", text, left.ref))
    mine = f"{new.name}-" if new else ""
    pods = [pod for cluster, pod in situation.seen.pods if not mine or not cluster.startswith(mine)]
    if pods and (new is None or new.replicas < replicas):
        text = f"{len(pods)} pods of old clusters still hold their devices: {', '.join(pods[:3])}"
        return Move(blocked_on=Blocker("WaitingForPods", text), check_at=now + PODS_POLL_S)
    if new is None:
        return Move(create=replicas, reason=Reason("rollout", "CreatingRevision", "all old clusters are gone"))
    if new.replicas != replicas:
        return Move({new.name: replicas}, reason=Reason("rollout", "SizingNew", "all old clusters are gone"))
    if new.available < replicas:
        text = f"{new.available} of {replicas} clusters of {new.name} are available"
        return Move(blocked_on=Blocker("WaitingForAvailable", text, new.ref))
    return Move()
