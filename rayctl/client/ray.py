"""The service over Ray: calls of the ``automl-proxy`` actor, through Ray Client or from inside the cluster."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

from rayctl.automl.port import PROXY_NAME, RAY_NAMESPACE
from rayctl.client.address import Address
from rayctl.client.data import for_ray
from rayctl.client.retry import retrying
from rayctl.client.transport import Document
from rayctl.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    RayctlError,
    ServerUnreachable,
    Unavailable,
)

__all__ = ["RayTransport", "open_ray"]

_CONNECT_TRIES = 5
_CLIENT_CONNECT_S = 100.0
"""A connect that the server loses costs half a minute before Ray says so; this leaves time for two of them."""
_CALL_TRIES = 7  # about 12 s in all: an actor that restarts on a busy machine takes some seconds
_LOG_LEVEL = "ERROR"  # Ray warns that it cannot handle signals in the thread that connects; it need not
_EVENTS_WAIT_S = 20.0
_BUILD_S = 600.0
_PIECE = 8 * 1024 * 1024


class RayTransport:
    """`Transport` by actor calls.

    Args:
        handle: Handle of the proxy actor.
        timeout_s: Seconds after which a call gives up.
        tenant: Sent with each call, so that the caller sees this tenant's runs only; None sees all.
        on_close: Called by `close`, for connections that were made for this client.
        find: Looks the actor up again after it died; None where it is not there.
    """

    kind: Literal["ray"] = "ray"

    def __init__(
        self,
        handle: Any,
        timeout_s: float = 30.0,
        tenant: str | None = None,
        on_close: Callable[[], None] | None = None,
        find: Callable[[], Any] | None = None,
    ) -> None:
        self._find = find
        self._handle = handle
        self._timeout_s = timeout_s
        self._tenant = tenant
        self._on_close = on_close

    def close(self) -> None:
        if self._on_close is not None:
            on_close, self._on_close = self._on_close, None
            on_close()

    def submit(self, request: Document, data: Any, idempotency_key: str) -> Document:
        run_id = self._call("do_auto_ml", request, for_ray(data), idempotency_key)
        return self.get_run(run_id)

    def get_run(self, run_id: str) -> Document:
        return self._call("get_run", run_id, tenant=self._tenant)

    def list_runs(
        self, *, tenant: str | None = None, state: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Document:
        return self._call("list_runs", tenant=tenant or self._tenant, state=state, limit=limit, cursor=cursor)

    def leaderboard(self, run_id: str, limit: int | None = None) -> list[Document]:
        return self._call("leaderboard", run_id, limit=limit, tenant=self._tenant)

    def result(self, run_id: str, wait_s: float = 0.0) -> Document:
        return self._call("get_result", run_id, wait_s=wait_s, tenant=self._tenant, extra_s=wait_s)

    def cancel(self, run_id: str) -> Document:
        return self._call("cancel", run_id, tenant=self._tenant)

    def finish(self, run_id: str) -> Document:
        return self._call("finish_early", run_id, tenant=self._tenant)

    def extend(
        self, run_id: str, time_budget_s: float | None, max_trials: int | None, idempotency_key: str
    ) -> Document:
        sent: dict[str, Any] = {"tenant": self._tenant, "idempotency_key": idempotency_key}
        return self.get_run(self._call("extend", run_id, time_budget_s, max_trials, **sent))

    def replay(self, run_id: str, idempotency_key: str) -> Document:
        sent: dict[str, Any] = {"tenant": self._tenant, "idempotency_key": idempotency_key}
        return self.get_run(self._call("replay", run_id, **sent))

    def report_files(self, run_id: str) -> list[Document]:
        return self._call("report", run_id, tenant=self._tenant, extra_s=_BUILD_S)

    def delete(self, run_id: str) -> None:
        attempts = 0

        def once(attempt: int) -> None:
            nonlocal attempts
            attempts = attempt
            self._once("delete_run", (run_id,), {"tenant": self._tenant}, self._timeout_s)

        try:
            retrying(once, may_repeat=_perhaps_executed)
        except NotFound:
            if attempts == 0:
                raise  # on a repetition it means that the first one, whose answer was lost, did it

    def artifacts(self, run_id: str) -> list[Document]:
        return list(self.result(run_id).get("artifacts", []))

    def artifact(self, run_id: str, name: str) -> Iterator[bytes]:
        offset = 0
        while True:
            piece = self._call("artifact", run_id, name, offset=offset, length=_PIECE, tenant=self._tenant)
            if piece:
                yield piece
            if len(piece) < _PIECE:
                return
            offset += len(piece)

    def events(self, run_id: str, after: int = 0) -> Iterator[Document]:
        # Long polls instead of the actor's stream: streaming generators do not work through Ray Client.
        while True:
            batch = self._call(
                "events", run_id, after=after, wait_s=_EVENTS_WAIT_S, tenant=self._tenant, extra_s=_EVENTS_WAIT_S
            )
            for event in batch:
                after = event["seq"]
                yield event
                if event["kind"] == "done":
                    return
            if not batch:
                return  # the caller decides whether the run goes on

    def predict(self, run_id: str, data: Any, proba: bool = False) -> Any:
        return self._call("predict", run_id, for_ray(data), proba=proba, tenant=self._tenant)

    def deploy(self, run_id: str, name: str | None = None) -> Document:
        return self._call("deploy", run_id, name=name, tenant=self._tenant, repeat=False)

    def undeploy(self, name: str) -> None:
        self._call("undeploy", name, tenant=self._tenant)

    def deployments(self) -> list[Document]:
        return self._call("list_deployments", tenant=self._tenant)

    def info(self) -> Document:
        return self._call("info")

    def put_tenant(
        self, name: str, document: Document | bytes, expected: int | None, author: str, note: str, dry_run: bool
    ) -> Document:
        if not isinstance(document, bytes):
            document = {**document, "tenant": name}
        repeat = expected is not None or dry_run
        sent: dict[str, Any] = {"expected": expected, "author": author, "note": note, "dry_run": dry_run}
        return self._call("put_tenant", document, repeat=repeat, **sent)

    def get_tenant(self, name: str, version: int | None = None) -> Document:
        return self._call("get_tenant", name, version)

    def list_tenants(self) -> list[Document]:
        return self._call("list_tenants")

    def tenant_history(self, name: str) -> list[Document]:
        return self._call("tenant_history", name)

    def rollback_tenant(self, name: str, version: int, expected: int | None, author: str, note: str) -> Document:
        sent: dict[str, Any] = {"expected": expected, "author": author, "note": note}
        return self._call("rollback_tenant", name, version, repeat=expected is not None, **sent)

    def delete_tenant(self, name: str) -> None:
        self._call("delete_tenant", name, repeat=False)

    def _call(self, method: str, *args: Any, extra_s: float = 0.0, repeat: bool = True, **kwargs: Any) -> Any:
        timeout_s = self._timeout_s + extra_s

        def once(attempt: int) -> Any:
            if attempt and self._find is not None:
                self._handle = self._find() or self._handle
            return self._once(method, args, kwargs, timeout_s)

        return retrying(once, may_repeat=_perhaps_executed if repeat else _no, attempts=_CALL_TRIES)

    @property
    def has_service(self) -> bool:
        """Whether the cluster runs a rayctl service."""
        return self._handle is not None

    def _once(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout_s: float) -> Any:
        import ray

        if self._handle is None:
            raise _no_service("this address")
        try:
            return ray.get(getattr(self._handle, method).remote(*args, **kwargs), timeout=timeout_s)
        except RayctlError as error:
            raise _unwrapped(error) from None
        except Exception as error:
            raise _translated(error, method, timeout_s) from error


def _no(error: RayctlError) -> bool:
    return False


def _perhaps_executed(error: RayctlError) -> bool:
    """Ray lost the answer, or the actor restarts; whoever repeats must be idempotent."""
    return isinstance(error, Unavailable)


def _unwrapped(error: RayctlError) -> RayctlError:
    """Ray raises a class that is both its own error and the cause's; callers want the cause."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, RayctlError) else error


def _translated(error: Exception, method: str, timeout_s: float) -> RayctlError:
    from ray import exceptions

    cause = getattr(error, "cause", None)
    if isinstance(cause, RayctlError):
        return cause
    if isinstance(error, exceptions.GetTimeoutError):
        return DeadlineExceeded(
            f"The service did not answer {method} within {timeout_s:g} s.", hint="Try again, or raise timeout_s."
        )
    if isinstance(error, exceptions.ActorDiedError):
        return Unavailable(f"The service's actor has ended: {_line(error)}", code="actor-died", hint="Run `rayctl up`.")
    if isinstance(error, (exceptions.RayActorError, exceptions.ActorUnavailableError)):
        return Unavailable("The service's actor is restarting.", code="actor-unavailable", hint="Try again.")
    if isinstance(error, ConnectionError):
        return ServerUnreachable(
            f"The connection to Ray is gone: {_line(error)}", code="connection-lost", hint="Call connect() again."
        )
    if isinstance(error, exceptions.RayTaskError):
        return RayctlError(f"{method} failed in the service: {type(cause or error).__name__}: {_line(cause or error)}")
    return RayctlError(f"{method} failed: {type(error).__name__}: {_line(error)}")


def _line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def open_ray(address: Address, timeout_s: float, tenant: str | None, *, needs_service: bool = True) -> RayTransport:
    """Join the cluster at ``address`` and find the service there.

    Raises:
        ServerUnreachable: no cluster, or (if it is needed) no service in it.
        InvalidRequest: this process is connected to another cluster already.
    """
    was_imported = "ray" in sys.modules
    for name, value in address.ray_env.items():
        os.environ.setdefault(name, value)
    import ray

    if was_imported and address.ray_env and not ray.is_initialized():
        _read_environment_again()
    if address.kind == "ray-client":
        opened = _join_as_client(ray, address.url, timeout_s)
    else:
        opened = _join_directly(ray, address.url, timeout_s)
    on_close = ray.shutdown if opened else None
    try:
        handle = ray.get_actor(PROXY_NAME, namespace=RAY_NAMESPACE)
    except ValueError:
        if needs_service:
            if on_close is not None:
                on_close()
            raise _no_service(address.url) from None
        handle = None
    return RayTransport(handle, timeout_s, tenant, on_close, find=_find_actor)


def _no_service(where: str) -> ServerUnreachable:
    return ServerUnreachable(
        f"The Ray cluster at {where} runs no rayctl service (no actor {PROXY_NAME}).",
        code="no-service",
        hint="Start it there with `rayctl up`.",
    )


def _read_environment_again() -> None:
    """Ray reads its authentication settings when it is imported; here they were set after that."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _find_actor() -> Any:
    """Look the proxy up again: one that was replaced has another identity, and its old handle stays dead."""
    import ray

    try:
        return ray.get_actor(PROXY_NAME, namespace=RAY_NAMESPACE)
    except ValueError:
        return None


def _join_directly(ray: Any, url: str, timeout_s: float) -> bool:
    if ray.is_initialized():
        return False
    try:
        _within(
            lambda: ray.init(address=url, namespace=RAY_NAMESPACE, log_to_driver=False, logging_level=_LOG_LEVEL),
            time.monotonic() + timeout_s,
            url,
        )
    except ConnectionError as error:
        raise _no_cluster(url, error) from error
    return True


def _join_as_client(ray: Any, url: str, timeout_s: float) -> bool:
    from ray.util import client

    if client.ray.is_connected():
        current = getattr(client.ray.get_context().client_worker, "_conn_str", None)
        if current == url.removeprefix("ray://"):
            return False
        raise InvalidRequest(
            "This process is connected to another Ray cluster already.",
            code="connected-elsewhere",
            hint="Call ray.shutdown() first, or connect over HTTP.",
        )
    if ray.is_initialized():
        raise InvalidRequest(
            "This process is a driver of a Ray cluster and cannot be a Ray client as well.",
            code="connected-elsewhere",
            hint="Use connect('auto') for the cluster it belongs to, or connect over HTTP.",
        )
    deadline = time.monotonic() + max(timeout_s, _CLIENT_CONNECT_S)

    def once(attempt: int) -> None:
        try:
            _within(lambda: ray.init(url, namespace=RAY_NAMESPACE, logging_level=_LOG_LEVEL), deadline, url)
        except ConnectionAbortedError as error:
            # The server forks a process per client, and about one fork in ten dies at once; the next one works.
            raise Unavailable(f"Ray refused the connection: {_line(error)}", code="connect-aborted") from error
        except ConnectionError as error:
            raise _no_cluster(url, error) from error

    retrying(once, may_repeat=_perhaps_executed, attempts=_CONNECT_TRIES)
    return True


def _no_cluster(url: str, error: Exception) -> ServerUnreachable:
    return ServerUnreachable(f"No Ray cluster answers at {url}: {_line(error)}", hint="Run `rayctl up`, or use HTTP.")


def _within(call: Callable[[], Any], deadline: float, url: str) -> None:
    """Run ``call`` with a deadline (monotonic), which Ray does not have. A late one is left behind in its thread."""
    outcome: list[BaseException | None] = []

    def run() -> None:
        try:
            call()
            outcome.append(None)
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, name="rayctl-connect", daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if not outcome:
        raise ServerUnreachable(
            f"No Ray cluster answered at {url} in time.",
            code="connect-timeout",
            hint="Run `rayctl up`, or use the service's HTTP address.",
        )
    if outcome[0] is not None:
        raise outcome[0]
