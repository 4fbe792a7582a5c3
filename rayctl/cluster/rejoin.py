"""Workers that a head without fault tolerance forgot when it began anew. Pure.

A new GCS knows no worker of the one before. Their Ray processes notice after up to a minute, end and are started again;
until then their probes may still say that all is well, and the pods' Ready with them.
"""

from __future__ import annotations

from dataclasses import replace

from rayctl.cluster import keys
from rayctl.cluster.gcs_ft.options import fault_tolerance
from rayctl.cluster.seen import ClusterSeen, PodSeen

__all__ = ["NOTICED_S", "REASON", "without_the_forgotten"]

NOTICED_S = 60.0
"""Ray's own limit for workers to reach the GCS again; the probes' ten failures, 5 s apart, have come by then."""
REASON = "HeadBeganAnew"


def without_the_forgotten(seen: ClusterSeen, now: float) -> tuple[ClusterSeen, float | None]:
    """Return the cluster with such workers not ready, and when their probes can be believed again (None: now).

    Only workers are meant that ran before a head that is not the cluster's first, or that was restarted in its pod.
    Times are those of the containers, in seconds since the epoch; pods that do not tell them are left as they are.
    """
    heads = [pod for pod in seen.heads if pod.running and pod.started_at]
    if not heads or fault_tolerance(seen.spec).on or now >= heads[0].started_at + NOTICED_S:
        return seen, None
    head = heads[0]
    forgotten = {pod.name for pod in seen.pods if _is_forgotten(pod, head)}
    if not forgotten:
        return seen, None
    text = (
        f"the head began anew without fault tolerance, and Ray in {{}} has not joined it yet ({keys.HEAD} {head.name})"
    )
    pods = tuple(
        replace(pod, ready=False, waiting=(REASON, text.format(pod.name))) if pod.name in forgotten else pod
        for pod in seen.pods
    )
    return replace(seen, pods=pods), head.started_at + NOTICED_S


def _is_forgotten(pod: PodSeen, head: PodSeen) -> bool:
    if pod.node_type != keys.WORKER or not (pod.ready and pod.started_at):
        return False
    again = head.restarts > 0 or head.created_at > pod.started_at
    return again and pod.started_at < head.started_at
