"""Which workers of a group go and which come: whole replicas, the lowest free numbers, never anybody else's pods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rayctl.cluster import names
from rayctl.cluster.seen import PodSeen
from rayctl.cluster.spec import ClusterSpec, GroupSpec

__all__ = ["GroupChange", "change_group", "due_at", "unused_after"]

LINGER_S = 10.0
"""How long a pod that ended is kept before it is replaced, so that one which ends at once is not made in a loop."""


@dataclass(frozen=True)
class GroupChange:
    """What a group needs.

    Args:
        go: Pods to delete, with the reason: ``over``, ``named``, ``surplus``, ``incomplete``, ``suspended``.
        come: Pods to create: (replica, host).
        check_at: When a pod that ended may be replaced; None: no such pod.
    """

    go: tuple[tuple[PodSeen, str], ...] = ()
    come: tuple[tuple[int, int], ...] = ()
    check_at: float | None = None


def due_at(pod: PodSeen) -> float:
    """Return when a pod that is over may be replaced, in seconds since the epoch."""
    if pod.over == "Evicted":
        return 0.0
    return (pod.over_at or pod.created_at) + LINGER_S


def change_group(spec: ClusterSpec, group: GroupSpec, pods: Sequence[PodSeen], now: float) -> GroupChange:
    """Decide about a group. ``pods``: all of its pods; ``now``: seconds since the epoch."""
    staying = [pod for pod in pods if not pod.terminating]
    if group.suspended:
        return GroupChange(go=tuple((pod, "suspended") for pod in staying))
    replicas = _replicas(staying, group)
    go: list[tuple[PodSeen, str]] = []
    left: list[_Replica] = []
    lingering, checks = 0, []
    for replica in replicas:
        reason, check_at = _verdict(replica, group, now)
        if reason:
            go.extend((pod, reason) for pod in replica.pods)
        elif check_at is not None:
            lingering += 1
            checks.append(check_at)
        else:
            left.append(replica)
    surplus = len(left) - group.wanted
    # The autoscaler names those that are to go; without it they are chosen here.
    if surplus > 0 and not spec.autoscaling:
        for replica in sorted(left, key=_usefulness)[:surplus]:
            go.extend((pod, "surplus") for pod in replica.pods)
            left.remove(replica)
    come = [(replica.index, host) for replica in left for host in _missing(replica, group)]
    missing = group.wanted - len(left) - lingering
    come += [(index, host) for index in unused_after(spec, group, pods, missing) for host in range(group.hosts)]
    return GroupChange(tuple(go), tuple(come), min(checks) if checks else None)


@dataclass(frozen=True)
class _Replica:
    index: int
    pods: tuple[PodSeen, ...]


def _replicas(pods: Iterable[PodSeen], group: GroupSpec) -> list[_Replica]:
    """Return the pods by replica; in groups with one host each pod is one, whatever its labels say."""
    if group.hosts == 1:
        return [_Replica(pod.replica, (pod,)) for pod in pods]
    found: dict[int, list[PodSeen]] = {}
    for pod in pods:
        found.setdefault(pod.replica, []).append(pod)
    return [_Replica(index, tuple(found[index])) for index in sorted(found)]


def _verdict(replica: _Replica, group: GroupSpec, now: float) -> tuple[str, float | None]:
    """Return why a replica must go; or when it may go, because a pod of it ended; or neither."""
    if any(pod.name in group.to_delete for pod in replica.pods):
        return "named", None
    over = [pod for pod in replica.pods if pod.over]
    if over:
        due = max(due_at(pod) for pod in over)
        return ("over", None) if due <= now else ("", due)
    if group.hosts > 1 and _is_broken(replica, group):
        return "incomplete", None
    return "", None


def _is_broken(replica: _Replica, group: GroupSpec) -> bool:
    """Whether hosts are missing that once were there: the others wait for them in vain. A replica of which no host has
    become ready yet is still being made, and its missing hosts are added."""
    hosts = sorted(pod.host for pod in replica.pods)
    if replica.index < 0 or len(set(hosts)) != len(hosts) or hosts[0] < 0 or hosts[-1] >= group.hosts:
        return True
    return len(hosts) < group.hosts and any(pod.ready for pod in replica.pods)


def _missing(replica: _Replica, group: GroupSpec) -> list[int]:
    if group.hosts == 1:
        return []
    there = {pod.host for pod in replica.pods}
    return [host for host in range(group.hosts) if host not in there]


def _usefulness(replica: _Replica) -> tuple[int, float, int]:
    """The least useful first: not ready, then the newest, then the highest number."""
    ready = sum(pod.ready for pod in replica.pods)
    return ready, -max(pod.created_at for pod in replica.pods), -replica.index


def unused_after(spec: ClusterSpec, group: GroupSpec, pods: Sequence[PodSeen], count: int) -> list[int]:
    """Return the lowest free replica numbers.

    A number is taken as long as a pod with it is there, even if that is going; and as long as its pod's name is in
    ``workersToDelete``, or the new pod would be deleted as well.
    """
    taken = {pod.replica for pod in pods}
    blocked = {pod.name for pod in pods} | set(group.to_delete)
    found: list[int] = []
    index = 0
    while len(found) < count:
        own = {names.worker_pod(spec.name, group.name, index * group.hosts + host) for host in range(group.hosts)}
        if index not in taken and not own & blocked:
            found.append(index)
        index += 1
    return found
