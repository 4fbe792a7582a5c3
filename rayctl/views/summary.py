"""An object of ours in one row: which it is, whether it is ready and why not, and its kind's few figures. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rayctl.clock import iso
from rayctl.core.conditions import parse_conditions
from rayctl.views.readiness import Verdict, judge

__all__ = ["attention", "bare", "counts", "summary"]

Document = Mapping[str, Any]
_HOPELESS = ("ProgressDeadlineExceeded", "RolledBack", "GateFailed", "ReplicaSetCreateError", "WriteRefused")


def summary(document: Document) -> dict[str, Any]:
    """Return the row as JSON. Times are moments, not ages: it changes only when the object does."""
    metadata = document["metadata"]
    verdict = judge(document)
    figures = _FIGURES.get(str(document.get("kind")))
    return {
        "kind": str(document.get("kind")),
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
        "revision": metadata.get("resourceVersion", ""),
        "created_at": metadata.get("creationTimestamp"),
        "labels": dict(metadata.get("labels") or {}),
        "ready": verdict.ready,
        "state": _state(document, verdict),
        "reason": verdict.reason,
        "message": verdict.message,
        "outdated": verdict.outdated,
        "since": None if verdict.since_at is None else iso(verdict.since_at),
        **(figures(document) if figures is not None else {}),
    }


def _state(document: Document, verdict: Verdict) -> str:
    """One word: deleting, suspended, paused, ready, failed, progressing; empty where there is no notion of it."""
    spec = document.get("spec") or {}
    conditions = parse_conditions((document.get("status") or {}).get("conditions"))
    if document["metadata"].get("deletionTimestamp"):
        return "deleting"
    if spec.get("suspend"):
        return "suspended"
    paused = conditions.get("Paused")
    if spec.get("paused") or (paused is not None and paused.is_true):
        return "paused"
    if verdict.ready is None:
        return ""
    if verdict.ready:
        return "ready"
    degraded = conditions.get("Degraded")
    bad = verdict.failed or verdict.reason in _HOPELESS or (degraded is not None and degraded.is_true)
    return "failed" if bad or str((document.get("status") or {}).get("state")) == "failed" else "progressing"


def bare(document: Document) -> dict[str, Any]:
    """Return the object without what the server keeps about who set which field."""
    metadata = {name: value for name, value in document["metadata"].items() if name != "managedFields"}
    return {**document, "metadata": metadata}


def attention(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows (summaries) that somebody should look at: failed ones first, then those that wait longest."""
    order = {"failed": 0, "paused": 1, "progressing": 2, "deleting": 3, "suspended": 4}
    found = [dict(row) for row in rows if row["state"] in order and row["state"] != "suspended"]
    return sorted(found, key=lambda row: (order[row["state"]], row["since"] or row["created_at"] or "", row["name"]))


def counts(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many there are, and how many in which state."""
    found = {"total": 0, "ready": 0, "progressing": 0, "failed": 0, "other": 0}
    for row in rows:
        found["total"] += 1
        state = row["state"]
        found[state if state in ("ready", "progressing", "failed") else "other"] += 1
    return found


def _number(value: Any) -> int:
    return int(value or 0)


def _replicas(document: Document) -> dict[str, Any]:
    spec, status = document.get("spec") or {}, document.get("status") or {}
    wanted = spec.get("replicas")
    found: dict[str, Any] = {
        "wanted": 1 if wanted is None else int(wanted),
        "replicas": _number(status.get("replicas")),
        "ready_replicas": _number(status.get("readyReplicas")),
    }
    owner = next((o for o in document["metadata"].get("ownerReferences") or () if o.get("controller")), None)
    return {**found, "owner": f"{owner['kind'].lower()}/{owner['name']}" if owner else ""}


def _fleet(document: Document) -> dict[str, Any]:
    status = document.get("status") or {}
    return {
        **_replicas(document),
        "updated": _number(status.get("updatedReplicas")),
        "rollout_revision": _number(status.get("revision")),
    }


def _cluster(document: Document) -> dict[str, Any]:
    spec, status = document.get("spec") or {}, document.get("status") or {}
    owner = next((o for o in document["metadata"].get("ownerReferences") or () if o.get("controller")), None)
    return {
        "cluster_state": str(status.get("state") or ""),
        "workers": _number(status.get("readyWorkerReplicas")),
        "workers_wanted": _number(status.get("desiredWorkerReplicas")),
        "ray_version": str(spec.get("rayVersion") or ""),
        "owner": f"{owner['kind'].lower()}/{owner['name']}" if owner else "",
    }


def _service(document: Document) -> dict[str, Any]:
    status = document.get("status") or {}
    return {
        "active": str((status.get("activeServiceStatus") or {}).get("rayClusterName") or ""),
        "pending": str((status.get("pendingServiceStatus") or {}).get("rayClusterName") or ""),
        "endpoints": _number(status.get("numServeEndpoints")),
    }


_FIGURES: dict[str, Callable[[Document], dict[str, Any]]] = {
    "RayClusterFleet": _fleet,
    "RayClusterReplicaSet": _replicas,
    "RayCluster": _cluster,
    "RayService": _service,
}
