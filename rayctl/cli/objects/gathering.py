"""Everything that explaining or describing an object needs: what it owns, and the events of its namespace."""

from __future__ import annotations

import time
from typing import Any

from rayctl.cli.kubernetes import Kube, Named
from rayctl.errors import NotFound
from rayctl.kube.errors import Denied, KubernetesError
from rayctl.kube.kinds import EVENTS, LEASES
from rayctl.views.events import Happened, happened
from rayctl.views.explanation import CONTROLLERS, Surroundings
from rayctl.views.family import CHILD_KINDS, Node, family
from rayctl.views.readiness import moment

__all__ = ["events_of", "gather", "gather_node"]

_DEFAULT = (("v1", "Pod"),)
_DEEPEST = 5
_LATE_S = 10.0
"""Clocks differ: a lease counts as held for so long after its end."""


def gather(kube: Kube, named: Named) -> tuple[Node, Surroundings]:
    """Return an object with all that it owns, and what else was seen. Raises ObjectNotFound."""
    node = gather_node(kube, named)
    events = events_of(kube, node.document["metadata"].get("namespace", ""))
    return node, Surroundings(events, _leaders(kube) if node.kind in CONTROLLERS else {})


def _leaders(kube: Kube) -> dict[str, str]:
    """Return who leads each controller now (empty: nobody); nothing where leases may not be seen."""
    from rayctl.manifests.installation import NAME

    found = dict.fromkeys(CONTROLLERS.values(), "")
    try:
        leases = kube.list(LEASES, NAME)
    except KubernetesError:
        return {}
    for lease in leases:
        spec = lease.get("spec") or {}
        renewed_at = moment(spec.get("renewTime"))
        lasts_s = float(spec.get("leaseDurationSeconds") or 15) + _LATE_S
        if renewed_at is not None and time.time() - renewed_at <= lasts_s:
            found[lease["metadata"]["name"]] = str(spec.get("holderIdentity") or "")
    return found


def gather_node(kube: Kube, named: Named) -> Node:
    """Return an object with all that it owns: one list per kind that may be there. Raises ObjectNotFound."""
    root = kube.get(named.served.resource, named.name)
    namespace = root["metadata"].get("namespace", "")
    others: list[dict[str, Any]] = []
    asked: set[tuple[str, str]] = set()
    level = {str(root.get("kind"))}
    for _ in range(_DEEPEST):
        wanted = {pair for kind in level for pair in CHILD_KINDS.get(kind, _DEFAULT)} - asked
        if not wanted or not namespace:
            break
        asked |= wanted
        level = set()
        for api_version, kind in sorted(wanted):
            try:
                found = kube.list(kube.kinds.of(api_version, kind).resource, namespace)
            except NotFound:
                continue  # a kind that this server does not have
            except Denied as error:
                kube.settings.note(f"{kind} objects cannot be seen: {error.message}")
                continue
            others += found
            if found:
                level.add(kind)
    return family(root, others)


def events_of(kube: Kube, namespace: str) -> list[Happened]:
    """Return the events of a namespace (empty: of all), the oldest first; none where they may not be read."""
    try:
        found = [happened(document) for document in kube.list(EVENTS, namespace)]
    except Denied as error:
        kube.settings.note(f"events cannot be seen: {error.message}")
        return []
    return sorted(found, key=lambda event: event.last_at)
