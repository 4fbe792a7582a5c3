"""A cluster is being deleted: its keys are removed from Redis first, and nothing can hold it for ever.

This comes before validation, and depends on the finalizer alone, not on what the specification says meanwhile: a
cluster whose specification became invalid, or whose fault tolerance was switched off, goes as well. The time limit is
looked at before anything is waited for.
"""

from __future__ import annotations

from rayctl.cluster import keys
from rayctl.cluster.gcs_ft.cleanup import cleanup_pod, deletion_timeout_s
from rayctl.cluster.gcs_ft.options import fault_tolerance, is_beside_head
from rayctl.cluster.seen import ClusterSeen, seconds
from rayctl.core.controller import Refusal
from rayctl.core.plan import Action, Blocker, Create, Delete, Emit, Patch, Plan, Together

__all__ = ["after_deletion"]


def after_deletion(seen: ClusterSeen, now: float, refusal: Refusal | None = None) -> Plan:
    """Decide about a cluster with a deletion timestamp. ``refusal``: what the server has just refused, if anything."""
    if keys.FINALIZER not in (seen.metadata.get("finalizers") or ()):
        return Plan()  # the garbage collector does the rest
    found = fault_tolerance(seen.spec)
    deadline = seconds(seen.metadata.get("deletionTimestamp")) + deletion_timeout_s(seen.spec)
    if now >= deadline:
        text = f"its keys could not be removed from Redis in time; those under {found.namespace!r} may be left"
        return _released(seen, "Warning", "ForceDeletedStuckCluster", text)
    if found.backend != "redis" or not seen.options.redis_cleanup:
        text = "fault tolerance with Redis was switched off before the cluster was deleted; its keys may be left"
        return _released(seen, "Warning", "RedisStorageLeft", text)
    if refusal is not None and "being terminated" in refusal.message:
        text = f"no pod can be made in a namespace that is going; keys under {found.namespace!r} are left in Redis"
        return _released(seen, "Warning", "RedisCleanupImpossible", text)
    if refusal is not None:
        return _waiting("RedisCleanupRefused", refusal.message, deadline)
    return _clean(seen, now, deadline)


def _clean(seen: ClusterSeen, now: float, deadline: float) -> Plan:
    found = fault_tolerance(seen.spec)
    staying = tuple(Delete(pod.ref) for pod in seen.pods if not pod.terminating)
    if seen.heads:
        # A head that still runs would write its keys again.
        actions: tuple[Action, ...] = (Together(staying),) if staying else ()
        return _waiting("HeadGoing", "the head goes before its keys are removed from Redis", deadline, actions)
    if is_beside_head(found.address):
        text = f"Redis at {found.address} ran in the head's own pod and is gone with it"
        return _released(seen, "Normal", "RedisGoneWithHead", text)
    pod = seen.cleanup
    if pod is None:
        create = Create(cleanup_pod(seen.spec, found, seen.options, deadline - now))
        event = Emit(seen.spec.ref, "Normal", "CreatedRedisCleanupPod", f"created {create.ref.name}")
        actions = (*((Together(staying),) if staying else ()), create, event)
        return _waiting("RedisCleanup", "keys are being removed from Redis", deadline, actions)
    if pod.phase == "Succeeded":
        text = f"no key under {found.namespace!r} is left in Redis"
        return _released(seen, "Normal", "RedisCleanupVerified", text)
    if pod.over and not pod.terminating:
        text = f"removing keys from Redis failed ({pod.over}: {pod.waiting[1] or 'see its log'}); trying again"
        event = Emit(seen.spec.ref, "Warning", "RedisCleanupFailed", text)
        # Not at once: the pod's log is the only place that says more.
        at = max(pod.over_at, pod.created_at) + RETRY_S
        if now < at:
            return _waiting("RedisCleanupFailed", text, min(at, deadline))
        return _waiting("RedisCleanupFailed", text, deadline, (Delete(pod.ref), event))
    return _waiting("RedisCleanup", "keys are being removed from Redis", deadline)


RETRY_S = 10.0


def _waiting(code: str, text: str, at: float, actions: tuple[Action, ...] = ()) -> Plan:
    return Plan(actions, next_check_at=at, blocked_on=Blocker(code, text))


def _released(seen: ClusterSeen, kind: str, reason: str, text: str) -> Plan:
    """Take the finalizer off, and say how it ended."""
    left = [name for name in seen.metadata.get("finalizers") or () if name != keys.FINALIZER]
    patch = Patch(seen.spec.ref, {"metadata": {"finalizers": left}}, seen.revision)
    return Plan((patch, Emit(seen.spec.ref, kind, reason, text)))
