"""What every change of one object comes with: who wants it, of which object, based on which version, once or again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path, Request
from starlette.responses import Response

from rayctl.api.auth import Principal
from rayctl.api.deps import Caller, IdempotencyKey
from rayctl.api.kube.changes import Decide, Target, carried_out
from rayctl.api.kube.deps import Based, DryRun, Namespace
from rayctl.api.kube.kinds import Kind
from rayctl.api.kube.scope import named_namespace, object_name

__all__ = ["Name", "Wish", "Wished"]

Name = Annotated[str, Path(description="The object's name.")]


@dataclass(frozen=True)
class Wish:
    """One request to change an object. ``key``: an idempotency key; ``based``: the version that it is based on."""

    request: Request
    name: str
    caller: Principal
    key: str | None
    based: str | None
    namespace: str | None
    dry_run: bool

    def target(self, kind: Kind, inside: str | None = None, dry_run: bool = False) -> Target:
        """Return the object, if this caller may name it. ``inside``: the namespace that a document says.

        Raises:
            NotFound: It is not the caller's to name.
        """
        where = named_namespace(self.caller, self.namespace or inside, kind.one, self.name)
        name = object_name(kind.one, self.name)
        return Target(self.request.app.state.door, kind, where, name, self.based, self.dry_run or dry_run)

    async def once(self, asked: Any, work: Callable[[], Awaitable[Response]]) -> Response:
        """Do the work, once per key. ``asked``: what tells this request from another, besides its address."""
        url = self.request.url
        told = [self.request.method, url.path, url.query, self.based, asked]
        found: Response = await self.request.app.state.memory.once(self.caller, self.key, told, work)
        return found

    async def steer(self, target: Target, decide: Decide, asked: Any = None) -> Response:
        """Decide on a change, make it, answer with the object and the way to follow what it leads to."""
        return await self.once(asked, lambda: carried_out(target, decide))


async def _wish(
    request: Request,
    name: Name,
    caller: Caller,
    key: IdempotencyKey,
    based: Based,
    namespace: Namespace = None,
    dry_run: DryRun = False,
) -> Wish:
    return Wish(request, name, caller, key, based, namespace, dry_run)


Wished = Annotated[Wish, Depends(_wish)]
