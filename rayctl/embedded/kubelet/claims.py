"""What has to be done for claims of volumes next. Pure: from claims, volumes, pods and folders to a list of steps.

A claim gets a folder of the node, named after its uid, and a PersistentVolume that says where that is. As in
Kubernetes, a claim that a pod still uses stays until the pod has gone; then the folder goes with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "CLASS",
    "PROTECTED",
    "ClaimStep",
    "bound_status",
    "claim_refusal",
    "hindrance",
    "plan_claims",
    "volume_document",
    "volume_name",
]

Document = Mapping[str, Any]
_UID = re.compile(r"[A-Za-z0-9][-A-Za-z0-9]{0,63}")
CLASS = "rayctl-local"
"""Class of volumes whose claims name none."""
PROVISIONER = "rayctl.io/local"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
PROTECTED = "kubernetes.io/pvc-protection"
"""Finalizer of a claim that holds a folder."""


@dataclass(frozen=True)
class ClaimStep:
    """``bind``: give a claim its folder and say so; ``refuse``: say why it gets none; ``release``: remove the folder
    of a claim that is being deleted and let it go; ``sweep``: remove what a claim left that is no more (``uid``)."""

    do: Literal["bind", "refuse", "release", "sweep"]
    claim: Document | None = None
    uid: str = ""
    why: str = ""


def volume_name(uid: str) -> str:
    """Return the name of the PersistentVolume of a claim."""
    return f"pvc-{uid}"


def claim_refusal(claim: Document) -> str | None:
    """Return why a claim gets no folder, or None."""
    spec = claim.get("spec") or {}
    if spec.get("volumeMode", "Filesystem") != "Filesystem":
        return "only volumeMode Filesystem is supported by this node"
    if spec.get("volumeName") not in (None, "", volume_name(claim["metadata"]["uid"])):
        return f"it names the volume {spec['volumeName']}; this node only makes volumes itself"
    for field in ("selector", "dataSource", "dataSourceRef"):
        if spec.get(field):
            return f"spec.{field} is not supported by this node"
    if spec.get("storageClassName") == "":
        return 'storageClassName "" asks for no volume to be made; leave the field out, or name a class'
    if "ReadWriteOncePod" in (spec.get("accessModes") or ()):
        return "the access mode ReadWriteOncePod is not supported by this node; use ReadWriteOnce"
    return None


def plan_claims(
    claims: Iterable[Document], volumes: Iterable[Document], pods: Iterable[Document], folders: Iterable[str]
) -> list[ClaimStep]:
    """Return what to do. ``folders``: names (claims' uids) of the folders that are there."""
    every, used = list(claims), _used(pods)
    uids = {claim["metadata"]["uid"] for claim in every}
    steps = []
    for claim in every:
        metadata = claim["metadata"]
        if metadata.get("deletionTimestamp"):
            free = (metadata.get("namespace", "default"), metadata["name"]) not in used
            if free and PROTECTED in (metadata.get("finalizers") or ()):
                steps.append(ClaimStep("release", claim, metadata["uid"]))
            continue
        why = claim_refusal(claim)
        if why is not None:
            steps.append(ClaimStep("refuse", claim, metadata["uid"], why))
        elif not _is_bound(claim):
            steps.append(ClaimStep("bind", claim, metadata["uid"]))
    left = {*folders, *(_claim_uid(volume) for volume in volumes if _is_ours(volume))} - uids
    steps += [ClaimStep("sweep", uid=uid) for uid in sorted(left) if _UID.fullmatch(uid)]
    return steps


def hindrance(pod: Document, claims: Iterable[Document]) -> str:
    """Return the scheduler's words for a pod whose claims are not there or not bound; empty if they are."""
    namespace = pod["metadata"].get("namespace", "default")
    known = {found["metadata"]["name"]: found for found in claims if found["metadata"].get("namespace") == namespace}
    for name in _names(pod):
        claim = known.get(name)
        if claim is None:
            return f'persistentvolumeclaim "{name}" not found'
        if claim["metadata"].get("deletionTimestamp"):
            return f'persistentvolumeclaim "{name}" is being deleted'
        if not _is_bound(claim):
            return "pod has unbound immediate PersistentVolumeClaims"
    return ""


def volume_document(claim: Document, folder: Path, node: str) -> dict[str, Any]:
    """Return the PersistentVolume of a claim."""
    metadata, spec = claim["metadata"], claim["spec"]
    reference = {name: metadata[name] for name in ("namespace", "name", "uid")}
    own_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume_name(metadata["uid"]), "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": dict((spec.get("resources") or {}).get("requests") or {}),
            "accessModes": list(spec.get("accessModes") or ()),
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec.get("storageClassName") or CLASS,
            "volumeMode": "Filesystem",
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **reference},
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [own_node]}]}},
        },
    }


def bound_status(claim: Document) -> dict[str, Any]:
    """Return a bound claim's status. The size is what was asked for; nothing holds it to that."""
    spec = claim["spec"]
    capacity = dict((spec.get("resources") or {}).get("requests") or {})
    return {"phase": "Bound", "accessModes": list(spec.get("accessModes") or ()), "capacity": capacity}


def _is_bound(claim: Document) -> bool:
    return (claim.get("status") or {}).get("phase") == "Bound"


def _is_ours(volume: Document) -> bool:
    metadata = volume["metadata"]
    named = metadata["name"] == volume_name(_claim_uid(volume))
    return named and (metadata.get("annotations") or {}).get(PROVISIONED_BY) == PROVISIONER


def _claim_uid(volume: Document) -> str:
    return str(((volume.get("spec") or {}).get("claimRef") or {}).get("uid", ""))


def _names(pod: Document) -> list[str]:
    volumes = pod["spec"].get("volumes") or ()
    return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if volume.get("persistentVolumeClaim")]


def _used(pods: Iterable[Document]) -> set[tuple[str, str]]:
    return {
        (pod["metadata"].get("namespace", "default"), name)
        for pod in pods
        if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        for name in _names(pod)
    }
