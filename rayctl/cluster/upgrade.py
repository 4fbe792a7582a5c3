"""What a changed template does to pods that run: nothing, all at once (Recreate), or one after the other."""

from __future__ import annotations

from rayctl.cluster.revision import group_revision, head_revision, is_outdated
from rayctl.cluster.seen import ClusterSeen, PodSeen

__all__ = ["outdated", "outdated_to_replace", "waits_for_recreation"]


def outdated(seen: ClusterSeen) -> list[PodSeen]:
    """Return the pods that were built from another template; those that are going among them."""
    wanted = head_revision(seen.spec)
    found = [pod for pod in seen.heads if is_outdated(pod.annotations, wanted)]
    for group in seen.spec.groups:
        wanted = group_revision(seen.spec, group)
        found += [pod for pod in seen.workers(group.name) if is_outdated(pod.annotations, wanted)]
    return found


def waits_for_recreation(seen: ClusterSeen) -> bool:
    """Return whether all pods must go first: new workers would join the old head while it ends."""
    return seen.spec.upgrade == "Recreate" and bool(outdated(seen))


def outdated_to_replace(seen: ClusterSeen) -> tuple[list[PodSeen], str]:
    """Return the pods to replace now, and a sentence about them.

    The head goes first, and workers wait until the new one is ready. Pods that are not ready can go at once: nothing
    is lost, and they may never become ready beside the new head. Of the others one per group goes, if all that are
    wanted are ready, so that the next one goes when the new pod is ready.
    """
    if seen.spec.upgrade != "RollingUpdate":
        return [], ""
    old = [pod for pod in outdated(seen) if not pod.terminating]
    heads = [pod for pod in old if pod in seen.heads]
    if heads:
        return heads, "the head's template has changed"
    if not any(pod.ready and pod.running for pod in seen.heads):
        return [], ""
    doomed: list[PodSeen] = []
    for group in seen.spec.groups:
        pods = seen.workers(group.name)
        mine = [pod for pod in old if pod.group == group.name]
        unready = [pod for pod in mine if not pod.ready]
        whole = sum(pod.ready and pod.running for pod in pods) >= group.wanted * group.hosts
        chosen = unready or (mine[:1] if whole else [])
        if group.hosts > 1:
            replicas = {pod.replica for pod in chosen[:1]}
            chosen = [pod for pod in pods if pod.replica in replicas and not pod.terminating]
        doomed += chosen
    return doomed, f"templates have changed: {len(doomed)} of {len(old)} outdated workers are replaced now"
