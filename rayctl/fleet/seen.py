"""What one decision about a RayClusterFleet rests on: the fleet, its sets, what is left of pods, observations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rayctl.core.plan import Ref
from rayctl.core.seen import OfDocument
from rayctl.fleet.arithmetic import Size
from rayctl.fleet.spec import FleetSpec, parse_fleet_spec
from rayctl.replicaset.health import moment
from rayctl.replicaset.names import HASH_LABEL
from rayctl.replicaset.seen import controller_of
from rayctl.replicaset.selectors import Selector, parse_selector

__all__ = [
    "ABORT",
    "DESIRED",
    "HISTORY",
    "MOST",
    "PROMOTE",
    "REVISION",
    "ROLLBACK",
    "TAKEN_OVER",
    "FleetSeen",
    "RolloutState",
    "SetView",
    "parse_fleet",
]

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MOST = "deployment.kubernetes.io/max-replicas"
ROLLBACK = "deprecated.deployment.rollback.to"
PROMOTE = "rayctl.io/promote"
"""On a fleet: ``<hash>:<step>`` lets that step of that revision pass, ``<hash>:full`` all that are left."""
ABORT = "rayctl.io/abort"
"""On a fleet: ``<hash>``: this revision is given up, the last good one is used."""
TAKEN_OVER = 1
"""The step of a blue/green rollout whose new revision is in use."""


@dataclass(frozen=True)
class SetView:
    """A replica set, as its fleet sees it. Counts as in its status."""

    document: Mapping[str, Any] = field(repr=False)
    ref: Ref
    replicas: int
    existing: int
    ready: int
    available: int
    terminating: int
    generation: int
    observed: int
    created_at: float
    deleting: bool
    selector: Selector
    owner_uid: str

    @property
    def name(self) -> str:
        """Its name."""
        return self.ref.name

    @property
    def annotations(self) -> Mapping[str, str]:
        """Of the object."""
        return self.document["metadata"].get("annotations") or {}

    @property
    def labels(self) -> Mapping[str, str]:
        """Of the object."""
        return self.document["metadata"].get("labels") or {}

    @property
    def template(self) -> Mapping[str, Any]:
        """Of its clusters."""
        return (self.document.get("spec") or {}).get("template") or {}

    @property
    def hash(self) -> str:
        """The revision that it stands for."""
        return self.labels.get(HASH_LABEL) or self.name

    @property
    def revision(self) -> int:
        """The revision's number; 0 if it has none."""
        return _number(self.annotations.get(REVISION)) or 0

    @property
    def occupied(self) -> int:
        """Clusters that are there or may come at any time."""
        return max(self.replicas, self.existing + self.terminating)

    @property
    def settled(self) -> bool:
        """Whether its controller has seen its newest size; before that, more clusters may exist than it says."""
        return self.observed >= self.generation or self.generation <= 1

    @property
    def size(self) -> Size:
        """What arithmetic needs."""
        desired, most = _number(self.annotations.get(DESIRED)), _number(self.annotations.get(MOST))
        return Size(self.name, self.replicas, min(self.available, self.replicas), self.created_at, desired, most)


@dataclass(frozen=True)
class RolloutState:
    """Where a rollout is: what the fleet's status remembers, because no other object says it.

    Args:
        revision: Hash of the revision that is rolled out.
        step: Step of a canary, or 1 after a blue/green takeover.
        step_at: When it began, in seconds since the epoch.
        progressed_at: When something last moved; 0: not counted (paused, or new).
        stable: Hash of the last revision that was complete.
        aborted: Hash of a revision that was given up, with the reason.
    """

    revision: str = ""
    step: int = 0
    step_at: float = 0.0
    progressed_at: float = 0.0
    stable: str = ""
    aborted: str = ""
    aborted_reason: str = ""
    aborted_message: str = ""


@dataclass(frozen=True)
class FleetSeen(OfDocument):
    """A fleet and its world.

    Args:
        document: The fleet.
        spec: What it wants.
        sets: Replica sets that it owns, by name.
        orphans: Sets without an owner that it may adopt.
        taken: Names of other sets in its range.
        pods: Pods of its clusters that have not ended, as (cluster, pod).
        services: Services that it switches, by name.
        observed: ``serve`` and ``metrics``, as far as gates ask for them.
        state: From its status.
    """

    document: Mapping[str, Any] = field(repr=False)
    spec: FleetSpec
    sets: tuple[SetView, ...]
    orphans: tuple[SetView, ...]
    taken: frozenset[str]
    pods: tuple[tuple[str, str], ...]
    services: Mapping[str, Mapping[str, Any]]
    observed: Mapping[str, Any]
    state: RolloutState

    @property
    def collisions(self) -> int:
        """How often a hash was taken."""
        return int(self.status.get("collisionCount") or 0)


def parse_fleet(found: Mapping[str, Any]) -> FleetSeen:
    """Read the documents of the controller's look: ``fleet``, ``sets``, ``pods``, ``services``, ``observed``."""
    document = found["fleet"]
    uid, name = document["metadata"].get("uid", ""), document["metadata"]["name"]
    spec = parse_fleet_spec(document)
    views = [_view(item) for item in found.get("sets") or ()]
    owned = tuple(view for view in views if view.owner_uid == uid)
    orphans = tuple(
        view
        for view in views
        if not view.owner_uid and not view.deleting and not spec.problems and spec.selector.matches(view.labels)
    )
    taken = frozenset(view.name for view in views if view.owner_uid != uid and view.name.startswith(f"{name}-"))
    pods = tuple((str(item["cluster"]), str(item["name"])) for item in found.get("pods") or ())
    services = {item["metadata"]["name"]: item for item in found.get("services") or ()}
    return FleetSeen(
        document, spec, owned, orphans, taken, pods, services, found.get("observed") or {}, _state(document)
    )


def _view(document: Mapping[str, Any]) -> SetView:
    metadata, spec, status = document["metadata"], document.get("spec") or {}, document.get("status") or {}
    owner = controller_of(document)
    replicas = spec.get("replicas")
    try:
        selector = parse_selector(spec.get("selector"))
    except ValueError:
        selector = Selector()  # its own controller says what is wrong with it
    return SetView(
        document,
        Ref.to(document),
        1 if replicas is None else int(replicas),
        int(status.get("replicas") or 0),
        int(status.get("readyReplicas") or 0),
        int(status.get("availableReplicas") or 0),
        int(status.get("terminatingReplicas") or 0),
        int(metadata.get("generation") or 0),
        int(status.get("observedGeneration") or 0),
        moment(metadata.get("creationTimestamp")),
        bool(metadata.get("deletionTimestamp")),
        selector,
        "" if owner is None else str(owner.get("uid") or ""),
    )


def _state(document: Mapping[str, Any]) -> RolloutState:
    found = (document.get("status") or {}).get("rollout") or {}
    aborted = found.get("aborted") or {}
    return RolloutState(
        str(found.get("revision") or ""),
        int(found.get("step") or 0),
        moment(found.get("stepStartedAt")),
        moment(found.get("progressedAt")),
        str(found.get("stableRevision") or ""),
        str(aborted.get("revision") or ""),
        str(aborted.get("reason") or ""),
        str(aborted.get("message") or ""),
    )


def _number(text: Any) -> int | None:
    """Read an annotation's number as Kubernetes does: 32 bits, not negative."""
    found = str(text or "")
    if not (found.isascii() and found.isdigit()) or int(found) > 2**31 - 1:
        return None
    return int(found)
