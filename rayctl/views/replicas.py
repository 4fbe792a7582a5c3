"""How fleets and replica sets are judged for people: as any object, and whether they have come to an end. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rayctl.core.conditions import parse_conditions
from rayctl.fleet.status import PROGRESSING
from rayctl.replicaset.spec import parse_spec
from rayctl.replicaset.status import QUARANTINED
from rayctl.views.readiness import Verdict, by_convention

__all__ = ["judge_fleet", "judge_set"]

Document = Mapping[str, Any]


def judge_fleet(document: Document) -> Verdict:
    """Judge a RayClusterFleet: failed is one that does not progress any more, for whatever reason."""
    found = by_convention(document)
    progress = parse_conditions((document.get("status") or {}).get("conditions")).get(PROGRESSING)
    over = progress is not None and progress.status == "False"
    return replace(found, failed=over and _decided(found))


def judge_set(document: Document) -> Verdict:
    """Judge a RayClusterReplicaSet: failed is one that cannot be carried out, or has broken clusters in quarantine."""
    found = by_convention(document)
    quarantined = parse_conditions((document.get("status") or {}).get("conditions")).get(QUARANTINED)
    over = (quarantined is not None and quarantined.is_true) or bool(parse_spec(document).problems)
    return replace(found, failed=over and _decided(found))


def _decided(found: Verdict) -> bool:
    return found.ready is False and found.reason != "NotObserved"
