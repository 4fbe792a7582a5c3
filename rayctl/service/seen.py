"""All that was found about a RayService, as frozen data: specification, clusters, what leads to them, the wish."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rayctl.core.controller import Documents
from rayctl.core.seen import OfDocument
from rayctl.service import children
from rayctl.service import spec as specs
from rayctl.service.children import Owner
from rayctl.service.fingerprint import digest, fingerprint, same_cluster
from rayctl.service.history import Revision, parse_revisions, recorded
from rayctl.service.record import Record, parse_record, reconstruct
from rayctl.service.serve_state import parse_serve, with_capacity
from rayctl.service.sides import CLAIM, ClusterSeen, make_side
from rayctl.service.spec import Problem, ServiceSpec, parse_spec
from rayctl.service.terms import Entry, Seen, Side, Wish

__all__ = ["ENTRIES", "ServiceSeen", "see", "wanted_id"]

ENTRIES = ("head", "serve")
"""In the order in which they move forward."""

Validate = Callable[[Mapping[str, Any]], Sequence[str]]
"""What is wrong with a RayClusterSpec, one sentence each."""


@dataclass(frozen=True)
class ServiceSeen(OfDocument):
    """A RayService and everything around it.

    Args:
        document: The RayService.
        owner: The same, as the owner of its children.
        spec: The last valid specification; None: there has never been one.
        problems: What is wrong with the present specification.
        effective: ``spec`` as it was written.
        revisions: Valid specifications, newest first.
        record: How far the last switch got.
        clusters: By name.
        entries: The services that lead to a cluster, by entry.
        strangers: Names that are taken by objects of others.
        others: Further services of this RayService, routes and gateways, by kind and name.
        gateway_api: The API server has the Gateway API.
    """

    document: Mapping[str, Any]
    owner: Owner
    spec: ServiceSpec | None
    problems: tuple[Problem, ...]
    effective: Mapping[str, Any]
    revisions: tuple[Revision, ...]
    record: Record | None
    clusters: Mapping[str, ClusterSeen]
    entries: Mapping[str, Mapping[str, Any]]
    strangers: tuple[str, ...]
    others: Mapping[tuple[str, str], Mapping[str, Any]]
    gateway_api: bool

    @property
    def weighted(self) -> bool:
        """Whether routes of the Gateway API lead to the clusters."""
        return bool(self.gateway_api and self.spec is not None and self.spec.gateway_class)

    @property
    def saved(self) -> bool:
        """Whether the specification that is acted upon is kept as the newest revision."""
        kept = recorded(self.owner, self.revisions, self.effective)
        return kept is not None and kept is self.revisions[0]

    def fits(self, name: str, wanted: Mapping[str, Any]) -> bool:
        """Whether a cluster is, or becomes in place, what a RayClusterSpec asks for."""
        cluster = self.clusters.get(name)
        if cluster is None or not wanted:
            return False
        known = (cluster.document["metadata"].get("annotations") or {}).get(children.FINGERPRINT, "")
        return same_cluster(known, cluster.document.get("spec") or {}, wanted)

    def newest_for(self, name: str) -> Mapping[str, Any]:
        """Return the newest specification (as written) that a cluster fits; empty if none is known."""
        for spec in (self.effective, *(revision.spec for revision in self.revisions)):
            if self.fits(name, spec.get("rayClusterConfig") or {}):
                return spec
        return {}

    def written_as(self, wanted: str) -> Mapping[str, Any]:
        """Return the newest specification (as written) whose clusters have this wish's fingerprint; empty if none."""
        part = wanted.partition("-")[0]
        for spec in (self.effective, *(revision.spec for revision in self.revisions)):
            if part and wanted_id(spec).partition("-")[0] == part:
                return spec
        return {}

    def sides(self, now: float) -> dict[str, Side]:
        """Return the clusters as sides of the switch that the record speaks of."""
        capacity = self.spec.rules.capacity if self.spec else 1.0
        exclude = bool(self.spec and self.spec.exclude_head)
        source = self.clusters.get(self.record.source) if self.record else None
        return {
            name: make_side(cluster, source if source is not cluster else None, capacity, exclude, now)
            for name, cluster in self.clusters.items()
        }

    def world(self, now: float) -> Seen:
        """Return what the switchover sees."""
        entries = tuple(
            Entry(
                name,
                children.selected(self.entries.get(name)),
                _moved_at(self.entries.get(name)),
                _moved_by(self.entries.get(name)),
            )
            for name in ENTRIES
        )
        return Seen(self.sides(now), entries, self.weights)

    @property
    def weights(self) -> Mapping[str, int] | None:
        """How traffic is divided: the stable service's annotation and, where there is one, the route agree on it."""
        annotations = (self.entries.get("serve") or {"metadata": {}})["metadata"].get("annotations") or {}
        try:
            found = json.loads(annotations[children.WEIGHTS])
            noted: dict[str, int] | None = {str(name): int(weight) for name, weight in found.items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            noted = None
        if not self.weighted:
            return noted
        routed = children.route_weights(self.others.get(("HTTPRoute", f"{self.owner.name}-httproute")))
        return noted if noted == routed else None

    def wish(self) -> Wish:
        """Return what is wanted now. ``spec`` must be there."""
        assert self.spec is not None
        record, annotations = self.record, self.annotations
        wanted = wanted_id(self.effective)
        cluster = self.effective.get("rayClusterConfig") or {}
        serial = record.serial if record else 0
        target = children.cluster_name(self.owner, self.generation, serial + 1)
        if record is not None:
            candidates = [record.active, record.pending]
            if record.retiring in self.clusters and not self.clusters[record.retiring].going:
                candidates.append(record.retiring)
            found = next((name for name in candidates if name and self.fits(name, cluster)), None)
            made = record.pending and record.pending not in self.clusters
            if found is None and made and wanted.partition("-")[0] == record.wanted.partition("-")[0]:
                found = record.pending
            lost = record.active and record.active not in self.clusters
            if found is None and lost and wanted.partition("-")[0] == record.active_wanted.partition("-")[0]:
                found = record.active
            target = found or target
        pending = record.pending if record else ""
        weight = _weight(annotations.get(specs.WEIGHT, ""), pending)
        disabled = self.spec.strategy == "None"
        return Wish(
            target,
            wanted,
            self.generation,
            allowed="the upgrade strategy is None: changes of the cluster are not acted upon" if disabled else "",
            promote=bool(pending) and annotations.get(specs.PROMOTE) == pending,
            abort=bool(pending) and annotations.get(specs.ABORT) == pending,
            retry=bool(record) and annotations.get(specs.RETRY) == str(serial),
            weight=weight,
        )


def wanted_id(spec: Mapping[str, Any]) -> str:
    """Return the fingerprint of a wish: the cluster's, and that of what runs on it."""
    cluster = str(fingerprint(spec.get("rayClusterConfig") or {}))
    return f"{digest(cluster)}-{digest(spec.get('serveConfigV2') or '')}"


def _weight(text: str, pending: str) -> int | None:
    name, _, percent = text.partition("=")
    if not pending or name != pending or not percent.isdigit():
        return None
    return min(100, int(percent))


def _moved_at(service: Mapping[str, Any] | None) -> float:
    annotations = ((service or {}).get("metadata") or {}).get("annotations") or {}
    try:
        return float(annotations.get(children.MOVED_AT) or 0.0)
    except ValueError:
        return 0.0


def _moved_by(service: Mapping[str, Any] | None) -> int:
    annotations = ((service or {}).get("metadata") or {}).get("annotations") or {}
    found = str(annotations.get(children.MOVED_BY, "0"))
    return int(found) if found.isdigit() else 0


def see(found: Documents, validate: Validate) -> ServiceSeen:
    """Read what a look has found. ``validate``: what is wrong with a RayClusterSpec."""
    document = found["service"]
    owner = Owner(document)
    written = document.get("spec") or {}
    spec, problems = parse_spec(document["metadata"], written)
    if not problems:
        problems = tuple(Problem("spec.rayClusterConfig", text) for text in validate(written["rayClusterConfig"]))
    revisions = parse_revisions(owner, found.get("revisions") or ())
    effective: ServiceSpec | None = spec
    if problems:
        written, effective = _last_valid(document, revisions)
    services = list(found.get("services") or ())
    record = _record(document, found.get("clusters") or (), effective)
    entries, strangers, others = _sort_services(owner, services, effective)
    for other in (*(found.get("routes") or ()), *(found.get("gateways") or ())):
        if owner.owns(other):
            others[other["kind"], other["metadata"]["name"]] = other
    seen = ServiceSeen(
        document,
        owner,
        effective,
        problems,
        written,
        revisions,
        record,
        {},
        entries,
        strangers,
        others,
        bool(found.get("gateway_api")),
    )
    return _with_clusters(seen, found)


def _last_valid(
    document: Mapping[str, Any], revisions: Sequence[Revision]
) -> tuple[Mapping[str, Any], ServiceSpec | None]:
    """Return the newest specification that is still valid by the present rules, as written and as read."""
    # Of annotations there are no revisions: the present ones count, as far as they are valid.
    name, annotations = document["metadata"]["name"], document["metadata"].get("annotations") or {}
    wrong = {problem.path for problem in parse_spec(document["metadata"], document.get("spec") or {})[1]}
    valid = {key: value for key, value in annotations.items() if f"metadata.annotations[{key}]" not in wrong}
    for revision in revisions:
        for rules in (valid, {}):
            spec, problems = parse_spec({"name": name, "annotations": rules}, revision.spec)
            if not problems:
                return revision.spec, spec
    return {}, None


def _record(
    document: Mapping[str, Any], clusters: Sequence[Mapping[str, Any]], spec: ServiceSpec | None
) -> Record | None:
    status = document.get("status") or {}
    found = parse_record(status)
    if found is not None:
        return found
    claims = [str((cluster["metadata"].get("annotations") or {}).get(CLAIM, "0")) for cluster in clusters]
    serial = max((int(claim) for claim in claims if claim.isdigit()), default=0)
    generation = int(document["metadata"].get("generation") or 0)
    wanted = wanted_id(document.get("spec") or {})
    record = reconstruct(status, serial, spec.rules.deadline_s if spec else 0.0, generation, wanted)
    if record is None or not record.phase.ended or record.source:
        return record
    # Which side went before is not among the fields; it is the one that is still there.
    left = [cluster["metadata"]["name"] for cluster in clusters if cluster["metadata"]["name"] != record.active]
    return replace(record, source=left[0]) if left else record


def _sort_services(
    owner: Owner, services: Sequence[Mapping[str, Any]], spec: ServiceSpec | None
) -> tuple[dict[str, Mapping[str, Any]], tuple[str, ...], dict[tuple[str, str], Mapping[str, Any]]]:
    names = {children.entry_name(owner, entry, spec.serve_service if spec else {}): entry for entry in ENTRIES}
    entries: dict[str, Mapping[str, Any]] = {}
    strangers: list[str] = []
    others: dict[tuple[str, str], Mapping[str, Any]] = {}
    for service in services:
        name = service["metadata"]["name"]
        if name not in names:
            others["Service", name] = service
        elif owner.owns(service):
            entries[names[name]] = service
        else:
            strangers.append(name)
    return entries, tuple(strangers), others


def _with_clusters(seen: ServiceSeen, found: Documents) -> ServiceSeen:
    """Return the same with its clusters, each with the Serve configuration that it is to have."""
    pods: dict[str, list[Mapping[str, Any]]] = {}
    for pod in found.get("pods") or ():
        pods.setdefault(str((pod["metadata"].get("labels") or {}).get("ray.io/cluster", "")), []).append(pod)
    documents = {
        document["metadata"]["name"]: document for document in found.get("clusters") or () if seen.owner.owns(document)
    }
    bare = {
        name: ClusterSeen(
            document,
            pods.get(name, ()),
            parse_serve((found.get("serve") or {}).get(name)),
            {},
            (found.get("in_flight") or {}).get(name),
        )
        for name, document in documents.items()
    }
    known = replace(seen, clusters=bare)
    return replace(
        known, clusters={name: replace(cluster, wanted=_wanted(known, name)) for name, cluster in bare.items()}
    )


def _wanted(seen: ServiceSeen, name: str) -> Mapping[str, Any]:
    """Return the Serve configuration of a cluster: that of the newest specification that it fits.

    So a new configuration goes to the cluster that it was written for, and the other one keeps its own. Where no new
    cluster may be made, the configuration goes to the one that is there.
    """
    record = seen.record
    written = seen.newest_for(name)
    if seen.spec is not None and seen.spec.strategy == "None" and record is not None and record.active == name:
        written = seen.effective
    spec, problems = parse_spec({"name": seen.owner.name}, written) if written else (None, ())
    serve = spec.serve if spec is not None and not problems else {}
    if record is None or record.split is None or not serve:
        return serve
    split = record.split
    return with_capacity(serve, split.source_capacity if name == record.source else split.target_capacity)
