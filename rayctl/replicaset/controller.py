"""The controller of RayClusterReplicaSets: what it looks at, and how its decisions become plans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rayctl.core.controller import Caches, Document, Documents, Key, Refusal, Watch, same_name
from rayctl.core.plan import Blocker, CallServe, Create, Delete, Plan
from rayctl.kube.kinds import RAY_CLUSTERS, REPLICA_SETS
from rayctl.replicaset.names import DRAINING_SINCE
from rayctl.replicaset.observe import Observer, Work, observe_all
from rayctl.replicaset.plan import plan_replicaset
from rayctl.replicaset.reader import Reader
from rayctl.replicaset.seen import controller_of, parse_seen
from rayctl.replicaset.selectors import Selector
from rayctl.replicaset.spec import parse_spec
from rayctl.replicaset.status import failure_status

__all__ = ["ReplicaSetController"]


class ReplicaSetController:
    """See `rayctl.core.controller.Controller`.

    Args:
        observer: Says what runs on a cluster that drains; None: nobody knows, and draining lasts its whole time.
        reader: Reads past the caches: asked for the set before orphans are adopted or clusters made. What a set that
            was deleted meanwhile adopts or makes goes with it at once, again and again. None: the cache must do.
    """

    name = "replicaset-controller"
    resource = REPLICA_SETS

    def __init__(self, observer: Observer | None = None, reader: Reader | None = None) -> None:
        self._observer, self._reader = observer, reader
        self._selectors: dict[str, dict[str, Selector]] = {}
        self.watches: Sequence[Watch] = (
            Watch(REPLICA_SETS, same_name),
            Watch(RAY_CLUSTERS, self._sets_of),
        )

    def _sets_of(self, cluster: Document) -> Iterable[Key]:
        """The cluster's set; of an orphan, all sets that would take it (as far as they have been looked at)."""
        metadata = cluster["metadata"]
        namespace = metadata.get("namespace", "")
        owner = controller_of(cluster)
        if owner is not None:
            return [(namespace, owner["name"])] if owner.get("kind") == REPLICA_SETS.kind else []
        labels = metadata.get("labels")
        known = self._selectors.get(namespace) or {}
        return [(namespace, name) for name, selector in known.items() if selector.matches(labels)]

    async def look(self, key: Key, caches: Caches) -> Documents | None:
        """See `Controller.look`."""
        namespace, name = key
        document = caches.get(REPLICA_SETS, namespace, name)
        if document is None:
            self._selectors.get(namespace, {}).pop(name, None)
            return None
        spec = parse_spec(document)
        if spec.problems:
            self._selectors.get(namespace, {}).pop(name, None)
            return {"set": document, "clusters": []}
        self._selectors.setdefault(namespace, {})[name] = spec.selector
        uid = document["metadata"]["uid"]
        owned, orphans, taken = [], [], []
        for cluster in caches.all(RAY_CLUSTERS, namespace):
            owner = controller_of(cluster)
            if owner is not None and owner.get("uid") == uid:
                owned.append(cluster)
                continue
            if cluster["metadata"]["name"].startswith(f"{name}-"):
                taken.append(cluster["metadata"]["name"])
            if owner is None and spec.selector.matches(cluster["metadata"].get("labels")):
                orphans.append(cluster)
        if (orphans or len(owned) < spec.replicas) and self._reader is not None:
            document = await self._reader.get(REPLICA_SETS, namespace, name)
            if document is None or document["metadata"]["uid"] != uid:
                return None
        found: dict[str, Any] = {"set": document, "clusters": [*owned, *orphans], "taken": taken}
        if spec.drain.seconds and self._observer is not None:
            found["work"] = await self._work(owned, spec.replicas)
        return found

    async def _work(self, owned: Sequence[Document], wanted: int) -> Mapping[str, Work]:
        """Ask those that drain; and all, if some of them are to be chosen."""
        assert self._observer is not None
        marked = [c for c in owned if DRAINING_SINCE in (c["metadata"].get("annotations") or {})]
        return await observe_all(self._observer, owned if len(owned) - len(marked) > wanted else marked)

    def plan(self, found: Documents, now: float) -> Plan:
        """See `Controller.plan`."""
        return plan_replicaset(parse_seen(found), now)

    def refused(self, found: Documents, refusal: Refusal, now: float) -> Plan:
        """See `Controller.refused`."""
        seen = parse_seen(found)
        action = refusal.action
        word = (
            "FailedCreate"
            if isinstance(action, Create)
            else "FailedDelete"
            if isinstance(action, Delete)
            else "FailedWrite"
        )
        what = action.cluster if isinstance(action, CallServe) else action.ref
        message = f"{what}: {refusal.message}"
        status, events = failure_status(seen, word, message, now)
        return Plan((*status, *events), (), None, Blocker(word, message, seen.ref, hint=_HINT))


_HINT = "It is tried again, each time later; the message is the API server's."
