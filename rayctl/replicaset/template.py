"""Templates of clusters: what makes two of them equal, and which differences need no new cluster."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from rayctl.core.quantity import parse_quantity
from rayctl.replicaset.names import FLEET_LABEL, HASH_LABEL, REVISION_LABEL

__all__ = ["digest", "in_place_fields", "in_place_hash", "normal", "same_template", "without_in_place"]

_ENCODING = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels and nothing that looks like another character, so that no word comes out."""
_AMOUNTS = ("requests", "limits")
_OURS = (HASH_LABEL, FLEET_LABEL, REVISION_LABEL)
_REPLICAS = ("replicas", "minReplicas", "maxReplicas")
_ACTING_LABELS = ("ray.io/", "kueue.x-k8s.io/", "volcano.sh/", "scheduling.")
"""Labels of a cluster that schedulers and operators act upon when it is made."""


def normal(template: Any) -> Any:
    """Return a template as it is compared: without what the API drops or adds, and without our own labels.

    Quantities are numbers (``1000m`` is 1), what is empty is absent, ``creationTimestamp`` does not count.
    """
    return _normal(template, "")


def _normal(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        items = {}
        for key in sorted(value):
            if name == "metadata" and key == "creationTimestamp":
                continue
            if name == "labels" and key in _OURS:
                continue
            inner = _amounts(value[key]) if key in _AMOUNTS else _normal(value[key], key)
            if inner not in (None, {}, []):
                items[key] = inner
        return items
    if isinstance(value, (list, tuple)):
        return [_normal(item, "") for item in value]
    return value


def _amounts(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return _normal(value, "")
    found = {}
    for key in sorted(value):
        try:
            found[key] = str(parse_quantity(value[key]))
        except (ValueError, TypeError, AttributeError):
            found[key] = _normal(value[key], "")
    return found


def digest(document: Any, length: int = 6, salt: str = "") -> str:
    """Return a few characters that depend on a document and on nothing else. ``salt``: to get others."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), default=str) + salt
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
    found = ""
    for _ in range(length):
        number, index = divmod(number, len(_ENCODING))
        found += _ENCODING[index]
    return found


def same_template(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two templates make the same clusters."""
    return bool(normal(one) == normal(other))


def in_place_fields(template: Mapping[str, Any]) -> dict[str, Any]:
    """Return what can be set on a running cluster: sizes of worker groups, and labels that nothing acts upon."""
    spec = template.get("spec") or {}
    autoscaled = bool(spec.get("enableInTreeAutoscaling"))
    fields = _REPLICAS[1:] if autoscaled else _REPLICAS
    groups = {
        group.get("groupName", ""): {name: group[name] for name in fields if name in group}
        for group in spec.get("workerGroupSpecs") or ()
    }
    labels = (template.get("metadata") or {}).get("labels") or {}
    kept = {key: value for key, value in labels.items() if key not in _OURS and not key.startswith(_ACTING_LABELS)}
    return {"groups": groups, "labels": kept}


def in_place_hash(template: Mapping[str, Any]) -> str:
    """Return a digest of `in_place_fields`: clusters carry it, so that only a changed template touches them."""
    return digest(in_place_fields(template), 8)


def without_in_place(template: Mapping[str, Any]) -> Any:
    """Return the rest of a template in its normal form: a difference here needs new clusters."""
    spec = dict(template.get("spec") or {})
    if "workerGroupSpecs" in spec:
        spec["workerGroupSpecs"] = [
            {key: value for key, value in group.items() if key not in _REPLICAS}
            for group in spec["workerGroupSpecs"] or ()
        ]
    metadata = dict(template.get("metadata") or {})
    labels = metadata.get("labels") or {}
    metadata["labels"] = {key: value for key, value in labels.items() if key.startswith(_ACTING_LABELS)}
    return normal({"metadata": metadata, "spec": spec})
