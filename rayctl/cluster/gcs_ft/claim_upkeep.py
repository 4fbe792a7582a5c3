"""What is done about the volume claim of the embedded store once it is there: who owns it, and what differs. Pure.

A claim is never changed otherwise: Kubernetes allows that for its size only, and not for every class of storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from rayctl.cluster import keys
from rayctl.cluster.gcs_ft.inject import claim
from rayctl.cluster.gcs_ft.options import fault_tolerance
from rayctl.cluster.seen import ClusterSeen
from rayctl.cluster.spec import ClusterSpec
from rayctl.core.plan import Patch, Ref
from rayctl.core.quantity import parse_quantity

__all__ = ["DRIFT", "drift", "ownership"]

DRIFT = "StorageClaimDiffers"
Document = Mapping[str, Any]


def ownership(wanted: Document, live: Document, spec: ClusterSpec) -> Patch | None:
    """Return what makes a claim go with its cluster, or stay, as ``deletionPolicy`` says now; None if it does.

    A claim without this cluster's label, or with another owner, is somebody else's: it is used, but never owned.
    """
    metadata = live["metadata"]
    owners = list(metadata.get("ownerReferences") or ())
    others = [owner for owner in owners if owner.get("uid") != spec.uid]
    is_to_go, goes = bool(wanted["metadata"].get("ownerReferences")), len(others) < len(owners)
    made_for_it = (metadata.get("labels") or {}).get(keys.CLUSTER) == spec.name and not others
    if is_to_go == goes or (is_to_go and not made_for_it):
        return None
    change = {"metadata": {"ownerReferences": [dict(spec.owner)] if is_to_go else others}}
    return Patch(Ref.to(live), change, str(metadata["resourceVersion"]))


def drift(seen: ClusterSeen) -> list[tuple[str, str]]:
    """Return (reason, sentence) if the claim is not what the specification asks for now."""
    wanted = claim(seen.spec, fault_tolerance(seen.spec))
    live = seen.children.get(("PersistentVolumeClaim", wanted["metadata"]["name"])) if wanted else None
    if wanted is None or live is None:
        return []
    asks, has = wanted["spec"], live.get("spec") or {}
    pairs = [("size", _size(asks), _size(has)), ("accessModes", _modes(asks), _modes(has))]
    if "storageClassName" in asks:
        pairs.append(("storageClassName", asks["storageClassName"], str(has.get("storageClassName") or "")))
    found = [f"{field} {now or '(none)'} instead of {asked}" for field, asked, now in pairs if not _same(asked, now)]
    if not found:
        return []
    text = f"the claim {live['metadata']['name']} has {', '.join(found)}: claims are not changed once they are made"
    return [(DRIFT, text)]


def _size(spec: Document) -> str:
    return str(((spec.get("resources") or {}).get("requests") or {}).get("storage", ""))


def _modes(spec: Document) -> str:
    return ",".join(sorted(spec.get("accessModes") or ()))


def _same(asked: str, now: str) -> bool:
    with suppress(ValueError):
        return parse_quantity(asked) == parse_quantity(now)
    return asked == now
