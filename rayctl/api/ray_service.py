"""The port over Ray: `RayService` awaits the methods of the `automl-proxy` actor.

The only file of the API that knows Ray. It gives back rayctl's own errors, bounds every call in time, and repeats a
call once when the actor was away and doing it twice is the same as doing it once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from ray.exceptions import ActorDiedError, RayError, RayTaskError

from rayctl.errors import DeadlineExceeded, RayctlError, Unavailable

__all__ = ["RayService"]

_LOG = logging.getLogger("rayctl.api")

_READ_S = 30.0
_WORK_S = 600.0  # calls that move or check data, or run a model
_RETRY_PAUSE_S = 1.0
_WATCH_POLL_S = 15.0


class RayService:
    """`rayctl.automl.port.AutoMLService` over an actor handle.

    Args:
        find: Returns the actor's handle, creating the actor if it is gone. May block; it is called in a thread.
    """

    def __init__(self, find: Callable[[], Any]) -> None:
        self._find = find
        self._handle: Any = None
        self._finding = asyncio.Lock()

    async def _actor(self) -> Any:
        async with self._finding:
            if self._handle is None:
                try:
                    self._handle = await asyncio.to_thread(self._find)
                except RayError as exc:
                    _LOG.warning("the proxy actor cannot be reached: %s", type(exc).__name__)
                    raise _away() from exc
            return self._handle

    async def _call(self, method: str, *args: Any, idempotent: bool, timeout_s: float = _READ_S, **kwargs: Any) -> Any:
        try:
            return await self._once(method, args, kwargs, timeout_s)
        except _ActorAwayError as exc:
            if not idempotent:
                raise _away(maybe_done=True) from exc
        await asyncio.sleep(_RETRY_PAUSE_S)  # a restart takes about a second
        try:
            return await self._once(method, args, kwargs, timeout_s)
        except _ActorAwayError as exc:
            raise _away() from exc

    async def _once(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout_s: float) -> Any:
        handle = await self._actor()

        async def answer() -> Any:
            return await getattr(handle, method).remote(*args, **kwargs)

        try:
            return await asyncio.wait_for(answer(), timeout_s)
        except asyncio.TimeoutError:
            raise DeadlineExceeded(
                "The AutoML service did not answer in time.",
                hint="It may still do what was asked; look before you repeat it, or use an idempotency key.",
                retry_after_s=5,
            ) from None
        except RayTaskError as exc:
            if isinstance(exc.cause, RayctlError):
                raise exc.cause from None
            _LOG.error("%s failed in the proxy actor:\n%s", method, exc)  # its text is the traceback over there
            raise RayctlError("The AutoML service failed unexpectedly.") from exc
        except RayError as exc:
            _LOG.warning("%s: the proxy actor is away: %s", method, type(exc).__name__)
            if isinstance(exc, ActorDiedError) and self._handle is handle:
                self._handle = None  # dead for good; the next call finds or makes a new one
            raise _ActorAwayError from exc

    async def do_auto_ml(
        self, request: dict[str, Any], data: Any = None, idempotency_key: str | None = None, via: str = "ray"
    ) -> str:
        """See the port. Repeated after a loss only with an idempotency key."""
        return str(
            await self._call(
                "do_auto_ml",
                request,
                data,
                idempotency_key=idempotency_key,
                via=via,
                idempotent=idempotency_key is not None,
                timeout_s=_WORK_S,
            )
        )

    async def upload(self, data: bytes, format: str | None = None, tenant: str = "default") -> dict[str, Any]:
        """See the port."""
        return await self._call("upload", data, format=format, tenant=tenant, idempotent=False, timeout_s=_WORK_S)

    async def get_run(self, run_id: str, tenant: str | None = None) -> dict[str, Any]:
        """See the port."""
        return await self._call("get_run", run_id, tenant=tenant, idempotent=True)

    async def list_runs(
        self, tenant: str | None = None, state: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> dict[str, Any]:
        """See the port."""
        return await self._call("list_runs", tenant=tenant, state=state, limit=limit, cursor=cursor, idempotent=True)

    async def leaderboard(
        self, run_id: str, limit: int | None = None, tenant: str | None = None
    ) -> list[dict[str, Any]]:
        """See the port."""
        return await self._call("leaderboard", run_id, limit=limit, tenant=tenant, idempotent=True)

    async def get_result(self, run_id: str, wait_s: float = 0.0, tenant: str | None = None) -> dict[str, Any]:
        """See the port."""
        timeout_s = _READ_S + wait_s
        return await self._call(
            "get_result", run_id, wait_s=wait_s, tenant=tenant, idempotent=True, timeout_s=timeout_s
        )

    async def events(
        self, run_id: str, after: int = 0, wait_s: float = 0.0, limit: int = 500, tenant: str | None = None
    ) -> list[dict[str, Any]]:
        """See the port."""
        timeout_s = _READ_S + wait_s
        return await self._call(
            "events",
            run_id,
            after=after,
            wait_s=wait_s,
            limit=limit,
            tenant=tenant,
            idempotent=True,
            timeout_s=timeout_s,
        )

    async def watch(self, run_id: str, after: int = 0, tenant: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """See the port. Made of long-polls: nothing streams out of an actor, so nothing is left behind in it."""
        while True:
            for event in await self.events(run_id, after=after, wait_s=_WATCH_POLL_S, tenant=tenant):
                after = event["seq"]
                yield event
                if event["kind"] == "done":
                    return

    async def cancel(self, run_id: str, tenant: str | None = None) -> dict[str, Any]:
        """See the port."""
        return await self._call("cancel", run_id, tenant=tenant, idempotent=True)

    async def finish_early(self, run_id: str, tenant: str | None = None) -> dict[str, Any]:
        """See the port."""
        return await self._call("finish_early", run_id, tenant=tenant, idempotent=True)

    async def extend(
        self,
        run_id: str,
        time_budget_s: float | None = None,
        max_trials: int | None = None,
        tenant: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """See the port. Repeated after a loss only with an idempotency key."""
        return str(
            await self._call(
                "extend",
                run_id,
                time_budget_s,
                max_trials,
                tenant=tenant,
                idempotency_key=idempotency_key,
                idempotent=idempotency_key is not None,
            )
        )

    async def replay(self, run_id: str, tenant: str | None = None, idempotency_key: str | None = None) -> str:
        """See the port. Repeated after a loss only with an idempotency key."""
        idempotent = idempotency_key is not None
        return str(
            await self._call("replay", run_id, tenant=tenant, idempotency_key=idempotency_key, idempotent=idempotent)
        )

    async def report(self, run_id: str, tenant: str | None = None) -> list[dict[str, Any]]:
        """See the port."""
        return await self._call("report", run_id, tenant=tenant, idempotent=True, timeout_s=_WORK_S)

    async def delete_run(self, run_id: str, tenant: str | None = None) -> None:
        """See the port. Not repeated: the second time would say that there is no such run."""
        await self._call("delete_run", run_id, tenant=tenant, idempotent=False)

    async def artifact(
        self, run_id: str, name: str, offset: int = 0, length: int | None = None, tenant: str | None = None
    ) -> bytes:
        """See the port."""
        return await self._call(
            "artifact", run_id, name, offset=offset, length=length, tenant=tenant, idempotent=True, timeout_s=_WORK_S
        )

    async def predict(
        self, run_id: str, data: Any = None, proba: bool = False, format: str | None = None, tenant: str | None = None
    ) -> Any:
        """See the port."""
        return await self._call(
            "predict", run_id, data, proba=proba, format=format, tenant=tenant, idempotent=True, timeout_s=_WORK_S
        )

    async def deploy(self, run_id: str, name: str | None = None, tenant: str | None = None) -> dict[str, Any]:
        """See the port."""
        return await self._call("deploy", run_id, name=name, tenant=tenant, idempotent=False, timeout_s=_WORK_S)

    async def undeploy(self, name: str, tenant: str | None = None) -> None:
        """See the port."""
        await self._call("undeploy", name, tenant=tenant, idempotent=False, timeout_s=_WORK_S)

    async def list_deployments(self, tenant: str | None = None) -> list[dict[str, Any]]:
        """See the port."""
        return await self._call("list_deployments", tenant=tenant, idempotent=True)

    async def info(self) -> dict[str, Any]:
        """See the port."""
        return await self._call("info", idempotent=True)

    async def put_tenant(
        self,
        document: Mapping[str, Any] | bytes,
        expected: int | None = None,
        author: str = "",
        note: str = "",
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """See `rayctl.tenancy.port`. Repeated after a loss only if that cannot undo what somebody else wrote."""
        sent: dict[str, Any] = {"expected": expected, "author": author, "note": note, "dry_run": dry_run}
        return await self._call("put_tenant", document, **sent, idempotent=expected is not None or dry_run)

    async def get_tenant(self, name: str, version: int | None = None) -> dict[str, Any]:
        """See `rayctl.tenancy.port`."""
        return await self._call("get_tenant", name, version, idempotent=True)

    async def list_tenants(self, name: str | None = None) -> list[dict[str, Any]]:
        """See `rayctl.tenancy.port`."""
        return await self._call("list_tenants", name, idempotent=True)

    async def tenant_history(self, name: str) -> list[dict[str, Any]]:
        """See `rayctl.tenancy.port`."""
        return await self._call("tenant_history", name, idempotent=True)

    async def rollback_tenant(
        self, name: str, version: int, expected: int | None = None, author: str = "", note: str = ""
    ) -> dict[str, Any]:
        """See `rayctl.tenancy.port`. Repeated like `put_tenant`."""
        sent: dict[str, Any] = {"expected": expected, "author": author, "note": note}
        return await self._call("rollback_tenant", name, version, **sent, idempotent=expected is not None)

    async def delete_tenant(self, name: str) -> None:
        """See `rayctl.tenancy.port`. Not repeated: the second time would say that there is no such tenant."""
        await self._call("delete_tenant", name, idempotent=False)


class _ActorAwayError(Exception):
    """The actor did not answer, and whether it did what was asked is not known. Never leaves this module."""


def _away(maybe_done: bool = False) -> Unavailable:
    return Unavailable(
        "The AutoML service is restarting.",
        hint="It may have done what was asked; look before you repeat it." if maybe_done else "Try again shortly.",
        retry_after_s=2,
    )
