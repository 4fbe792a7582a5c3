"""What a controller is: which kinds concern it, how it looks, how it decides. The loop does everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from rayctl.core.metrics import Metrics
from rayctl.core.plan import Plan, Single
from rayctl.kube.calls import Resource

__all__ = [
    "Caches",
    "Controller",
    "Document",
    "Documents",
    "Key",
    "Measuring",
    "Refusal",
    "Watch",
    "owners_named",
    "same_name",
]

Document = Mapping[str, Any]
"""One object of the API. What comes from a cache must never be changed in place."""
Documents = Mapping[str, Any]
"""All that one decision rests on, as JSON: ``{"cluster": {…}, "pods": [{…}, …]}``, lists in a fixed order."""
Key = tuple[str, str]
"""Namespace and name of an object of the controller's own kind."""


class Caches(Protocol):
    """What has been seen of the kinds that a controller watches. Reading it costs no request."""

    def get(self, resource: Resource, namespace: str, name: str) -> Document | None:
        """Return an object, or None."""
        ...

    def all(self, resource: Resource, namespace: str = "") -> list[Document]:
        """Return all objects of a kind (of one namespace), by namespace and name."""
        ...

    def owned(self, resource: Resource, uid: str) -> list[Document]:
        """Return the objects that have an owner reference to this uid, by name."""
        ...

    def labelled(self, resource: Resource, label: str, value: str) -> list[Document]:
        """Return the objects with this label value, by namespace and name.

        Raises:
            KeyError: The controller's `Watch` of this kind does not name the label in ``labels``.
        """
        ...


@dataclass(frozen=True)
class Watch:
    """A kind that a controller looks at.

    Args:
        resource: The kind.
        keys: Which of the controller's own objects a change of this one concerns. Asked for the old and the new state.
        selector: Label selector, as in the API: only these objects are kept.
        labels: Labels whose values can be asked for (`Caches.labelled`).
        optional: Work begins although the kind is not there (yet); it counts as having no objects.
    """

    resource: Resource
    keys: Callable[[Document], Iterable[Key]]
    selector: str = ""
    labels: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class Refusal:
    """A write that the server refused for good: sending it again changes nothing.

    ``status``: 400, 403, 413, 422 …; ``reason``: the server's word; ``message``: its sentence. ``trouble``: it was not
    refused, it has failed for long (429, 5xx, no answer: 0), and may succeed at any time.
    """

    action: Single
    status: int
    reason: str
    message: str
    trouble: bool = False


class Controller(Protocol):
    """One kind's controller. It keeps no state of its own that matters; a new one goes on where this one ended.

    Attributes:
        name: In metrics, logs, the Lease and as field manager: ``raycluster-controller``.
        resource: Its own kind.
        watches: All kinds that `look` reads, its own among them.
    """

    name: str
    resource: Resource

    @property
    def watches(self) -> Sequence[Watch]:
        """All kinds that `look` reads."""
        ...

    async def look(self, key: Key, caches: Caches) -> Documents | None:
        """Return all that `plan` needs, or None if there is nothing (any more) to decide about.

        The caches are complete and at least as new as this controller's own last writes for this key. What else is
        asked (a Ray cluster's Serve API) gets a timeout, and its failure is a document like any other.
        """
        ...

    def plan(self, found: Documents, now: float) -> Plan:
        """Decide. Pure: the same documents and time give the same plan. ``now``: seconds since the epoch."""
        ...

    def refused(self, found: Documents, refusal: Refusal, now: float) -> Plan:
        """Return what is to be told about a refused write, or one that fails for long: usually a condition. Pure.

        The key comes back by itself, each time later; the plan needs no ``next_check_at``.
        """
        ...


@runtime_checkable
class Measuring(Protocol):
    """A controller that counts more than passes: what its own kind's objects went through."""

    def measure(self, old: Document, new: Document, metrics: Metrics) -> None:
        """Count what shows in a change of an object of the controller's own kind. Told to the leader alone, once."""
        ...


def same_name(document: Document) -> Iterable[Key]:
    """`Watch.keys` of a controller's own kind."""
    metadata = document["metadata"]
    return ((metadata.get("namespace", ""), metadata["name"]),)


def owners_named(kind: str) -> Callable[[Document], Iterable[Key]]:
    """`Watch.keys` of children: the owner of this kind, if there is one."""

    def keys(document: Document) -> Iterable[Key]:
        metadata = document["metadata"]
        owners = metadata.get("ownerReferences") or ()
        return [(metadata.get("namespace", ""), owner["name"]) for owner in owners if owner.get("kind") == kind]

    return keys
