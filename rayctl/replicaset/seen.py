"""What one decision about a RayClusterReplicaSet rests on: the set, its clusters, and what was noted about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rayctl.core.plan import Ref
from rayctl.core.seen import OfDocument
from rayctl.replicaset.health import Health, Phase, health_of, moment
from rayctl.replicaset.names import (
    DELETION_COST,
    DRAINING_SINCE,
    IN_PLACE_HASH,
    RUNNING_JOBS,
    ordinal_of,
)
from rayctl.replicaset.spec import ReplicaSetSpec, parse_spec

__all__ = ["Member", "Memory", "SetSeen", "controller_of", "parse_seen"]


@dataclass(frozen=True)
class Member:
    """A Ray cluster.

    Args:
        ref: Which.
        revision: Its resourceVersion.
        labels, annotations: Of the object.
        owners: Its owner references.
        created_at: Seconds since the epoch.
        ordinal: In its name; None if it was not made by this set.
        health: How it is.
        cost: Deletion cost.
        jobs: Running Ray jobs; None if nobody knows.
        requests: Requests that it is answering; None if nobody knows.
        serving: Whether Serve applications run on it, so that requests may come at any time.
        draining_at: Since when it drains; 0 if it does not.
        document: The object.
    """

    ref: Ref
    revision: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    owners: tuple[Mapping[str, Any], ...]
    created_at: float
    ordinal: int | None
    health: Health
    cost: int = 0
    jobs: int | None = None
    requests: int | None = None
    draining_at: float = 0.0
    document: Mapping[str, Any] | None = None
    serving: bool = False

    @property
    def name(self) -> str:
        """Its name."""
        return self.ref.name

    @property
    def uid(self) -> str:
        """Its uid."""
        return self.ref.uid

    @property
    def terminating(self) -> bool:
        """Whether it is being deleted."""
        return self.health.phase is Phase.TERMINATING

    @property
    def in_place_hash(self) -> str:
        """Of the fields that can be set on it, as they were set last; empty if nobody noted it."""
        return self.annotations.get(IN_PLACE_HASH, "")


@dataclass(frozen=True)
class Memory:
    """What a set's status remembers, because no other object says it.

    Args:
        next_ordinal: The first ordinal that no cluster has had so far.
        unsettled: uid → (phase, since): clusters that were ready and are not, or have come back a short time ago.
        replaced: Replacements in a row that did not help.
        replaced_at: The last one, in seconds since the epoch.
        replacing: uids of clusters whose replacement has been decided.
        generation: Of the set, when these were counted; a new one begins anew.
    """

    next_ordinal: int = 0
    unsettled: Mapping[str, tuple[str, float]] | None = None
    replaced: int = 0
    replaced_at: float = 0.0
    replacing: frozenset[str] = frozenset()
    generation: int = 0


@dataclass(frozen=True)
class SetSeen(OfDocument):
    """A set and its world.

    Args:
        document: The set.
        spec: What it wants.
        members: Clusters that it owns, those being deleted too, by name.
        orphans: Clusters without an owner that it may adopt.
        taken: Names in its range that belong to others.
        memory: From its status.
    """

    document: Mapping[str, Any]
    spec: ReplicaSetSpec
    members: tuple[Member, ...]
    orphans: tuple[Member, ...]
    taken: frozenset[str]
    memory: Memory

    @property
    def deleting(self) -> bool:
        """Whether it is being deleted."""
        return bool(self.document["metadata"].get("deletionTimestamp"))


def controller_of(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the owner reference of an object's controller, if it has one."""
    owners = document["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def parse_seen(found: Mapping[str, Any]) -> SetSeen:
    """Read the documents that the controller's look returned: ``set``, ``clusters``, ``taken``, ``work``."""
    document, work = found["set"], found.get("work") or {}
    uid, name = document["metadata"].get("uid", ""), document["metadata"]["name"]
    spec = parse_spec(document)
    members: list[Member] = []
    orphans: list[Member] = []
    for cluster in found.get("clusters") or ():
        owner = controller_of(cluster)
        member = _member(name, cluster, work.get(cluster["metadata"].get("uid", "")) or {})
        if owner is not None and owner.get("uid") == uid:
            members.append(member)
        elif owner is None and not member.terminating and not spec.problems and spec.selector.matches(member.labels):
            orphans.append(member)
    taken = frozenset(found.get("taken") or ())
    return SetSeen(document, spec, tuple(members), tuple(orphans), taken, _memory(document))


def _member(replica_set: str, document: Mapping[str, Any], work: Mapping[str, Any]) -> Member:
    metadata = document["metadata"]
    annotations = metadata.get("annotations") or {}
    jobs = work.get("jobs")
    return Member(
        Ref.to(document),
        str(metadata.get("resourceVersion") or ""),
        metadata.get("labels") or {},
        annotations,
        tuple(metadata.get("ownerReferences") or ()),
        moment(metadata.get("creationTimestamp")),
        ordinal_of(replica_set, metadata["name"]),
        health_of(document),
        _cost(annotations.get(DELETION_COST)),
        jobs if jobs is not None else _count(annotations.get(RUNNING_JOBS)),
        work.get("requests"),
        moment(annotations.get(DRAINING_SINCE)),
        document,
        bool(work.get("serving")),
    )


def _cost(text: Any) -> int:
    """Read a deletion cost as Kubernetes does: a plain 32-bit integer, else 0."""
    found = str(text or "")
    digits = found.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or (digits.startswith("0") and found != "0"):
        return 0
    value = int(found)
    return value if -(2**31) <= value < 2**31 else 0


def _count(text: Any) -> int | None:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10 else None


def _memory(document: Mapping[str, Any]) -> Memory:
    status = document.get("status") or {}
    replacement = status.get("replacement") or {}
    entries: Sequence[Mapping[str, Any]] = status.get("unsettled") or ()
    return Memory(
        int(status.get("nextOrdinal") or 0),
        {str(item.get("uid")): (str(item.get("phase")), moment(item.get("since"))) for item in entries},
        int(replacement.get("count") or 0),
        moment(replacement.get("lastTime")),
        frozenset(map(str, replacement.get("replacing") or ())),
        int(replacement.get("generation") or 0),
    )
