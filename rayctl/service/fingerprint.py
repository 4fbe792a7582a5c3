"""Which edits of a cluster's specification need a new cluster: fingerprints, and what can be changed in place.

rayctl's own hash, over the specification as its author wrote it: it never changes because rayctl does, and is never
compared with KubeRay's, which depends on the order of fields in Go.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rayctl.core.compare import covers

__all__ = ["Fingerprint", "changed_in_place", "digest", "fingerprint", "parse_fingerprint", "same_cluster"]

_VERSION = "v1"
_GROUP_IN_PLACE = ("replicas", "minReplicas", "maxReplicas", "scaleStrategy")
_TEMPLATE_IN_PLACE = ("tolerations", "schedulingGates")
_SPEC_IN_PLACE = ("suspend", "upgradeStrategy")


@dataclass(frozen=True)
class Fingerprint:
    """What decides whether two specifications can be the same cluster: all but the groups, and each group."""

    base: str
    groups: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ":".join((_VERSION, self.base, ".".join(self.groups)))

    def reaches(self, wanted: Fingerprint) -> bool:
        """Whether a cluster with this fingerprint becomes the wanted one in place: the same, or groups appended."""
        return self.base == wanted.base and wanted.groups[: len(self.groups)] == self.groups


def digest(document: Any) -> str:
    """Return twelve hexadecimal digits that depend on a JSON document, not on the order of its fields."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def fingerprint(spec: Mapping[str, Any]) -> Fingerprint:
    """Return the fingerprint of a RayClusterSpec.

    Left out, as in KubeRay: replicas, their limits, workersToDelete, suspend, upgradeStrategy, tolerations and
    scheduling gates. Empty values count as absent.
    """
    base = {name: value for name, value in spec.items() if name not in (*_SPEC_IN_PLACE, "workerGroupSpecs")}
    if isinstance(base.get("headGroupSpec"), Mapping):
        base["headGroupSpec"] = _without(base["headGroupSpec"])
    groups = spec.get("workerGroupSpecs") or ()
    return Fingerprint(digest(_pruned(base)), tuple(digest(_pruned(_without(group))) for group in groups))


def _without(group: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in group.items() if name not in _GROUP_IN_PLACE}
    if found.get("numOfHosts") == 1:
        del found["numOfHosts"]  # the server's default is as good as nothing
    template = found.get("template")
    if isinstance(template, Mapping) and isinstance(template.get("spec"), Mapping):
        spec = {name: value for name, value in template["spec"].items() if name not in _TEMPLATE_IN_PLACE}
        found["template"] = {**template, "spec": spec}
    return found


def _pruned(value: Any) -> Any:
    if isinstance(value, Mapping):
        found = {name: _pruned(item) for name, item in value.items()}
        return {name: item for name, item in found.items() if item not in (None, {}, [])}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_pruned(item) for item in value]
    return value


def parse_fingerprint(text: str) -> Fingerprint | None:
    """Read a fingerprint; None if it was made by another version's rules, or by somebody else."""
    parts = text.split(":")
    if len(parts) != 3 or parts[0] != _VERSION or not parts[1]:
        return None
    return Fingerprint(parts[1], tuple(filter(None, parts[2].split("."))))


def same_cluster(known: str, live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a cluster is, or becomes in place, the wanted one.

    Args:
        known: The fingerprint that it carries; empty if somebody else made it.
        live: Its specification, with the server's defaults.
        wanted: The specification as its author wrote it.
    """
    found = parse_fingerprint(known)
    if found is not None:
        return found.reaches(fingerprint(wanted))
    # Without a fingerprint only additions and changes can be seen; what was taken away cannot be told from a default.
    groups, there = list(wanted.get("workerGroupSpecs") or ()), list(live.get("workerGroupSpecs") or ())
    plain = {name: value for name, value in wanted.items() if name not in (*_SPEC_IN_PLACE, "workerGroupSpecs")}
    if isinstance(plain.get("headGroupSpec"), Mapping):
        plain["headGroupSpec"] = _without(plain["headGroupSpec"])
    if len(there) > len(groups) or not covers(live, _pruned(plain)):
        return False
    return all(covers(old, _pruned(_without(new))) for old, new in zip(there, groups, strict=False))


def changed_in_place(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the merge patch of a RayCluster's spec that brings it as far as possible without a new cluster.

    Replicas and workersToDelete of an autoscaled cluster belong to its autoscaler and stay as they are. Empty if there
    is nothing to change. ``live`` must reach ``wanted`` (`same_cluster`).
    """
    scaled = bool(wanted.get("enableInTreeAutoscaling"))
    changes: dict[str, Any] = {}
    head = _group_in_place(live.get("headGroupSpec") or {}, wanted.get("headGroupSpec") or {}, ())
    if head is not None and head != live.get("headGroupSpec"):
        changes["headGroupSpec"] = head
    there = list(live.get("workerGroupSpecs") or ())
    asked = list(wanted.get("workerGroupSpecs") or ())
    names = ("minReplicas", "maxReplicas") if scaled else ("replicas", "minReplicas", "maxReplicas", "scaleStrategy")
    groups = [_group_in_place(old, new, names) for old, new in zip(there, asked, strict=False)]
    groups += [copy.deepcopy(dict(new)) for new in asked[len(there) :]]
    if groups != there:
        changes["workerGroupSpecs"] = groups
    return changes


def _group_in_place(live: Mapping[str, Any], wanted: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    found = copy.deepcopy(dict(live))
    for name in names:
        # The server fills in what was not written: only what is there is compared.
        if name in wanted and not covers(live.get(name), wanted[name]):
            found[name] = copy.deepcopy(wanted[name])
        elif name == "scaleStrategy" and name not in wanted:
            found.pop(name, None)
    old = ((live.get("template") or {}).get("spec")) or {}
    new = ((wanted.get("template") or {}).get("spec")) or {}
    for name in _TEMPLATE_IN_PLACE:
        if covers(old.get(name) or [], new.get(name) or []) and len(old.get(name) or []) == len(new.get(name) or []):
            continue
        spec = found.setdefault("template", {}).setdefault("spec", {})
        if new.get(name):
            spec[name] = copy.deepcopy(new[name])
        else:
            spec.pop(name, None)
    return found
