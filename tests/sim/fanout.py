"""A small controller to try the kernel and the simulation on: a ConfigMap `fan-…` says how many copies there shall be.

``data.copies``: how many; ``data.text``: what each says. The copies are ``NAME-0`` to ``NAME-(n-1)``; the parent's
annotation ``test.io/copied`` tells how many there are, and of which generation of the wish.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rayctl.core.compare import covers
from rayctl.core.controller import Caches, Document, Documents, Key, Refusal, Watch, owners_named
from rayctl.core.plan import Action, Apply, Blocker, Create, Delete, Patch, Plan, Ref, Together
from rayctl.kube.calls import Resource
from rayctl.kube.kinds import CONFIG_MAPS

PREFIX = "fan-"
TOLD = "test.io/copied"


def _keys(document: Document) -> Sequence[Key]:
    metadata = document["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    found = list(owners_named("ConfigMap")(document))
    if name.startswith(PREFIX):
        # It is a parent, or has the name of a child, if only by chance.
        found += [(namespace, name), (namespace, name.rpartition("-")[0])]
    return found


class FanOut:
    """The correct one; see `tests/sim/planted.py` for its relatives."""

    name = "fan-out"
    resource: Resource = CONFIG_MAPS
    watches: Sequence[Watch] = (Watch(CONFIG_MAPS, _keys),)

    async def look(self, key: Key, caches: Caches) -> Documents | None:
        """Gather the parent, its children, and strangers that have the children's names."""
        parent = caches.get(CONFIG_MAPS, *key)
        if parent is None or "deletionTimestamp" in parent["metadata"] or "copies" not in (parent.get("data") or {}):
            return None
        uid = parent["metadata"]["uid"]
        children = caches.owned(CONFIG_MAPS, uid)
        names = [f"{key[1]}-{index}" for index in range(wanted(parent))]
        strangers = [
            found["metadata"]["name"]
            for name in names
            if (found := caches.get(CONFIG_MAPS, key[0], name)) is not None and not _owned(found, uid)
        ]
        return {"parent": parent, "children": children, "strangers": strangers}

    def plan(self, found: Documents, now: float) -> Plan:
        """Decide."""
        parent, children = found["parent"], found["children"]
        if found["strangers"]:
            blocker = Blocker("NameTaken", f"{', '.join(found['strangers'])} belong to somebody else")
            return Plan(blocked_on=blocker)
        there = {child["metadata"]["name"]: child for child in children}
        documents = [child_of(parent, index) for index in range(wanted(parent))]
        actions: list[Action] = []
        making = [Create(document) for document in documents if document["metadata"]["name"] not in there]
        if making:
            actions.append(Together(tuple(making)))
        for document in documents:
            child = there.get(document["metadata"]["name"])
            if child is not None and not covers(child.get("data"), document["data"]):
                metadata = {**document["metadata"], "uid": child["metadata"]["uid"]}
                actions.append(Apply({**document, "metadata": metadata}))
        names = {document["metadata"]["name"] for document in documents}
        surplus = [child for name, child in sorted(there.items()) if name not in names]
        going = [Delete(Ref.to(_typed(child))) for child in surplus if "deletionTimestamp" not in child["metadata"]]
        if going:
            actions.append(Together(tuple(going)))
        if not actions and not surplus:
            actions += self.tell(parent, there)
        return Plan(tuple(actions))

    def tell(self, parent: Document, there: Mapping[str, Document]) -> list[Action]:
        """Say on the parent what there is, if it does not say so already."""
        told = json.dumps({"copies": len(there), "text": parent["data"].get("text", "")}, sort_keys=True)
        if (parent["metadata"].get("annotations") or {}).get(TOLD) == told:
            return []
        changes = {"metadata": {"annotations": {TOLD: told}}}
        return [Patch(Ref.to(_typed(parent)), changes, parent["metadata"]["resourceVersion"])]

    def refused(self, found: Documents, refusal: Refusal, now: float) -> Plan:
        """Nothing can be told but by the log."""
        return Plan()


def wanted(parent: Document) -> int:
    """How many copies there shall be."""
    return int((parent.get("data") or {}).get("copies", "0"))


def child_of(parent: Document, index: int) -> dict[str, Any]:
    """One copy as it shall be."""
    metadata = parent["metadata"]
    owner = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "namespace": metadata["namespace"],
            "name": f"{metadata['name']}-{index}",
            "ownerReferences": [owner],
        },
        "data": {"text": parent["data"].get("text", "")},
    }


def _typed(document: Document) -> Document:
    return {"apiVersion": "v1", "kind": "ConfigMap", **document}


def _owned(document: Document, uid: str) -> bool:
    return any(owner["uid"] == uid for owner in document["metadata"].get("ownerReferences") or ())
