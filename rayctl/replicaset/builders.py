"""The documents that a replica set writes: clusters of its template, adoption, release, changes in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayctl.clock import iso
from rayctl.core.plan import Create, Patch
from rayctl.kube.kinds import RAY_CLUSTERS
from rayctl.replicaset.names import DRAINING_SINCE, IN_PLACE_HASH, cluster_name
from rayctl.replicaset.seen import Member, SetSeen
from rayctl.replicaset.template import in_place_fields, in_place_hash

__all__ = ["adopt", "create_cluster", "drain", "owner_reference", "release", "set_in_place", "undrain"]


def owner_reference(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reference by which a child names its controller."""
    metadata = document["metadata"]
    return {
        "apiVersion": document["apiVersion"],
        "kind": document["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def create_cluster(seen: SetSeen, ordinal: int, mark: str) -> Create:
    """Return the creation of one cluster. ``mark``: the template's in-place digest."""
    template = seen.spec.template
    metadata = template.get("metadata") or {}
    return Create(
        {
            "apiVersion": RAY_CLUSTERS.api_version,
            "kind": RAY_CLUSTERS.kind,
            "metadata": {
                "name": cluster_name(seen.name, ordinal),
                "namespace": seen.document["metadata"].get("namespace", ""),
                "labels": dict(metadata.get("labels") or {}),
                "annotations": {**(metadata.get("annotations") or {}), IN_PLACE_HASH: mark},
                "ownerReferences": [owner_reference(seen.document)],
            },
            "spec": template["spec"],
        }
    )


def adopt(seen: SetSeen, member: Member) -> Patch:
    """Return the adoption of a cluster without an owner."""
    owners = [*member.owners, owner_reference(seen.document)]
    return Patch(member.ref, {"metadata": {"ownerReferences": owners}}, member.revision)


def release(seen: SetSeen, member: Member) -> Patch:
    """Return the release of a cluster that is not selected any more; it lives on, without us."""
    uid = seen.ref.uid
    owners = [owner for owner in member.owners if owner.get("uid") != uid]
    return Patch(member.ref, {"metadata": {"ownerReferences": owners or None}}, member.revision)


def drain(member: Member, now: float) -> Patch:
    """Return the mark that a cluster takes no new work. ``now``: seconds since the epoch."""
    return Patch(member.ref, {"metadata": {"annotations": {DRAINING_SINCE: iso(now)}}}, "")


def undrain(member: Member) -> Patch:
    """Return the removal of that mark: the cluster is wanted again."""
    return Patch(member.ref, {"metadata": {"annotations": {DRAINING_SINCE: None}}}, "")


def set_in_place(member: Member, template: Mapping[str, Any]) -> Patch:
    """Return the change of a running cluster to the template's sizes and labels."""
    wanted = in_place_fields(template)
    document: Mapping[str, Any] = member.document or {}
    groups = [
        {**group, **wanted["groups"].get(group.get("groupName", ""), {})}
        for group in (document.get("spec") or {}).get("workerGroupSpecs") or ()
    ]
    changes: dict[str, Any] = {
        "metadata": {"labels": wanted["labels"], "annotations": {IN_PLACE_HASH: in_place_hash(template)}}
    }
    if groups:
        changes["spec"] = {"workerGroupSpecs": groups}
    return Patch(member.ref, changes, member.revision)
