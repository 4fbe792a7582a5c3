"""The controller of RayClusterFleets: what it looks at, and how its decisions become plans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from rayctl.core.conditions import Condition
from rayctl.core.controller import Caches, Document, Documents, Key, Refusal, Watch, same_name
from rayctl.core.plan import Blocker, CallServe, Create, Emit, Plan
from rayctl.fleet.options import GateSpec
from rayctl.fleet.plan import plan_fleet
from rayctl.fleet.revisions import find_equal
from rayctl.fleet.seen import FleetSeen, parse_fleet
from rayctl.fleet.spec import FleetSpec, parse_fleet_spec
from rayctl.fleet.status import DEGRADED, PROGRESSING, READY, with_conditions
from rayctl.kube.kinds import FLEETS, PODS, RAY_CLUSTERS, REPLICA_SETS, SERVICES
from rayctl.replicaset.names import FLEET_LABEL, HASH_LABEL
from rayctl.replicaset.observe import Observer, ask_all
from rayctl.replicaset.reader import Reader
from rayctl.replicaset.seen import controller_of
from rayctl.replicaset.selectors import Selector

__all__ = ["FleetController"]

_ENDED = ("Succeeded", "Failed")


class FleetController:
    """See `rayctl.core.controller.Controller`.

    Args:
        reader: Reads what is needed seldom: pods while a `Recreate` waits for them, services of blue/green, clusters
            whose applications a gate asks about, and the fleet before sets are adopted or made: what a fleet that was
            deleted meanwhile makes goes with it at once, again and again. None: none of these.
        observer: Asks clusters and metrics for gates; None: such gates do not pass.
    """

    name = "fleet-controller"
    resource = FLEETS

    def __init__(self, reader: Reader | None = None, observer: Observer | None = None) -> None:
        self._reader, self._observer = reader, observer
        self._selectors: dict[str, dict[str, Selector]] = {}
        self.watches: Sequence[Watch] = (Watch(FLEETS, same_name), Watch(REPLICA_SETS, self._fleets_of))

    def _fleets_of(self, document: Document) -> Iterable[Key]:
        """The set's fleet; of an orphan, all fleets that would take it (as far as they have been looked at)."""
        metadata = document["metadata"]
        namespace = metadata.get("namespace", "")
        owner = controller_of(document)
        if owner is not None:
            return [(namespace, owner["name"])] if owner.get("kind") == FLEETS.kind else []
        known = self._selectors.get(namespace) or {}
        labels = metadata.get("labels")
        return [(namespace, name) for name, selector in known.items() if selector.matches(labels)]

    async def look(self, key: Key, caches: Caches) -> Documents | None:
        """See `Controller.look`."""
        namespace, name = key
        document = caches.get(FLEETS, namespace, name)
        if document is None:
            self._selectors.get(namespace, {}).pop(name, None)
            return None
        spec = parse_fleet_spec(document)
        uid = document["metadata"]["uid"]
        owned = caches.owned(REPLICA_SETS, uid)
        found: dict[str, Any] = {"fleet": document, "sets": owned}
        if spec.problems:
            return found
        self._selectors.setdefault(namespace, {})[name] = spec.selector
        mine = {item["metadata"]["uid"] for item in owned}
        near = [
            item
            for item in caches.all(REPLICA_SETS, namespace)
            if item["metadata"]["uid"] not in mine and _near(item, name, spec.selector)
        ]
        found["sets"] = [*owned, *near]
        seen = parse_fleet(found)
        if self._reader is not None and (seen.orphans or find_equal(seen) is None):
            fresh = await self._reader.get(FLEETS, namespace, name)
            if fresh is None or fresh["metadata"]["uid"] != uid:
                return None
            found["fleet"] = fresh
            seen = parse_fleet(found)
        await self._more(found, seen)
        return found

    async def _more(self, found: dict[str, Any], seen: FleetSeen) -> None:
        """Read what this fleet's strategy needs besides."""
        if self._reader is None:
            return
        namespace, spec = seen.ref.namespace, seen.spec
        if spec.strategy == "Recreate" and any(view.replicas == 0 for view in seen.sets):
            pods = await self._reader.list(PODS, namespace, f"{FLEET_LABEL}={seen.name}")
            found["pods"] = [
                {
                    "cluster": (pod["metadata"].get("labels") or {}).get("ray.io/cluster", ""),
                    "name": pod["metadata"]["name"],
                }
                for pod in pods
                if (pod.get("status") or {}).get("phase") not in _ENDED
            ]
        if spec.strategy == "BlueGreen":
            names = [name for name in (spec.options.blue_green.active, spec.options.blue_green.preview) if name]
            services = [await self._reader.get(SERVICES, namespace, name) for name in names]
            found["services"] = [item for item in services if item is not None]
        gates = _open_gates(spec, seen)
        if gates and self._observer is not None:
            found["observed"] = await self._observe(self._reader, self._observer, seen, gates)

    @staticmethod
    async def _observe(
        reader: Reader, observer: Observer, seen: FleetSeen, gates: Sequence[GateSpec]
    ) -> Mapping[str, Any]:
        observed: dict[str, Any] = {}
        queries = {gate.query for gate in gates if gate.kind == "Metric"}
        if queries:
            observed["metrics"] = await ask_all({query: partial(observer.metric, query) for query in sorted(queries)})
        if any(gate.kind == "Serve" for gate in gates) and seen.state.revision:
            selector = f"{HASH_LABEL}={seen.state.revision}"
            clusters = await reader.list(RAY_CLUSTERS, seen.ref.namespace, selector)
            observed["serve"] = await ask_all(
                {item["metadata"]["name"]: partial(observer.serve, item) for item in clusters}
            )
        return observed

    def plan(self, found: Documents, now: float) -> Plan:
        """See `Controller.plan`."""
        return plan_fleet(parse_fleet(found), now)

    def refused(self, found: Documents, refusal: Refusal, now: float) -> Plan:
        """See `Controller.refused`."""
        seen, action = parse_fleet(found), refusal.action
        word = "ReplicaSetCreateError" if isinstance(action, Create) else "WriteRefused"
        word = "ServerTrouble" if refusal.trouble else word
        what = action.cluster if isinstance(action, CallServe) else action.ref
        message = f"{what}: {refusal.message}"[:1000]
        conditions = [
            Condition(PROGRESSING, "Unknown" if refusal.trouble else "False", word, message),
            Condition(READY, "False", word, message),
            Condition(DEGRADED, "True", word, message),
        ]
        status = with_conditions(seen, conditions, now, replicas=int(seen.status.get("replicas") or 0))
        events = [Emit(seen.ref, "Warning", word, message)] if status else []
        blocker = Blocker(word, message, seen.ref, hint="It is tried again, each time later.")
        return Plan((*status, *events), (), None, blocker)


def _near(document: Document, fleet: str, selector: Selector) -> bool:
    """Whether a set that is not the fleet's may become it, or has a name that the fleet might want."""
    metadata = document["metadata"]
    if metadata["name"].startswith(f"{fleet}-"):
        return True
    return controller_of(document) is None and selector.matches(metadata.get("labels"))


def _open_gates(spec: FleetSpec, seen: FleetSeen) -> list[GateSpec]:
    """Return the gates at which the rollout may be now."""
    if spec.strategy == "BlueGreen" and seen.state.step == 0:
        return list(spec.options.blue_green.gates)
    if spec.strategy == "Canary" and seen.state.step < len(spec.options.steps):
        gate = spec.options.steps[seen.state.step].gate
        return [] if gate is None else [gate]
    return []
