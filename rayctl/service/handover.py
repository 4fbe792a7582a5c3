"""What would become of a RayService that KubeRay looks after if rayctl did, by its own planner. Pure."""

from __future__ import annotations

from rayctl.cluster.handover import Handover, written
from rayctl.service.plan import begins_switch, plan_service
from rayctl.service.seen import ServiceSeen

__all__ = ["give_back_service", "take_over_service"]

KUBERAY_HASH = "ray.io/hash-without-replicas-and-workers-to-delete"
"""KubeRay's, on the clusters that it makes: by it, it knows them."""


def take_over_service(seen: ServiceSeen, now: float) -> Handover:
    """Return what rayctl would do to a service first. ``now``: seconds since the epoch.

    What its clusters' Serve APIs say need not be known: what matters is whether a cluster would be made.
    """
    if seen.document["metadata"].get("deletionTimestamp"):
        return Handover(seen.ref, "kept", message="it is being deleted, and rayctl will go on with that", settled=True)
    if seen.spec is None:
        text = "; ".join(f"{problem.path}: {problem.message}" for problem in seen.problems)
        return Handover(seen.ref, "refused", message=text)
    plan = plan_service(seen, now)
    if plan.blocked_on is not None and plan.blocked_on.code == "NameTaken":
        return Handover(seen.ref, "refused", message=plan.blocked_on.message)
    keeps, settled = len(seen.clusters), not plan.actions
    if begins_switch(seen, now):
        first = seen.record is None or not seen.record.active
        text = "its first cluster is made" if first else "a switch to a new cluster begins: no cluster fits its spec"
        return Handover(seen.ref, "changes", keeps, (text,), settled=settled)
    return Handover(seen.ref, "kept", keeps, (), tuple(dict.fromkeys(written(plan.actions))), settled=settled)


def give_back_service(seen: ServiceSeen) -> Handover:
    """Return what KubeRay is expected to do: it knows only clusters that carry its own hash, and replaces others."""
    foreign = [
        name
        for name, item in sorted(seen.clusters.items())
        if KUBERAY_HASH not in (item.document["metadata"].get("annotations") or {})
    ]
    keeps = len(seen.clusters) - len(foreign)
    if foreign:
        text = f"KubeRay will make a new cluster and switch to it: rayctl made {', '.join(foreign)}"
        return Handover(seen.ref, "changes", keeps, (text,))
    return Handover(seen.ref, "kept", keeps)
