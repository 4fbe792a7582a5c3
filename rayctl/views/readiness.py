"""Whether an object is as its specification wants it, from its own status; for any kind. Pure.

Kinds of ours have judges of their own (`JUDGES`); all others are judged by the conventions of the Kubernetes API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from typing import Any

from rayctl.core.conditions import Condition, parse_conditions

__all__ = ["JUDGES", "Judge", "Verdict", "by_convention", "condition_holds", "judge", "moment"]

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """Whether an object is ready; None: its kind has no notion of that.

    ``reason``: one word; ``message``: a sentence; ``since_at``: seconds since the epoch, if known; ``failed``: it will
    not become ready before somebody changes something; ``outdated``: what of it is of an older specification, and stays
    so until somebody acts, although it is ready.
    """

    ready: bool | None
    reason: str = ""
    message: str = ""
    since_at: float | None = None
    failed: bool = False
    outdated: str = ""


Judge = Callable[[Document], Verdict]

JUDGES: dict[tuple[str, str], str] = {
    ("ray.io", "RayCluster"): "rayctl.views.ray:judge_cluster",
    ("ray.io", "RayService"): "rayctl.views.ray:judge_service",
    ("orchestration.aibrix.ai", "RayClusterFleet"): "rayctl.views.replicas:judge_fleet",
    ("orchestration.aibrix.ai", "RayClusterReplicaSet"): "rayctl.views.replicas:judge_set",
}
"""(group, kind) → ``module:function``, a `Judge`; imported when needed."""
_SUMMARIES = ("Ready", "Available", "Established")
_REPLICATED = ("Deployment", "ReplicaSet", "StatefulSet", "RayClusterFleet", "RayClusterReplicaSet")


def moment(text: Any) -> float | None:
    """Return a time of the API as seconds since the epoch, or None."""
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def judge(document: Document) -> Verdict:
    """Judge an object as the API returns it."""
    metadata, kind = document["metadata"], str(document.get("kind"))
    if metadata.get("deletionTimestamp"):
        left = ", ".join(metadata.get("finalizers") or ()) or "its children"
        return Verdict(
            False, "Deleting", f"it is being deleted, and waits for {left}", moment(metadata["deletionTimestamp"])
        )
    where = JUDGES.get((str(document.get("apiVersion")).rpartition("/")[0], kind))
    if where is not None:
        module, _, name = where.partition(":")
        found: Verdict = getattr(import_module(module), name)(document)
        return found
    return by_convention(document)


def by_convention(document: Document) -> Verdict:
    """Judge an object by what all kinds have in common, but for pods and what counts replicas."""
    kind = str(document.get("kind"))
    status = document.get("status") or {}
    conditions = parse_conditions(status.get("conditions") if isinstance(status, Mapping) else None)
    if kind == "Pod":
        return _pod(status, conditions)
    unseen = _not_observed(document, status, kind)
    if unseen is not None:
        return unseen
    bad = conditions.get("Degraded") or conditions.get("Failed")
    if bad is not None and bad.is_true:
        return replace(_of(bad, False), failed=bad.reason == "BackoffLimitExceeded")
    for name in ("Complete", *_SUMMARIES):
        summary = conditions.get(name)
        if summary is None:
            continue
        if not _current(document, summary):
            return Verdict(False, "NotObserved", f"{name} has not been observed for the newest specification yet")
        if not summary.is_true or name != "Available":
            return _of(summary, summary.is_true)
    if kind in _REPLICATED:
        return _replicas(document, status)
    return Verdict(None) if not conditions else Verdict(None, "", "its conditions have no summary")


def _of(condition: Condition, ready: bool) -> Verdict:
    message = condition.message or ("" if ready else f"{condition.type} is {condition.status}")
    return Verdict(ready, condition.reason, message, float(condition.transition_at) or None)


def _not_observed(document: Document, status: Document, kind: str) -> Verdict | None:
    generation = int(document["metadata"].get("generation") or 0)
    made_at = moment(document["metadata"].get("creationTimestamp"))
    if not status:
        watched = kind in _REPLICATED or "." in str(document.get("apiVersion")).partition("/")[0]
        text = "it has no status: no controller has looked at it yet"
        return Verdict(False, "NotObserved", text, made_at) if watched and generation else None
    if "observedGeneration" in status and int(status["observedGeneration"] or 0) < generation:
        text = f"its controller has not seen generation {generation} of its specification yet"
        return Verdict(False, "NotObserved", text)
    return None


def _current(document: Document, condition: Condition) -> bool:
    generation = int(document["metadata"].get("generation") or 0)
    return not condition.observed_generation or condition.observed_generation >= generation


def _replicas(document: Document, status: Document) -> Verdict:
    wanted = (document.get("spec") or {}).get("replicas")
    wanted = 1 if wanted is None else int(wanted)
    counts = [int(status.get(name) or 0) for name in ("readyReplicas", "updatedReplicas") if name in status]
    there = min(counts, default=0)
    if there < wanted:
        return Verdict(False, "ReplicasNotReady", f"{there} of {wanted} replicas are ready and up to date")
    if int(status.get("replicas") or 0) > wanted:
        return Verdict(False, "OldReplicas", f"{status['replicas']} replicas are there, {wanted} are wanted")
    return Verdict(True, "Ready")


def _pod(status: Document, conditions: Mapping[str, Condition]) -> Verdict:
    if status.get("phase") == "Succeeded":
        return Verdict(True, "Completed")
    ready = conditions.get("Ready")
    if ready is not None and ready.is_true:
        return _of(ready, True)
    from rayctl.views.pods import pod_trouble

    trouble = pod_trouble(status)
    since_at = float(ready.transition_at) or None if ready is not None else None
    return Verdict(False, trouble.reason, trouble.message, since_at, failed=status.get("phase") == "Failed")


def condition_holds(document: Document, name: str, status: str = "True") -> bool:
    """Whether a condition has a status, for the newest specification (an older observation does not count)."""
    found = {kind.lower(): value for kind, value in parse_conditions(_conditions(document)).items()}.get(name.lower())
    if found is None:
        return False
    observed = (document.get("status") or {}).get("observedGeneration")
    generation = int(document["metadata"].get("generation") or 0)
    if observed is not None and int(observed) < generation:
        return False
    return _current(document, found) and found.status.lower() == status.lower()


def _conditions(document: Document) -> Any:
    status = document.get("status")
    return status.get("conditions") if isinstance(status, Mapping) else None
