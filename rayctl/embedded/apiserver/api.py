"""What all verbs share: the store, the kinds, the clock, chance, and the checks that look at other objects."""

from __future__ import annotations

import logging
import random
import sqlite3
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from rayctl.embedded.apiserver.errors import ApiError, forbidden, not_found
from rayctl.embedded.apiserver.resources import Resource
from rayctl.embedded.apiserver.store import Change, Store, Stored

if TYPE_CHECKING:
    from rayctl.embedded.apiserver.registry import Registry

__all__ = ["Answer", "Api", "Gate"]


class Gate(Protocol):
    """A check before something is stored; raises `ApiError` to refuse."""

    def __call__(self, resource: Resource, new: Mapping[str, Any], old: Mapping[str, Any] | None) -> None: ...


@dataclass
class Answer:
    """What a verb gives: an object (or a Status), and what the client should be warned of.

    ``stored``: the stored object if the answer is exactly that.
    """

    code: int
    document: dict[str, Any]
    resource: Resource | None = None
    stored: Stored | None = None
    warnings: list[str] = field(default_factory=list)


class Api:
    """State and helpers of the verbs.

    Args:
        store: All objects.
        registry: All kinds.
        now: Wall clock, seconds since the epoch.
        chance: Source of names and uids.

    Attributes:
        trouble: Why the last write failed; empty if it did not.
    """

    def __init__(
        self, store: Store, registry: Registry, now: Callable[[], float], chance: random.Random | None = None
    ) -> None:
        self.store = store
        self.registry = registry
        self.now = now
        self.trouble = ""
        self._chance = chance
        self.gates: list[Gate] = []

    def choose(self, letters: str) -> str:
        """Return one of the letters."""
        return (self._chance or _SYSTEM).choice(letters)

    def new_uid(self) -> str:
        """Return a new UUID."""
        if self._chance is None:
            return str(uuid.uuid4())
        return str(uuid.UUID(int=self._chance.getrandbits(128), version=4))

    def check_gates(self, resource: Resource, new: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
        """Let quotas and the like refuse.

        Raises:
            ApiError: 403.
        """
        for gate in self.gates:
            gate(resource, new, old)

    def check_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        """Check that something new may come into a namespace.

        Raises:
            ApiError: 404 or 403.
        """
        if not resource.namespaced:
            return
        found = self.store.newest("namespaces", "", namespace)
        if found is None:
            raise not_found("", "namespaces", namespace)
        if found.object["metadata"].get("deletionTimestamp"):
            text = f"unable to create new content in namespace {namespace} because it is being terminated"
            error = forbidden(resource.group, resource.plural, name, text)
            assert error.details is not None
            error.details["causes"] = [
                {
                    "reason": "NamespaceTerminating",
                    "message": f"namespace {namespace} is being terminated",
                    "field": "metadata.namespace",
                }
            ]
            raise error

    async def write(self, change: Change) -> Stored:
        """Write a change and wait until nobody can lose it.

        Raises:
            ApiError: 500 if the disk refuses.
        """
        if change.object is not None:
            # First in the text, so that lists of built-in kinds can leave both out without parsing.
            names = {"apiVersion": change.object["apiVersion"], "kind": change.object["kind"]}
            change = Change(change.key, {**names, **change.object})
        try:
            stored, settled = self.store.write(change)
            if settled is not None:
                await settled
        except sqlite3.Error as error:
            self.trouble = f"the store cannot be written: {error}"
            _log.error("%s (is the disk full?)", self.trouble)
            raise ApiError(500, "InternalError", f"Internal error occurred: {self.trouble}") from error
        self.trouble = ""
        return stored


_log = logging.getLogger(__name__)
_SYSTEM = random.SystemRandom()
