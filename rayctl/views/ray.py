"""How RayClusters and RayServices are judged for people: by their own statuses, KubeRay's too. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rayctl.cluster.status import readiness
from rayctl.core.conditions import UP_TO_DATE, UPGRADE_DISABLED, Condition, parse_conditions
from rayctl.service.status import UPGRADING
from rayctl.service.up_to_date import FINAL
from rayctl.views.readiness import Verdict, by_convention

__all__ = ["judge_cluster", "judge_service"]

Document = Mapping[str, Any]


def judge_cluster(document: Document) -> Verdict:
    """Judge a RayCluster: `rayctl.cluster.status` decides; one that still has pods to replace or to lose is not ready.

    Where nobody is going to replace pods of an older template it is ready, and ``outdated`` says so.
    """
    found = readiness(document)
    status = document.get("status") or {}
    conditions = parse_conditions(status.get("conditions"))
    summary = conditions.get("Ready") or conditions.get("HeadPodReady")
    since_at = float(summary.transition_at) if summary is not None and summary.transition_at else None
    verdict = Verdict(found.ready, found.reason, found.message, since_at)
    if not found.ready:
        return verdict
    new = conditions.get(UP_TO_DATE)
    if new is not None and not new.is_true:
        return replace(verdict, outdated=new.message) if new.reason == UPGRADE_DISABLED else _behind(new)
    there, wanted = (int(status.get(name) or 0) for name in ("readyWorkerReplicas", "desiredWorkerReplicas"))
    if "desiredWorkerReplicas" in status and there > wanted:
        return Verdict(False, "ScalingDown", f"{there} workers are there, {wanted} are wanted")
    return verdict


def judge_service(document: Document) -> Verdict:
    """Judge a RayService: ready is one that serves what its newest specification says, not what was there before."""
    found = by_convention(document)
    conditions = parse_conditions((document.get("status") or {}).get("conditions"))
    new = conditions.get(UP_TO_DATE)
    if new is None:
        return _by_kuberay(found, document, conditions.get(UPGRADING))
    if new.observed_generation < int(document["metadata"].get("generation") or 0):
        text = "the newest specification has not been observed yet"
        return Verdict(False, "NotObserved", text) if found.ready is not False else found
    if new.is_true or (found.ready is False and new.reason not in FINAL):
        return found
    if new.reason == UPGRADE_DISABLED:
        return replace(found, outdated=new.message)
    return replace(_behind(new), failed=new.reason in FINAL)


def _behind(condition: Condition) -> Verdict:
    return Verdict(False, condition.reason, condition.message, float(condition.transition_at) or None)


def _by_kuberay(found: Verdict, document: Document, upgrading: Condition | None) -> Verdict:
    """KubeRay's Ready is true as long as anything serves: what comes up says whether that is the newest."""
    pending = ((document.get("status") or {}).get("pendingServiceStatus") or {}).get("rayClusterName")
    if found.ready is not True or not (pending or (upgrading is not None and upgrading.is_true)):
        return found
    message = (upgrading.message if upgrading is not None else "") or f"{pending} is to take over"
    return Verdict(False, "UpgradeInProgress", message)
