"""The service over HTTP. The main door: needs no Ray, no Kubernetes and no data frame library."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import httpx2

from rayctl import __version__
from rayctl.client.data import ARROW_STREAM, CSV, Payload, for_http
from rayctl.client.retry import Patience, is_outage, retrying
from rayctl.client.sse import events_of, named_events
from rayctl.client.transport import Document
from rayctl.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    RayctlError,
    ServerUnreachable,
    Unavailable,
    from_problem,
)

__all__ = ["HttpTransport"]

_CONNECT_S = 10.0
_STREAM_IDLE_S = 60.0  # the server sends a comment every 15 s; four missing ones mean the line is dead
_MAX_WAIT_S = 30.0
_BUILD_S = 300.0  # a report is built when it is asked for


class HttpTransport:
    """`Transport` over HTTP.

    Args:
        url: Base address of the service.
        token: Bearer token, or None.
        timeout_s: Seconds without an answer after which a call gives up.
        hint: What to do when nothing answers at ``url``.
    """

    kind: Literal["http"] = "http"

    def __init__(self, url: str, token: str | None = None, timeout_s: float = 30.0, hint: str | None = None) -> None:
        headers = {"User-Agent": f"rayctl/{__version__}", "Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._url = url
        self._hint = hint or "Check the address and that the service runs."
        self._timeout_s = timeout_s
        self._client = httpx2.Client(
            base_url=url,
            headers=headers,
            timeout=httpx2.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            trust_env=not _is_loopback(url),  # a company's proxy cannot reach this machine's own service
        )

    def close(self) -> None:
        self._client.close()

    def submit(self, request: Document, data: Any, idempotency_key: str) -> Document:
        headers = {"Idempotency-Key": idempotency_key}
        if data is None:
            return self._json("POST", "/v1/runs", repeat=True, json=request, headers=headers)
        payload = for_http(data)

        def send() -> httpx2.Response:
            with payload.open() as stream:  # anew for each attempt
                return self._client.post(
                    "/v1/runs",
                    data={"request": json.dumps(request)},
                    files={"data": (payload.filename, stream, payload.content_type)},
                    headers=headers,
                )

        return self._document(self._repeating(send, repeat=True))

    def get_run(self, run_id: str) -> Document:
        return self._json("GET", _run(run_id))

    def list_runs(
        self, *, tenant: str | None = None, state: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Document:
        params = {"tenant": tenant, "state": state, "limit": limit, "cursor": cursor}
        found = self._json("GET", "/v1/runs", params=params)
        return found if isinstance(found, dict) else {"items": found, "next": None}

    def leaderboard(self, run_id: str, limit: int | None = None) -> list[Document]:
        return _items(self._json("GET", f"{_run(run_id)}/leaderboard", params={"limit": limit}))

    def result(self, run_id: str, wait_s: float = 0.0) -> Document:
        wait = max(0.0, min(wait_s, _MAX_WAIT_S))
        return self._json("GET", f"{_run(run_id)}/result", params={"wait": wait or None}, read_s=wait + self._timeout_s)

    def cancel(self, run_id: str) -> Document:
        return self._json("POST", f"{_run(run_id)}:cancel", repeat=True)

    def finish(self, run_id: str) -> Document:
        return self._json("POST", f"{_run(run_id)}:finish", repeat=True)

    def extend(
        self, run_id: str, time_budget_s: float | None, max_trials: int | None, idempotency_key: str
    ) -> Document:
        budget = {"time_budget": time_budget_s, "max_trials": max_trials}
        given = {name: value for name, value in budget.items() if value is not None}
        headers = {"Idempotency-Key": idempotency_key}
        return self._json("POST", f"{_run(run_id)}:extend", repeat=True, json=given, headers=headers)

    def replay(self, run_id: str, idempotency_key: str) -> Document:
        headers = {"Idempotency-Key": idempotency_key}
        return self._json("POST", f"{_run(run_id)}:replay", repeat=True, headers=headers)

    def report_files(self, run_id: str) -> list[Document]:
        return _items(self._json("GET", f"{_run(run_id)}/report/files", read_s=self._timeout_s + _BUILD_S))

    def delete(self, run_id: str) -> None:
        self._delete(_run(run_id))

    def artifacts(self, run_id: str) -> list[Document]:
        return _items(self._json("GET", f"{_run(run_id)}/artifacts"))

    def artifact(self, run_id: str, name: str) -> Iterator[bytes]:
        if any(part in ("", ".", "..") for part in name.split("/")):
            hint = "Give a name from the list of its files, without a path."
            raise NotFound(f"A run has no file {name!r}.", code="artifact-not-found", hint=hint)
        with self._streaming("GET", f"{_run(run_id)}/artifacts/{quote(name)}") as response:
            yield from response.iter_bytes()

    def events(self, run_id: str, after: int = 0) -> Iterator[Document]:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if after:
            headers["Last-Event-ID"] = str(after)
        timeout = httpx2.Timeout(_STREAM_IDLE_S, connect=min(_CONNECT_S, self._timeout_s))
        with self._streaming("GET", f"{_run(run_id)}/events", headers=headers, timeout=timeout) as response:
            yield from events_of(response, run_id)

    def predict(self, run_id: str, data: Any, proba: bool = False) -> Any:
        import pyarrow as pa

        payload = for_http(data) if data is not None else Payload(CSV, content=b"")
        headers = {"Accept": ARROW_STREAM}
        if data is not None:
            headers["Content-Type"] = payload.content_type
        params = {"proba": "true"} if proba else {}
        content = payload.read()
        path = f"{_run(run_id)}:predict"
        response = self._repeating(
            lambda: self._client.post(path, content=content, headers=headers, params=params), repeat=True
        )
        try:
            return pa.ipc.open_stream(response.content).read_all()
        except pa.ArrowException as error:
            raise RayctlError(f"The predictions cannot be read: {error}", code="bad-answer") from error

    def deploy(self, run_id: str, name: str | None = None) -> Document:
        return self._json("POST", f"{_run(run_id)}:deploy", json={"name": name} if name else {})

    def undeploy(self, name: str) -> None:
        self._delete(f"/v1/deployments/{quote(name, safe='')}")

    def deployments(self) -> list[Document]:
        return _items(self._json("GET", "/v1/deployments"))

    def info(self) -> Document:
        return self._json("GET", "/v1/info")

    def put_tenant(
        self, name: str, document: Document | bytes, expected: int | None, author: str, note: str, dry_run: bool
    ) -> Document:
        params = {"author": author or None, "note": note or None, "dry_run": "true" if dry_run else None}
        headers = _based_on(expected)
        path, repeat = _tenant(name), expected is not None or dry_run
        if not isinstance(document, bytes):
            return self._json("PUT", path, repeat=repeat, params=params, json=document, headers=headers)
        headers["Content-Type"] = "application/vnd.rayctl.envelope"
        given = {key: value for key, value in params.items() if value is not None}
        response = self._repeating(
            lambda: self._client.put(path, content=document, headers=headers, params=given), repeat=repeat
        )
        return self._document(response)

    def get_tenant(self, name: str, version: int | None = None) -> Document:
        return self._json("GET", _tenant(name), params={"version": version})

    def list_tenants(self) -> list[Document]:
        return _items(self._json("GET", "/v1/tenants"))

    def tenant_history(self, name: str) -> list[Document]:
        return _items(self._json("GET", f"{_tenant(name)}/history"))

    def rollback_tenant(self, name: str, version: int, expected: int | None, author: str, note: str) -> Document:
        params = {"version": version, "author": author or None, "note": note or None}
        headers, repeat = _based_on(expected), expected is not None
        return self._json("POST", f"{_tenant(name)}:rollback", repeat=repeat, params=params, headers=headers)

    def delete_tenant(self, name: str) -> None:
        self._delete(_tenant(name))

    def version(self) -> Document:
        """Return the service's versions; the only call besides health that needs no token."""
        return self._json("GET", "/version")

    def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        sent: Callable[[], None] = lambda: None,
    ) -> Any:
        """Return the answer to a request that may be repeated: it reads, or it carries an idempotency key.

        ``sent`` is called for each time that it is sent.
        """
        given = {key: value for key, value in (params or {}).items() if value is not None}

        def send() -> httpx2.Response:
            sent()
            return self._client.request(method, path, params=given, json=json, headers=headers)

        return self._document(self._repeating(send, repeat=True))

    def follow(self, path: str, params: Mapping[str, Any], after: str = "") -> Iterator[tuple[str, str, Document]]:
        """Yield (name, id, data) of a stream of events for ever; what an ended connection missed comes afterwards."""
        patience = Patience()
        given = {key: value for key, value in params.items() if value is not None}
        timeout = httpx2.Timeout(_STREAM_IDLE_S, connect=min(_CONNECT_S, self._timeout_s))
        while True:
            headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
            try:
                with self._streaming("GET", path, params=given, headers=headers, timeout=timeout) as response:
                    for name, ident, data in named_events(response):
                        patience.reset()
                        after = ident or after
                        yield name, after, data
            except RayctlError as error:
                if not is_outage(error):
                    raise
                patience.pause(error)

    def _json(
        self,
        method: str,
        path: str,
        *,
        repeat: bool | None = None,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        read_s: float | None = None,
    ) -> Any:
        given = {key: value for key, value in (params or {}).items() if value is not None}
        timeout = httpx2.Timeout(read_s or self._timeout_s, connect=min(_CONNECT_S, self._timeout_s))

        def send() -> httpx2.Response:
            return self._client.request(method, path, params=given, json=json, headers=headers, timeout=timeout)

        return self._document(self._repeating(send, repeat=method == "GET" if repeat is None else repeat))

    def _delete(self, path: str) -> None:
        sent = 0

        def send() -> httpx2.Response:
            nonlocal sent
            sent += 1
            return self._client.delete(path)

        try:
            self._repeating(send, repeat=True)
        except NotFound:
            if sent == 1:
                raise  # on a repetition it means that the first one, whose answer was lost, did it

    def _repeating(self, send: Callable[[], httpx2.Response], *, repeat: bool) -> httpx2.Response:
        def once(attempt: int) -> httpx2.Response:
            with self._translated():
                response = send()
            if response.is_success:
                return response
            raise _error_of(response)

        return retrying(once, may_repeat=lambda error: _never_sent(error) or (repeat and _was_lost(error)))

    @contextmanager
    def _streaming(self, method: str, path: str, **options: Any) -> Iterator[httpx2.Response]:
        with self._translated(), self._client.stream(method, path, **options) as response:
            if not response.is_success:
                response.read()
                raise _error_of(response)
            yield response

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the HTTP library's exceptions into ours."""
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise ServerUnreachable(f"Nothing answers at {self._url} ({_reason(error)}).", hint=self._hint) from error
        except httpx2.TimeoutException as error:
            raise DeadlineExceeded(
                f"{self._url} did not answer in time.", hint="Try again, or give it longer with --timeout (timeout_s)."
            ) from error
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise InvalidRequest(f"{self._url} is not a usable address: {error}", code="bad-address") from error
        except httpx2.RequestError as error:
            raise ServerUnreachable(
                f"The connection to {self._url} broke ({_reason(error)}).", code="connection-lost", hint="Try again."
            ) from error

    def _document(self, response: httpx2.Response) -> Any:
        if response.status_code == 204 or not response.content:
            return {}
        try:
            return response.json()
        except ValueError:
            raise RayctlError(
                f"{self._url} answered with something that is not JSON.",
                code="not-rayctl",
                hint="Is this the address of a rayctl service?",
            ) from None


def _error_of(response: httpx2.Response) -> RayctlError:
    """The error that the service meant; also for answers of proxies, which are not problem documents."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or ("detail" not in problem and "title" not in problem):
        problem = {"detail": f"The server answered {response.status_code} {response.reason_phrase}."}
        if response.status_code >= 300:
            problem["code"] = f"http-{response.status_code}"
        if response.has_redirect_location:
            problem["hint"] = f"It points to {response.headers['location']}; use that address if you trust it."
    problem.setdefault("status", response.status_code)
    if not isinstance(problem.get("detail"), str):
        problem["detail"] = json.dumps(problem.get("detail"))
    if "retry_after_s" not in problem and response.headers.get("retry-after", "").isdigit():
        problem["retry_after_s"] = float(response.headers["retry-after"])
    error = from_problem(problem)
    if type(error) is RayctlError and response.status_code in (502, 504):
        return Unavailable(error.message, code=error.code, hint=error.hint)
    return error


def _never_sent(error: RayctlError) -> bool:
    return isinstance(error, ServerUnreachable) and error.code == "server-unreachable"


def _was_lost(error: RayctlError) -> bool:
    return isinstance(error, (ServerUnreachable, Unavailable))


def _reason(error: Exception) -> str:
    return str(error).strip(" .") or type(error).__name__


def _tenant(name: str) -> str:
    return f"/v1/tenants/{quote(name, safe='')}"


def _based_on(expected: int | None) -> dict[str, str]:
    if expected is None:
        return {}
    return {"If-None-Match": "*"} if expected == 0 else {"If-Match": f'"{expected}"'}


def _run(run_id: str) -> str:
    return f"/v1/runs/{quote(run_id, safe='')}"


def _items(found: Any) -> list[Document]:
    if isinstance(found, dict):
        found = found.get("items", [])
    return list(found)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
