"""What a RayService needs at all times, switch or not: services, labels, Serve configuration, updates, history.

Each function looks at everything and returns the writes that are missing; none if everything is as it should be.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rayctl.cluster.keys import MOVED_PORTS, PORTS
from rayctl.core.compare import covers
from rayctl.core.controller import Document
from rayctl.core.plan import CallServe, Create, Delete, Emit, Patch, Ref, Single
from rayctl.service import children, history
from rayctl.service.fingerprint import changed_in_place, digest, fingerprint
from rayctl.service.record import Record
from rayctl.service.seen import ENTRIES, ServiceSeen
from rayctl.service.serve_state import needs_submit
from rayctl.service.sides import SERVE, ClusterSeen

__all__ = [
    "at_ports",
    "drop_strays",
    "label_heads",
    "point",
    "save_revision",
    "serve_configs",
    "service_changes",
    "trim_history",
    "update_clusters",
    "update_routes",
    "update_services",
    "weigh",
]


STRAY_S = 60.0
"""A cluster that no switch knows of is left alone for so long."""


# Services ---------------------------------------------------------------------------------------------


def point(seen: ServiceSeen, entry: str, cluster: ClusterSeen, now: float) -> Single | None:
    """Return the write that makes a service lead to a cluster; None if its name is taken by somebody else's."""
    user = seen.spec.serve_service if seen.spec else {}
    if children.entry_name(seen.owner, entry, user) in seen.strangers:
        return None
    moved_at = f"{now:.3f}"
    if entry == "head":
        wanted = children.head_service(seen.owner, cluster.document, moved_at)
    else:
        wanted = children.serve_service(seen.owner, cluster.document, user, moved_at)
    serial = str(seen.record.serial if seen.record else 0)
    wanted["metadata"].setdefault("annotations", {})[children.MOVED_BY] = serial
    live = seen.entries.get(entry)
    if live is None:
        return Create(wanted)
    return Patch(Ref.to(live), service_changes(live, wanted), _revision(live))


def service_changes(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the merge patch that makes a Service what is wanted; empty if it is. What others added stays."""
    changes: dict[str, Any] = {}
    spec, there = wanted["spec"], live.get("spec") or {}
    selector = _exactly(there.get("selector") or {}, spec["selector"])
    if selector:
        changes.setdefault("spec", {})["selector"] = selector
    for name, value in spec.items():
        if name in ("selector", "clusterIP"):  # a cluster IP cannot be changed
            continue
        if not covers(there.get(name), value):
            changes.setdefault("spec", {})[name] = value
    for field in ("labels", "annotations"):
        asked = wanted["metadata"].get(field) or {}
        has = live["metadata"].get(field) or {}
        found = {name: value for name, value in asked.items() if has.get(name) != value}
        if field == "annotations" and children.WEIGHTS in has and children.WEIGHTS not in asked:
            found[children.WEIGHTS] = None
        if found:
            changes.setdefault("metadata", {})[field] = found
    return changes


def _exactly(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the merge patch that makes a map equal to another."""
    found: dict[str, Any] = {name: value for name, value in wanted.items() if live.get(name) != value}
    found.update({name: None for name in live if name not in wanted})
    return found


def _revision(document: Mapping[str, Any]) -> str:
    return str(document["metadata"].get("resourceVersion", ""))


def update_services(seen: ServiceSeen) -> list[Single]:
    """Return what brings both services up to date without moving them: ports, type, labels, the user's own wishes."""
    found: list[Single] = []
    user = seen.spec.serve_service if seen.spec else {}
    for entry in ENTRIES:
        live = seen.entries.get(entry)
        cluster = seen.clusters.get(children.selected(live))
        if live is None or cluster is None:
            continue
        moved_at = (live["metadata"].get("annotations") or {}).get(children.MOVED_AT, "")
        if entry == "head":
            wanted = children.head_service(seen.owner, cluster.document, moved_at)
        else:
            weights = seen.weights if seen.record is not None and seen.record.split is not None else None
            wanted = children.serve_service(seen.owner, cluster.document, user, moved_at, weights)
            if weights is None and seen.record is not None and seen.record.split is not None:
                wanted["metadata"].setdefault("annotations", {}).update(_noted(live))
        changes = service_changes(live, wanted)
        if changes:
            found.append(Patch(Ref.to(live), changes, _revision(live)))
    return found


def _noted(live: Mapping[str, Any]) -> dict[str, str]:
    annotations = live["metadata"].get("annotations") or {}
    return {children.WEIGHTS: annotations[children.WEIGHTS]} if children.WEIGHTS in annotations else {}


def update_routes(seen: ServiceSeen, record: Record | None, weights: Mapping[str, int] | None = None) -> list[Single]:
    """Return what is missing of the Gateway, the clusters' own services and the route, where routes are weighted.

    ``weights``: to be set now; otherwise the route gets what the record says.
    """
    if not seen.weighted or seen.spec is None or record is None:
        return []
    found: list[Single] = []
    if ("Gateway", f"{seen.owner.name}-gateway") not in seen.others:
        found.append(Create(children.gateway(seen.owner, seen.spec.gateway_class)))
    for cluster in seen.clusters.values():
        document = children.cluster_serve_service(seen.owner, cluster.document)
        if not cluster.going and ("Service", document["metadata"]["name"]) not in seen.others:
            found.append(Create(document))
    if weights is None:
        at = children.selected(seen.entries.get("serve"))
        split = record.split
        weights = {at: 100} if split is None else {record.source: 100 - split.traffic, record.target: split.traffic}
        if not at:
            return found
    port = _route_port(seen)
    wanted = children.http_route(seen.owner, weights, port)
    live = seen.others.get(("HTTPRoute", wanted["metadata"]["name"]))
    if live is None:
        found.append(Create(wanted))
    elif not covers(live.get("spec"), wanted["spec"]):
        found.append(Patch(Ref.to(live), {"spec": {"rules": wanted["spec"]["rules"]}}, _revision(live)))
    return found


def _route_port(seen: ServiceSeen) -> int:
    ports = ((seen.entries.get("serve") or {}).get("spec") or {}).get("ports") or ()
    named = [port for port in ports if port.get("name") == "serve"] or list(ports)
    return int(named[0]["port"]) if named else 8000


def weigh(seen: ServiceSeen, weights: Mapping[str, int]) -> list[Single]:
    """Return what divides traffic by weights: the route, where there is one, then the stable service's annotation."""
    live = seen.entries.get("serve")
    found = update_routes(seen, seen.record, weights)
    if live is not None:
        text = json.dumps(dict(weights), sort_keys=True)
        if (live["metadata"].get("annotations") or {}).get(children.WEIGHTS) != text:
            found.append(Patch(Ref.to(live), {"metadata": {"annotations": {children.WEIGHTS: text}}}, _revision(live)))
    return found


# Pods and Serve ---------------------------------------------------------------------------------------


def label_heads(seen: ServiceSeen) -> list[Single]:
    """Return what makes a head a member of the serve service exactly while its proxy answers.

    A head whose Serve API cannot be asked keeps its label: an outage of the API is none of the proxy.
    """
    exclude = bool(seen.spec and seen.spec.exclude_head)
    found: list[Single] = []
    for cluster in seen.clusters.values():
        head = cluster.head
        if head is None or cluster.going:
            continue
        answers = False if exclude else cluster.serve.head_proxy
        if answers is None:
            continue
        value = "true" if answers else "false"
        if (head["metadata"].get("labels") or {}).get(SERVE) != value:
            found.append(Patch(Ref.to(head), {"metadata": {"labels": {SERVE: value}}}, _revision(head)))
    return found


def serve_configs(seen: ServiceSeen) -> list[Single]:
    """Return the submissions of Serve configurations that are due."""
    found: list[Single] = []
    for _, cluster in sorted(seen.clusters.items()):
        if cluster.going or not cluster.head_ready or not needs_submit(cluster.wanted, cluster.serve):
            continue
        body = at_ports(cluster.wanted, cluster.head)
        found.append(CallServe(cluster.ref, {"method": "PUT", "digest": digest(cluster.wanted), "body": body}))
    return found


def at_ports(wanted: Mapping[str, Any], head: Document | None) -> dict[str, Any]:
    """Return a Serve configuration with the proxy's port where the head's pod has it.

    Pods of the embedded node that share the machine's network say by an annotation which of their ports are elsewhere
    (JSON, wanted → real), at the loopback interface; everywhere else the configuration stays as it is.
    """
    text = ((head or {}).get("metadata", {}).get("annotations") or {}).get(MOVED_PORTS)
    options = wanted.get("http_options") or {}
    moved = json.loads(text).get(str(options.get("port", PORTS["serve"]))) if text else None
    if moved is None:
        return dict(wanted)
    return {**wanted, "http_options": {**options, "host": "127.0.0.1", "port": int(moved)}}


# Clusters and history ---------------------------------------------------------------------------------


def update_clusters(seen: ServiceSeen) -> list[Single]:
    """Return the changes of clusters that need no new one: replicas and their limits, appended groups, tolerations."""
    found: list[Single] = []
    for name, cluster in sorted(seen.clusters.items()):
        written = seen.newest_for(name)
        wanted = written.get("rayClusterConfig") or {}
        if cluster.going or not wanted:
            continue
        changes = changed_in_place(cluster.document.get("spec") or {}, wanted)
        known = (cluster.document["metadata"].get("annotations") or {}).get(children.FINGERPRINT)
        patch: dict[str, Any] = {"spec": changes} if changes else {}
        if known != str(fingerprint(wanted)):
            groups = str(len(wanted.get("workerGroupSpecs") or ()))
            noted = {children.FINGERPRINT: str(fingerprint(wanted)), "ray.io/num-worker-groups": groups}
            patch["metadata"] = {"annotations": noted}
        if patch:
            found.append(Patch(cluster.ref, patch, _revision(cluster.document)))
            if changes:
                found.append(
                    Emit(seen.ref, "Normal", "UpdatedRayCluster", f"{name}: {', '.join(sorted(changes))} in place")
                )
    return found


def drop_strays(seen: ServiceSeen, now: float) -> list[Single]:
    """Return the deletion of clusters that no switch knows of: made late by a controller that had been replaced.

    Those that are new are left, and those that a service leads to: what is known of the switch may be older than they.
    """
    record = seen.record
    if record is None:
        return []
    known = {record.source, record.target, *(children.selected(entry) for entry in seen.entries.values())}
    found: list[Single] = []
    for name, cluster in sorted(seen.clusters.items()):
        if name not in known and not cluster.going and now - _created_at(cluster.document) > STRAY_S:
            found.append(Delete(cluster.ref, _revision(cluster.document)))
    return found


def _created_at(document: Mapping[str, Any]) -> float:
    try:
        text = str(document["metadata"]["creationTimestamp"])
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (KeyError, ValueError):
        return float("inf")


def save_revision(seen: ServiceSeen) -> list[Single]:
    """Return what keeps the present specification as the newest revision; nothing if it is, or is not valid."""
    if seen.problems or seen.saved:
        return []
    number = seen.revisions[0].number + 1 if seen.revisions else 1
    kept = history.recorded(seen.owner, seen.revisions, seen.effective)
    if kept is not None:
        changes = {"metadata": {"annotations": {history.NUMBER: str(number)}}}
        return [Patch(Ref.to(kept.document), changes, _revision(kept.document))]
    return [Create(history.revision_document(seen.owner, seen.effective, number, seen.generation))]


def trim_history(seen: ServiceSeen) -> list[Single]:
    """Return the deletion of revisions that nobody can need any more."""
    if len(seen.revisions) <= history.KEPT:
        return []
    needed: set[str] = set()
    for name in seen.clusters:
        written = seen.newest_for(name)
        kept = history.recorded(seen.owner, seen.revisions, written) if written else None
        if kept is not None:
            needed.add(kept.name)
    return [Delete(Ref.to(item.document), _revision(item.document)) for item in history.surplus(seen.revisions, needed)]
