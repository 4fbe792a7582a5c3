"""The one place that writes: performs a plan's actions in order, and says what became of each."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol

from rayctl.core.controller import Key, Refusal
from rayctl.core.plan import (
    FRESH_TOKEN,
    Apply,
    CallServe,
    Create,
    Delete,
    Emit,
    Patch,
    Plan,
    Ref,
    SetStatus,
    Single,
    Together,
)
from rayctl.kube.calls import MERGE, Call, Resource, Transport
from rayctl.kube.errors import (
    AlreadyExists,
    Denied,
    KubernetesError,
    LeaseLost,
    ObjectNotFound,
    Overloaded,
    Rejected,
    WriteConflict,
)
from rayctl.kube.kinds import kind_of
from rayctl.kube.own_writes import OwnWrites

__all__ = ["Ending", "Executor", "Outcome", "Result", "ServePort"]

_log = logging.getLogger(__name__)

AT_ONCE = 16
"""Requests of one group side by side."""


class ServePort(Protocol):
    """The way to the Serve API of Ray clusters."""

    async def call(self, cluster: Ref, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a request to a cluster, return the answer.

        Raises:
            RayctlError: It was not carried out, or nobody knows.
        """
        ...


class Ending(Enum):
    """How a pass ended.

    DONE: everything was done. AGAIN: the world is not as it was seen; look again. LATER: the server asked for time.
    REFUSED: the server refused a write for good. TROUBLE: it failed, or its outcome is unknown. LOST: the lease is not
    ours any more.
    """

    DONE = "done"
    AGAIN = "again"
    LATER = "later"
    REFUSED = "refused"
    TROUBLE = "trouble"
    LOST = "lost"


@dataclass(frozen=True)
class Result:
    """What became of one action: the answer's resourceVersion, or the error that it met."""

    action: Single
    revision: str = ""
    error: Exception | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a plan. ``results``: of the actions that were tried, in their order."""

    ending: Ending
    results: tuple[Result, ...] = ()
    refusal: Refusal | None = None
    error: Exception | None = None

    @property
    def retry_after_s(self) -> float | None:
        """When the server wants to be asked again."""
        return getattr(self.error, "retry_after_s", None)


class Executor:
    """Performs plans.

    Args:
        transport: The way to the server; fenced, if there is a lease.
        manager: The field manager: the controller's name.
        own_writes: Told of every write, so that the next look waits until it is seen.
        emit: Takes events; must not raise or wait.
        serve: The way to Ray clusters' Serve APIs; None: plans must not ask for it.
    """

    def __init__(
        self,
        transport: Transport,
        manager: str,
        own_writes: OwnWrites,
        emit: Callable[[Emit], None],
        serve: ServePort | None = None,
    ) -> None:
        self._transport, self._manager, self._own_writes = transport, manager, own_writes
        self._emit, self._serve = emit, serve

    async def perform(self, key: Key, plan: Plan) -> Outcome:
        """Perform a plan for a key. What the server answers is in the outcome; only defects are raised."""
        results: list[Result] = []
        for action in plan.actions:
            group = action.actions if isinstance(action, Together) else (action,)
            results.extend(await self._side_by_side(key, group))
            failed = [result for result in results if result.error is not None]
            if failed:
                return _ended(tuple(results), failed)
        return Outcome(Ending.DONE, tuple(results))

    async def _side_by_side(self, key: Key, actions: tuple[Single, ...]) -> list[Result]:
        if len(actions) == 1:
            return [await self._try(key, actions[0])]
        places = asyncio.Semaphore(AT_ONCE)

        async def one(action: Single) -> Result:
            async with places:
                return await self._try(key, action)

        return list(await asyncio.gather(*(one(action) for action in actions)))

    async def _try(self, key: Key, action: Single) -> Result:
        if isinstance(action, Emit):
            self._emit(action)
            return Result(action)
        try:
            if isinstance(action, CallServe):
                if self._serve is None:
                    raise RuntimeError(f"{self._manager} has no way to Serve APIs")
                await self._serve.call(action.cluster, action.request)
                return Result(action)
            if isinstance(action, Delete):
                await self._delete(key, action)
                return Result(action)
            return Result(action, await self._write(key, action))
        except KubernetesError as error:
            return Result(action, error=error)
        except Exception as error:
            if isinstance(action, CallServe) and self._serve is not None:
                return Result(action, error=error)
            raise

    async def _write(self, key: Key, action: Create | Apply | Patch | SetStatus) -> str:
        resource = kind_of(action.ref.api_version, action.ref.kind)
        answer = await self._transport.request(_call(action, resource, self._manager))
        self._own_writes.wrote(key, resource, answer, _now())
        revision = str(answer.get("metadata", {}).get("resourceVersion") or "")
        _log.info("written", extra={"action": type(action).__name__, "object": str(action.ref), "rv": revision})
        return revision

    async def _delete(self, key: Key, action: Delete) -> None:
        ref = action.ref
        resource = kind_of(ref.api_version, ref.kind)
        preconditions = {"uid": ref.uid, "resourceVersion": action.revision}
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": action.policy,
            "preconditions": {name: value for name, value in preconditions.items() if value},
        }
        if action.grace_s is not None:
            options["gracePeriodSeconds"] = action.grace_s
        with suppress(ObjectNotFound):  # as wanted
            await self._transport.request(Call("DELETE", resource.path(ref.namespace, ref.name), body=options))
        self._own_writes.deleted(key, resource, (ref.namespace, ref.name), ref.uid, _now())
        _log.info("written", extra={"action": "Delete", "object": str(ref)})


def _call(action: Create | Apply | Patch | SetStatus, resource: Resource, manager: str) -> Call:
    ref = action.ref
    if isinstance(action, Create):
        path = resource.path(ref.namespace)
        return Call("POST", path, body=_with_tokens(action.document)).asking(fieldManager=manager)
    path = resource.path(ref.namespace, ref.name)
    if isinstance(action, Apply):
        document = _with_metadata(action.document, resourceVersion=action.revision)
        return Call.apply(path, document, manager)
    if isinstance(action, Patch):
        changes = _with_metadata(action.changes, resourceVersion=action.revision, uid=ref.uid)
        return Call("PATCH", path, body=changes, content_type=MERGE).asking(fieldManager=manager)
    metadata = {"namespace": ref.namespace, "name": ref.name, "uid": ref.uid, "resourceVersion": action.revision}
    document = {
        "apiVersion": ref.api_version,
        "kind": ref.kind,
        "metadata": {name: value for name, value in metadata.items() if value},
        "status": action.status,
    }
    path = resource.path(ref.namespace, ref.name, "status")
    return Call("PUT", path, body=document).asking(fieldManager=manager)


def _with_tokens(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a Secret with what stands for tokens replaced by new ones; other documents as they are."""
    values = document.get("stringData") if document["kind"] == "Secret" else None
    if not values or FRESH_TOKEN not in values.values():
        return document
    drawn = {name: secrets.token_hex(32) if value == FRESH_TOKEN else value for name, value in values.items()}
    return {**document, "stringData": drawn}


def _with_metadata(document: Mapping[str, Any], **values: str) -> Mapping[str, Any]:
    added = {name: value for name, value in values.items() if value}
    return {**document, "metadata": {**(document.get("metadata") or {}), **added}} if added else document


def _now() -> float:
    return asyncio.get_running_loop().time()


_SEVERITY = (Ending.LOST, Ending.REFUSED, Ending.LATER, Ending.TROUBLE, Ending.AGAIN)


def _ended(results: tuple[Result, ...], failed: list[Result]) -> Outcome:
    """Return the outcome of a pass in which actions failed: the gravest failure counts."""
    endings = [(_ending(result), result) for result in failed]
    ending, result = min(endings, key=lambda pair: _SEVERITY.index(pair[0]))
    outcome = Outcome(ending, results, error=result.error)
    if ending is not Ending.REFUSED:
        return outcome
    error = result.error
    assert isinstance(error, KubernetesError)
    return replace(outcome, refusal=Refusal(result.action, error.status, error.reason, error.message))


def _ending(result: Result) -> Ending:
    error = result.error
    if isinstance(error, LeaseLost):
        return Ending.LOST
    if isinstance(error, Overloaded):
        return Ending.LATER
    if isinstance(error, (AlreadyExists, WriteConflict, ObjectNotFound)):
        # A create that finds no place (404) lacks its namespace: nothing that a second look would change.
        lacks = isinstance(error, ObjectNotFound) and isinstance(result.action, Create)
        return Ending.REFUSED if lacks else Ending.AGAIN
    if isinstance(error, Rejected) or (isinstance(error, Denied) and error.status == 403):
        return Ending.REFUSED
    return Ending.TROUBLE
