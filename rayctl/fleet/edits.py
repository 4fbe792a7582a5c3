"""The changes of replica sets that a fleet writes: one merge patch for each, with all that is to change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayctl.fleet.arithmetic import Limits
from rayctl.fleet.revisions import annotations_for, next_revision
from rayctl.fleet.scaling import Scaled
from rayctl.fleet.seen import DESIRED, MOST, FleetSeen, SetView
from rayctl.fleet.target import Target

__all__ = ["edits_for"]


def edits_for(
    seen: FleetSeen, target: Target, sizes: Mapping[str, int], limits: Limits, scaled: Scaled | None
) -> dict[str, dict[str, Any]]:
    """Return merge patches by name of set; those to which nothing is to change are not there.

    Args:
        seen: The fleet.
        target: Its revision.
        sizes: New sizes.
        limits: Bounds for which the sizes were computed.
        scaled: If the fleet is scaled: every set in use notes the limits, except those whose growth waits.
    """
    found: dict[str, dict[str, Any]] = {}
    for view in (*((target.view,) if target.view else ()), *target.old):
        annotations: dict[str, str] = {}
        spec: dict[str, Any] = {}
        size = sizes.get(view.name, view.replicas)
        if size != view.replicas:
            spec["replicas"] = size
        waits = scaled is not None and view.name in scaled.withheld
        if not waits and (size != view.replicas or (scaled is not None and view.replicas > 0)):
            annotations = {DESIRED: str(limits.replicas), MOST: str(limits.most)}
        newest = target.view is not None and view.name == target.view.name
        if newest and not target.aborted:
            annotations.update(annotations_for(seen, view, max(view.revision, next_revision(target.old))))
        _common(seen, view, spec, newest)
        changed = {key: value for key, value in annotations.items() if view.annotations.get(key) != value}
        changes: dict[str, Any] = {}
        if changed:
            changes["metadata"] = {"annotations": changed}
        if spec:
            changes["spec"] = spec
        if changes:
            found[view.name] = changes
    return found


def _common(seen: FleetSeen, view: SetView, spec: dict[str, Any], newest: bool) -> None:
    """How clusters are replaced and drained holds for all sets in use; how long they must be ready, for the newest."""
    there = view.document.get("spec") or {}
    if newest and int(there.get("minReadySeconds") or 0) != seen.spec.min_ready_s:
        spec["minReadySeconds"] = seen.spec.min_ready_s
    if not newest and not view.occupied:
        return
    for name, wanted in (("drain", seen.spec.drain), ("replacement", seen.spec.replacement)):
        if there.get(name) != wanted:
            spec[name] = wanted
