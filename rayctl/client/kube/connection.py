"""Calls to a Kubernetes API, one after the other, over HTTP. The same calls and errors as the controllers use."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from rayctl import __version__
from rayctl.client.kube.credentials import Credentials, is_loopback, obtain, tls_context
from rayctl.client.kube.kubeconfig import Destination
from rayctl.kube.calls import Call
from rayctl.kube.errors import Denied, NoAnswer, from_status

__all__ = ["JSON", "TABLE", "KubeConnection"]

JSON = "application/json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
"""What is accepted where the server makes a table of it: columns and cells as kubectl shows them."""
_CONNECT_S = 10.0


class KubeConnection:
    """A connection to one API server; made when first used.

    Args:
        target: Where.
        allow_exec: Whether any program that the kubeconfig names may be run for credentials.
    """

    def __init__(self, target: Destination, allow_exec: bool = False) -> None:
        self.target = target
        self._allow_exec = allow_exec
        self._credentials: Credentials | None = None
        self._client: httpx2.Client | None = None

    def close(self) -> None:
        """Give the connections back."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def request(self, call: Call, accept: str = JSON) -> Any:
        """Send a call, return its decoded answer.

        Raises:
            KubernetesError: The one that says what happened.
            InvalidRequest, NotAuthenticated: There are no credentials for it.
        """
        try:
            return self._request(call, accept)
        except Denied as error:
            if error.status != 401 or self.target.identity.exec is None:
                raise
            self._renew()  # the plugin's credential was taken back before its end
            return self._request(call, accept)

    def server_time(self) -> float | None:
        """Return the server's clock, in whole seconds since the epoch; None if its answers do not tell."""
        call = Call.get("/version")
        with self._sent(call, JSON, call.timeout_s) as response:
            _read(call, response)
            _decoded(call, response)
            text = response.headers.get("Date", "")
        try:
            return parsedate_to_datetime(text).timestamp()
        except ValueError:
            return None

    def _request(self, call: Call, accept: str) -> Any:
        with self._sent(call, accept, call.timeout_s) as response:
            _read(call, response)
            return _decoded(call, response)

    def watch(self, call: Call, silence_s: float, accept: str = JSON) -> Iterator[dict[str, Any]]:
        """Yield the events of a watch until the server ends it.

        Raises:
            KubernetesError: It was refused, it broke, or ``silence_s`` seconds passed without a byte.
        """
        for line in self.lines(call, silence_s, accept):
            try:
                event: dict[str, Any] = json.loads(line)
            except ValueError as error:
                raise NoAnswer(f"The watch of {call.path} sent something that is no event.") from error
            if event.get("type") == "ERROR":
                item = event.get("object") or {}
                raise from_status(int(item.get("code") or 500), item, None, writes=False)
            yield event

    def lines(self, call: Call, silence_s: float, accept: str = JSON) -> Iterator[str]:
        """Yield the lines of an answer as they come: a watch, a log."""
        with self._sent(call, accept, silence_s) as response:
            if response.status_code >= 300:
                _read(call, response)
                _decoded(call, response)
            rest = ""
            try:
                for piece in response.iter_text():
                    # Not iter_lines(): that also cuts at characters such as U+2028, which logs and JSON may hold.
                    *whole, rest = (rest + piece).split("\n")
                    yield from (line for line in whole if line)
            except httpx2.HTTPError as error:
                raise _no_answer(self.target, call, error) from error
            if rest:
                yield rest

    @contextmanager
    def _sent(self, call: Call, accept: str, silence_s: float) -> Iterator[httpx2.Response]:
        client = self._opened()
        assert self._credentials is not None
        headers = [("Accept", accept), ("User-Agent", f"rayctl/{__version__}"), *self._credentials.headers]
        content = None
        if call.body is not None:
            headers.append(("Content-Type", call.content_type))
            content = json.dumps(call.body, separators=(",", ":"), ensure_ascii=False).encode()
        extensions = {"sni_hostname": self.target.tls_server_name} if self.target.tls_server_name else {}
        timeout = httpx2.Timeout(silence_s, connect=min(_CONNECT_S, silence_s))
        request = client.build_request(
            call.method,
            self.target.server + call.target,
            headers=headers,
            content=content,
            timeout=timeout,
            extensions=extensions,
        )
        try:
            response = client.send(request, stream=True)
        except httpx2.HTTPError as error:
            raise _no_answer(self.target, call, error) from error
        try:
            yield response
        finally:
            response.close()

    def _opened(self) -> httpx2.Client:
        if self._credentials is None or self._credentials.is_over(time.time()):
            self._renew()
        if self._client is None:
            assert self._credentials is not None
            target = self.target
            self._client = httpx2.Client(
                verify=tls_context(target, self._credentials) if target.server.startswith("https") else True,
                proxy=target.proxy or None,
                # A company's proxy cannot reach this machine's own server.
                trust_env=not target.proxy and not is_loopback(target.server),
            )
        return self._client

    def _renew(self) -> None:
        before, self._credentials = self._credentials, obtain(self.target, self._allow_exec)
        if before is not None and before.certificate != self._credentials.certificate:
            self.close()


def _read(call: Call, response: httpx2.Response) -> None:
    try:
        response.read()
    except httpx2.HTTPError as error:
        failure = NoAnswer(f"{call.method} {call.path}: the answer broke off: {error or type(error).__name__}")
        failure.outcome_unknown = call.writes
        raise failure from error


def _decoded(call: Call, response: httpx2.Response) -> Any:
    try:
        document = json.loads(response.content) if response.content else {}
    except ValueError:
        document = response.text
    if response.status_code < 300:
        if not isinstance(document, dict):
            raise NoAnswer(f"{call.method} {call.path}: what answers there is no Kubernetes API.")
        return document
    wait = response.headers.get("Retry-After", "")
    raise from_status(response.status_code, document, float(wait) if wait.isdigit() else None, call.writes)


def _no_answer(target: Destination, call: Call, cause: httpx2.HTTPError) -> NoAnswer:
    unsent = isinstance(cause, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout))
    what = "it took too long" if isinstance(cause, httpx2.TimeoutException) else (str(cause) or type(cause).__name__)
    error = NoAnswer(f"The Kubernetes API at {target.server} does not answer: {what}")
    error.outcome_unknown = call.writes and not unsent
    return error
