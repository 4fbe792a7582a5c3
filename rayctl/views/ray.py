"""How RayClusters are judged for people: `rayctl.cluster.status` decides, this only translates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayctl.cluster.status import readiness
from rayctl.core.conditions import parse_conditions
from rayctl.views.readiness import Verdict

__all__ = ["judge_cluster"]


def judge_cluster(document: Mapping[str, Any]) -> Verdict:
    """Judge a RayCluster."""
    found = readiness(document)
    conditions = parse_conditions((document.get("status") or {}).get("conditions"))
    summary = conditions.get("Ready") or conditions.get("HeadPodReady")
    since_at = float(summary.transition_at) if summary is not None and summary.transition_at else None
    return Verdict(found.ready, found.reason, found.message, since_at)
