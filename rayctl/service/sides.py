"""From documents to the sides of a switchover: what of a Ray cluster answers, what it lacks, why it is not ready."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rayctl.cluster.status import readiness
from rayctl.core.plan import Blocker, Ref
from rayctl.service.fingerprint import digest
from rayctl.service.serve_state import BROKEN, FAILED_AFTER_S, RUNNING, App, ServeState, is_current
from rayctl.service.terms import Side

__all__ = ["CLAIM", "ClusterSeen", "make_side"]

CLAIM = "rayctl.io/switch"
CLOCKS_S = 30.0
"""So far may the clock of a Ray cluster be ahead."""
SERVE = "ray.io/serve"
NODE_TYPE = "ray.io/node-type"


@dataclass(frozen=True)
class ClusterSeen:
    """One Ray cluster of a service.

    Args:
        document: The RayCluster.
        pods: Its pods.
        serve: What its Serve API says.
        wanted: The Serve configuration that it is to have, with its share of the capacity.
        in_flight: Requests that it is answering; None: unknown.
    """

    document: Mapping[str, Any]
    pods: Sequence[Mapping[str, Any]]
    serve: ServeState
    wanted: Mapping[str, Any]
    in_flight: int | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.document["metadata"]["name"])

    @property
    def ref(self) -> Ref:
        """Which object."""
        return Ref.to(self.document)

    @property
    def going(self) -> bool:
        """Whether it is being deleted."""
        return bool(self.document["metadata"].get("deletionTimestamp"))

    @property
    def head(self) -> Mapping[str, Any] | None:
        """Its head pod, if there is one that stays."""
        for pod in self.pods:
            labels = pod["metadata"].get("labels") or {}
            if labels.get(NODE_TYPE) == "head" and not pod["metadata"].get("deletionTimestamp"):
                return pod
        return None

    @property
    def endpoints(self) -> int:
        """Pods that the serve service leads to: labelled and ready."""
        return sum(1 for pod in self.pods if _serves(pod))

    @property
    def head_ready(self) -> bool:
        """Whether the head pod is ready."""
        head = self.head
        return head is not None and _ready(head)

    def endpoints_wanted(self, exclude_head: bool) -> int:
        """Return how many pods are to answer by its own specification, or by its autoscaler's present wish."""
        spec, status = self.document.get("spec") or {}, self.document.get("status") or {}
        workers = 0
        for group in spec.get("workerGroupSpecs") or ():
            if not group.get("suspend"):
                workers += int(group.get("replicas") or 0) * int(group.get("numOfHosts") or 1)
        if spec.get("enableInTreeAutoscaling"):
            workers = max(workers, int(status.get("desiredWorkerReplicas") or 0))
        return workers + (0 if exclude_head else 1)


def _ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


def _serves(pod: Mapping[str, Any]) -> bool:
    metadata = pod["metadata"]
    labelled = (metadata.get("labels") or {}).get(SERVE) == "true"
    return labelled and not metadata.get("deletionTimestamp") and _ready(pod)


def make_side(seen: ClusterSeen, other: ClusterSeen | None, capacity: float, exclude_head: bool, now: float) -> Side:
    """Return a cluster as a side.

    Args:
        seen: The cluster.
        other: The side that it is to replace, if any: it must not lack what that one has.
        capacity: Share of the other side's replicas that is enough.
        exclude_head: The head takes no requests.
        now: Seconds since the epoch.
    """
    waits = _waits_for(seen, now)
    unknown = seen.head_ready and not seen.serve.known
    ready: bool | None = waits is None
    if waits is not None and unknown:
        ready = None
    if ready and not seen.endpoints:
        ready = False
        waits = Blocker("ZeroServeEndpoints", f"no pod of {seen.name} answers requests yet", seen.ref)
    claim = (seen.document["metadata"].get("annotations") or {}).get(CLAIM, "0")
    return Side(
        seen.name,
        exists=True,
        going=seen.going,
        claim=int(claim) if str(claim).isdigit() else 0,
        ready=False if seen.going else ready,
        serves=_answers(seen),
        endpoints=seen.endpoints,
        wanted_endpoints=seen.endpoints_wanted(exclude_head),
        lacking=_lacking(seen, other, capacity) if other is not None else "",
        failed=_failed(seen, now),
        waits_for=waits,
        in_flight=seen.in_flight,
        settled=seen.serve.known and is_current(seen.wanted, seen.serve) and seen.serve.all_running,
    )


def _answers(seen: ClusterSeen) -> bool | None:
    if seen.going or not seen.endpoints:
        return False
    if not seen.serve.known:
        return None
    apps = seen.serve.apps.values()
    return bool(apps) and not any(app.status in BROKEN for app in apps)


def _waits_for(seen: ClusterSeen, now: float) -> Blocker | None:
    """Return why a cluster is not ready to serve, the deepest cause first; None if it is."""
    if seen.going:
        return Blocker("Deleting", f"{seen.name} is being deleted", seen.ref)
    if not seen.head_ready:
        found = readiness(seen.document)
        reason = found.reason if not found.ready else "HeadPodNotReady"
        message = found.message if not found.ready and found.message else "its head pod is not ready"
        return Blocker(reason, f"{seen.name}: {message}", seen.ref, hint=f"rayctl explain cluster/{seen.name}")
    serve = seen.serve
    if not serve.known:
        return Blocker("ServeUnreachable", f"{seen.name}: {serve.error}", seen.ref)
    if serve.rejected and serve.rejected == digest(seen.wanted):
        return Blocker(
            "ConfigRejected",
            f"{seen.name} refuses the Serve configuration: {serve.rejection}",
            seen.ref,
            hint="correct spec.serveConfigV2",
        )
    if not seen.wanted.get("applications"):
        return Blocker(
            "NoApplications", f"{seen.name} has no Serve applications to run", seen.ref, hint="set spec.serveConfigV2"
        )
    if not is_current(seen.wanted, serve):
        return Blocker("ConfigPending", f"{seen.name} has not taken over the Serve configuration yet", seen.ref)
    for name, app in sorted(serve.apps.items()):
        if app.status != RUNNING:
            return Blocker(
                _word(app.status),
                f"application {name} on {seen.name} is {app.status}{_because(app)}",
                seen.ref,
                since_at=app.deployed_at or None,
            )
    return None


def _word(status: str) -> str:
    return "Application" + "".join(part.title() for part in status.split("_")) if status else "ApplicationUnknown"


def _because(app: App) -> str:
    failing = next((item.message for item in app.deployments.values() if item.status in BROKEN and item.message), "")
    text = _cause(app.message or failing)
    return f": {text}" if text else ""


def _cause(text: str) -> str:
    """Return what matters of a message: of a traceback its last line, the cause."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    return (lines[-1] if any("Traceback" in line for line in lines) else " ".join(lines))[:500]


def _failed(seen: ClusterSeen, now: float) -> str:
    serve = seen.serve
    if serve.rejected and serve.rejected == digest(seen.wanted):
        return f"{seen.name} refuses the Serve configuration: {serve.rejection}"
    for name, app in sorted(serve.apps.items()):
        # A time in the future: the clocks of Ray and of the controller disagree, and Serve's own retries have to do.
        late = app.deployed_at and not -CLOCKS_S <= now - app.deployed_at < FAILED_AFTER_S
        if late and app.status == "DEPLOY_FAILED" and is_current(seen.wanted, serve):
            return f"application {name} on {seen.name} failed to deploy{_because(app)}"
    return ""


def _lacking(seen: ClusterSeen, other: ClusterSeen, capacity: float) -> str:
    """Return which deployment has fewer running replicas than it needs to take over, as a sentence."""
    for name, app in sorted(other.serve.apps.items()):
        new = seen.serve.apps.get(name)
        if new is None:
            continue
        for title, deployment in sorted(app.deployments.items()):
            there = new.deployments.get(title)
            if there is None:
                continue
            needed = min(math.ceil(capacity * deployment.running), there.target)
            if there.running < needed:
                return f"{seen.name} has {there.running} replicas of {name}/{title} of the {needed} that it needs"
    return ""
