"""An object and what it owns, and theirs, as a tree. Pure: from a heap of documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CHILD_KINDS", "Node", "family", "label"]

Document = Mapping[str, Any]

CHILD_KINDS: dict[str, tuple[tuple[str, str], ...]] = {
    "RayClusterFleet": (("orchestration.aibrix.ai/v1alpha1", "RayClusterReplicaSet"),),
    "RayClusterReplicaSet": (("ray.io/v1", "RayCluster"),),
    "RayService": (("ray.io/v1", "RayCluster"), ("v1", "Service")),
    "RayCluster": (("v1", "Pod"), ("v1", "Service"), ("batch/v1", "Job")),
    "RayJob": (("ray.io/v1", "RayCluster"), ("batch/v1", "Job")),
    "Deployment": (("apps/v1", "ReplicaSet"),),
    "CronJob": (("batch/v1", "Job"),),
    "Pod": (),
    "Service": (),
}
"""Kind → (apiVersion, kind) of what it may own; kinds that are not here: pods."""


@dataclass(frozen=True)
class Node:
    """An object with its children, by kind and name."""

    document: Document
    children: tuple[Node, ...] = ()

    @property
    def label(self) -> str:
        """As output names it: ``pod/x``."""
        return label(self.document)

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.document.get("kind"))

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def label(document: Document) -> str:
    """Return ``kind/name``, in small letters."""
    return f"{str(document.get('kind')).lower()}/{document['metadata']['name']}"


def family(root: Document, others: Iterable[Document]) -> Node:
    """Return the tree below an object, by owner references; each object appears once, under its controller."""
    owned: dict[str, list[Document]] = {}
    for document in others:
        for owner in document["metadata"].get("ownerReferences") or ():
            if owner.get("controller", True):
                owned.setdefault(str(owner.get("uid")), []).append(document)
                break
    seen: set[str] = set()

    def node(document: Document) -> Node:
        uid = str(document["metadata"].get("uid"))
        seen.add(uid)
        below = sorted(owned.get(uid, ()), key=lambda child: (str(child.get("kind")), child["metadata"]["name"]))
        return Node(document, tuple(node(child) for child in below if str(child["metadata"].get("uid")) not in seen))

    return node(root)
