"""Carrying out what a caller asked for: with the version it is based on, as a trial if wanted, and once per key."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from rayctl.api.kube.documents import object_answer
from rayctl.api.kube.door import MANAGER, Door
from rayctl.api.kube.failures import precondition_failed
from rayctl.api.kube.kinds import Kind
from rayctl.core.steering import Steered
from rayctl.errors import Conflict, InvalidRequest
from rayctl.kube.calls import Call
from rayctl.kube.errors import WriteConflict, field_conflicts
from rayctl.views.operations import operation_id, under_way
from rayctl.views.summary import bare

__all__ = ["Decide", "Target", "carried_out", "changed", "created_or_applied", "deleted"]

Document = dict[str, Any]
Decide = Callable[[], "Steered | Awaitable[Steered]"]
"""Says which change it is to be."""


@dataclass(frozen=True)
class Target:
    """One object that is to be changed. ``based``: the version that the change is based on, if that was said."""

    door: Door
    kind: Kind
    namespace: str
    name: str
    based: str | None = None
    dry_run: bool = False

    @property
    def path(self) -> str:
        """Of the object, at the Kubernetes API."""
        return self.kind.resource.path(self.namespace, self.name)

    async def get(self) -> Document:
        """Return the object. Raises NotFound, and 412 where it is at another version than the caller's."""
        found = await self.door.get(self.kind.resource, self.namespace, self.name)
        if self.based is not None and found["metadata"]["resourceVersion"] != self.based:
            raise precondition_failed(self.based)
        return found

    async def send(self, call: Call) -> Document:
        """Send a change. Raises 412 instead of a conflict where the caller named a version."""
        try:
            # Unknown fields are told, not dropped; as kubectl has it.
            asked = call if call.method == "DELETE" else call.asking(fieldValidation="Strict")
            found: Document = await self.door.request(asked.asking(dryRun="All") if self.dry_run else asked)
        except Conflict as error:
            if self.based is not None and error.code == "object-changed":
                raise precondition_failed(self.based) from error
            raise
        return found


async def changed(target: Target, change: Steered) -> Document:
    """Make a change; return the object after it."""
    if target.based is not None:
        await target.get()  # a precondition inside the change would be answered like any other conflict
        change = change.based_on(target.based)
    return await target.send(change.call(target.path, MANAGER))


async def carried_out(target: Target, decide: Decide) -> Response:
    """Decide, make the change, answer with the object and the way to follow what it leads to."""
    found = decide()
    change = await found if inspect.isawaitable(found) else found
    document = await changed(target, change)
    _took(change, document)
    operation = operation_id("change", target.kind.word, document)
    headers = {"Location": f"/v1/operations/{operation}", "Retry-After": "1"}
    return object_answer(document, 202, headers, done=change.text, operation=operation, dry_run=target.dry_run)


def _took(change: Steered, document: Mapping[str, Any]) -> None:
    """Raise InvalidRequest if a field was dropped: a definition that does not have it drops it and says nothing."""
    wanted = (change.changes or {}).get("spec", {}).get("suspend")
    if wanted is not None and bool((document.get("spec") or {}).get("suspend")) != wanted:
        raise InvalidRequest(f"{document.get('kind')} cannot be suspended here.", code="no-suspend")


async def created_or_applied(target: Target, document: Document, force: bool = False, create: bool = False) -> Response:
    """Create an object, or apply it; answers 201 if it was not there."""
    if create:
        call = Call("POST", target.kind.resource.path(target.namespace), body=document, timeout_s=30.0)
        made = await target.send(call.asking(fieldManager=MANAGER))
        return object_answer(made, 201, _location(target), done="created", dry_run=target.dry_run)
    before = await target.door.find(target.kind.resource, target.namespace, target.name)
    if target.based is not None:
        if before is None or before["metadata"]["resourceVersion"] != target.based:
            raise precondition_failed(target.based)
        document = {**document, "metadata": {**document["metadata"], "resourceVersion": target.based}}
    call = replace(Call.apply(target.path, document, MANAGER, force), timeout_s=30.0)
    try:
        after = await target.send(call)
    except Conflict as error:
        if force or not _only_ours(error):
            raise
        # What was set by :scale or :suspend before: the newer word of the same people counts.
        after = await target.send(replace(Call.apply(target.path, document, MANAGER, True), timeout_s=30.0))
    if before is None:
        return object_answer(after, 201, _location(target), done="created", dry_run=target.dry_run)
    word = "unchanged" if _plain(before) == _plain(after) else "configured"
    return object_answer(after, done=word, dry_run=target.dry_run)


def _location(target: Target) -> dict[str, str]:
    return {"Location": f"/v1/{target.kind.word}/{target.name}?namespace={target.namespace}"}


def _only_ours(error: Conflict) -> bool:
    cause = error.__cause__
    owned = field_conflicts(cause) if isinstance(cause, WriteConflict) else []
    return bool(owned) and all(owner.split(" ")[0] == MANAGER for _, owner in owned)


def _plain(document: Mapping[str, Any]) -> Document:
    found = bare(document)
    for name in ("resourceVersion", "generation"):
        found["metadata"].pop(name, None)
    return {**found, "status": None}


async def deleted(target: Target, policy: str) -> Document:
    """Delete exactly the object that is there now; return the operation."""
    found = await target.get()
    preconditions = {"uid": found["metadata"]["uid"]}
    if target.based is not None:
        preconditions["resourceVersion"] = target.based
    body: Document = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}
    body["preconditions"] = preconditions
    if target.dry_run:
        body["dryRun"] = ["All"]  # where there is a body, the address does not count
    await target.send(Call("DELETE", target.path, body=body, timeout_s=30.0))
    operation = under_way(target.kind.word, found)
    return {**operation, "id": operation_id("delete", target.kind.word, found), "kind": "deletion", "state": "running"}
