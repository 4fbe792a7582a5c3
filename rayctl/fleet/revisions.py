"""Revisions of a fleet: which set has the fleet's template, what a new one looks like, numbers, history, going back.

A set is found by comparing templates, never by its hash: another hash function would not start a rollout.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from rayctl.core.plan import Create
from rayctl.fleet.arithmetic import Limits
from rayctl.fleet.seen import DESIRED, HISTORY, MOST, REVISION, ROLLBACK, FleetSeen, SetView
from rayctl.kube.kinds import REPLICA_SETS
from rayctl.replicaset.builders import owner_reference
from rayctl.replicaset.names import FLEET_LABEL, HASH_LABEL, REVISION_LABEL
from rayctl.replicaset.template import digest, in_place_fields, same_template, without_in_place

__all__ = [
    "annotations_for",
    "append_history",
    "change_in_place",
    "current_set",
    "find_equal",
    "hash_of",
    "merge_to",
    "new_set",
    "next_revision",
    "prepared",
    "rollback_target",
    "template_of_revision",
]

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_NOT_COPIED = {_LAST_APPLIED, REVISION, HISTORY, DESIRED, MOST, ROLLBACK, "rayctl.io/promote", "rayctl.io/abort"}
_HISTORY_CHARACTERS = 2000


def prepared(name: str, template: Mapping[str, Any], hash_value: str = "", on_pods: bool = False) -> dict[str, Any]:
    """Return a fleet's template as its sets carry it: pods are labelled with the fleet, clusters with the hash."""
    found: dict[str, Any] = copy.deepcopy(dict(template))
    spec = found.get("spec") or {}
    for pod in [spec.get("headGroupSpec"), *(spec.get("workerGroupSpecs") or ())]:
        if isinstance(pod, dict):
            labels = _labels(pod.setdefault("template", {}))
            labels[FLEET_LABEL] = name
            if on_pods and hash_value:
                labels[REVISION_LABEL] = hash_value
    if hash_value:
        _labels(found)[HASH_LABEL] = hash_value
    return found


def _labels(holder: dict[str, Any]) -> dict[str, Any]:
    metadata = holder.get("metadata")
    if not isinstance(metadata, dict):
        metadata = holder["metadata"] = {}
    metadata.pop("creationTimestamp", None)
    labels = metadata.get("labels")
    if not isinstance(labels, dict):
        labels = metadata["labels"] = {}
    return labels


def hash_of(name: str, template: Mapping[str, Any], collisions: int) -> str:
    """Return the six characters that stand for a template of a fleet."""
    return digest(prepared(name, template), salt=str(collisions) if collisions else "")


def find_equal(seen: FleetSeen) -> SetView | None:
    """Return the set that has the fleet's template: the oldest, if there are several."""
    equal = [view for view in seen.sets if not view.deleting and same_template(view.template, seen.spec.template)]
    return min(equal, key=lambda view: (view.created_at, view.name), default=None)


def current_set(seen: FleetSeen) -> SetView | None:
    """Return the set of the newest revision."""
    there = [view for view in seen.sets if not view.deleting]
    return max(there, key=lambda view: (view.revision, view.created_at, view.name), default=None)


def change_in_place(seen: FleetSeen) -> SetView | None:
    """Return the newest set whose clusters can be changed to the fleet's template as they are; None if there is none.

    Worker groups may get other sizes, clusters more or other labels. What needs new pods, needs a new set.
    """
    if not seen.spec.options.in_place:
        return None
    wanted, labels = without_in_place(seen.spec.template), in_place_fields(seen.spec.template)["labels"]
    alike = [
        view
        for view in seen.sets
        if not view.deleting
        and without_in_place(view.template) == wanted
        and (not view.occupied or set(in_place_fields(view.template)["labels"]) <= set(labels))
    ]
    return max(alike, key=lambda view: (view.revision, view.created_at, view.name), default=None)


def next_revision(sets: Sequence[SetView]) -> int:
    """Return the number after all that were given."""
    return max((view.revision for view in sets), default=0) + 1


def annotations_for(seen: FleetSeen, view: SetView | None, revision: int) -> dict[str, str]:
    """Return the annotations that the newest set is to have: the fleet's, the revision, and what it was before."""
    found = {key: value for key, value in seen.annotations.items() if key not in _NOT_COPIED}
    found[REVISION] = str(revision)
    if view is not None and view.revision and view.revision != revision:
        found[HISTORY] = append_history(view.annotations.get(HISTORY, ""), view.revision)
    return found


def append_history(text: str, revision: int, longest: int = _HISTORY_CHARACTERS) -> str:
    """Return a list of revisions with one more; the first ones go when it gets longer than so many characters."""
    numbers = [*filter(None, text.split(",")), str(revision)]
    while len(",".join(numbers)) > longest:
        numbers.pop(0)
    return ",".join(numbers)


def new_set(seen: FleetSeen, hash_value: str, replicas: int, limits: Limits) -> Create:
    """Return the creation of the set for the fleet's template."""
    spec = seen.spec
    on_pods = spec.strategy == "BlueGreen"
    template = prepared(seen.name, spec.template, hash_value, on_pods)
    wanted = (seen.document.get("spec") or {}).get("selector") or {}
    selector = {**wanted, "matchLabels": {**(wanted.get("matchLabels") or {}), HASH_LABEL: hash_value}}
    body: dict[str, Any] = {
        "replicas": replicas,
        "minReadySeconds": spec.min_ready_s,
        "selector": selector,
        "template": template,
    }
    for name in ("drain", "replacement"):
        value = getattr(spec, name)
        if value is not None:
            body[name] = value
    annotations = annotations_for(seen, None, next_revision(seen.sets))
    return Create(
        {
            "apiVersion": REPLICA_SETS.api_version,
            "kind": REPLICA_SETS.kind,
            "metadata": {
                "name": f"{seen.name}-{hash_value}",
                "namespace": seen.document["metadata"].get("namespace", ""),
                "labels": dict(template["metadata"]["labels"]),
                "annotations": {**annotations, DESIRED: str(limits.replicas), MOST: str(limits.most)},
                "ownerReferences": [owner_reference(seen.document)],
            },
            "spec": body,
        }
    )


def rollback_target(seen: FleetSeen, text: str) -> SetView | None:
    """Return the set of a revision; ``0``: of the one before the newest. None if there is none.

    Raises:
        ValueError: The text is no number.
    """
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a revision")
    wanted = int(text)
    there = sorted((view for view in seen.sets if view.revision), key=lambda view: view.revision)
    if wanted == 0:
        return there[-2] if len(there) > 1 else None
    return next((view for view in there if view.revision == wanted), None)


def template_of_revision(view: SetView) -> dict[str, Any]:
    """Return a set's template without what its fleet had added."""
    found = copy.deepcopy(dict(view.template))
    spec = found.get("spec") or {}
    holders = [found]
    for pod in [spec.get("headGroupSpec"), *(spec.get("workerGroupSpecs") or ())]:
        if isinstance(pod, dict) and isinstance(pod.get("template"), dict):
            holders.append(pod["template"])
    for holder in holders:
        metadata = holder.get("metadata")
        if isinstance(metadata, dict) and isinstance(metadata.get("labels"), dict):
            for label in (HASH_LABEL, FLEET_LABEL, REVISION_LABEL):
                metadata["labels"].pop(label, None)
            if not metadata["labels"]:
                del metadata["labels"]
            if not metadata:
                del holder["metadata"]
    return found


def merge_to(old: Any, new: Any) -> Any:
    """Return the merge patch that makes ``new`` out of ``old``."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    gone = {name: None for name in old if name not in new}
    changed = {name: merge_to(old.get(name), value) for name, value in new.items() if old.get(name) != value}
    return {**changed, **gone}
