"""What happens around every request: a trace id, authentication, and the last catch.

Plain ASGI, because Starlette's own middleware base class breaks streaming and disconnects. Authentication is here
and not in the routes so that a new route cannot be forgotten, and so that nothing is read from, and nothing is
told to, a caller without a token.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Collection, Iterable, MutableMapping
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rayctl.api.auth import Role, TokenBook
from rayctl.api.bodies import Budget
from rayctl.api.browser import LOOKING, check_browser, is_page, session_of
from rayctl.api.problems import BODY_ENDED, problem_response
from rayctl.errors import NotAuthenticated, RayctlError

__all__ = ["OPEN_PATHS", "Guard"]

_LOG = logging.getLogger("rayctl.api")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

#: Answered without a token: probes cannot carry one, and the documentation says nothing about this installation.
OPEN_PATHS = frozenset(
    {"/healthz", "/readyz", "/docs", "/openapi.json", "/ui/login", "/ui/static/style.css", "/ui/static/live.js"}
)


def _trace_id(headers: Headers) -> str:
    match = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return match.group(1) if match and set(match.group(1)) != {"0"} else secrets.token_hex(16)


class Guard:
    """The outermost layer of the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: TokenBook,
        budget: Budget,
        open_paths: Iterable[str] = OPEN_PATHS,
        allowed_hosts: Collection[str] = (),
    ) -> None:
        self.app = app
        self._tokens = tokens
        self._budget = budget
        self._open_paths = frozenset(open_paths)
        self._allowed_hosts = tuple(allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:  # there are no WebSockets here; refusing them all means that none is ever open to strangers
            await send({"type": "websocket.close", "code": 1008, "reason": "not supported"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        trace_id = _trace_id(headers)
        state = scope.setdefault("state", {})
        state["trace_id"] = trace_id
        started = False

        async def tagged_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                answer = MutableHeaders(raw=message.setdefault("headers", []))
                answer["X-Trace-Id"] = trace_id
                answer["X-Content-Type-Options"] = "nosniff"
            await send(message)

        async def noted_receive() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                state[BODY_ENDED] = True
            return message

        path = str(scope["path"]).removeprefix(str(scope.get("root_path", "")))
        try:
            check_browser(scope["method"], path, headers, self._allowed_hosts)
            if path not in self._open_paths:
                self._identify(scope["method"], path, headers, state)
            await self.app(scope, noted_receive, tagged_send)
        except ClientDisconnect:
            return  # nobody is left to answer
        except Exception as exc:
            if not isinstance(exc, RayctlError):
                _LOG.exception("unexpected failure, trace_id=%s, %s %s", trace_id, scope["method"], path)
                exc = RayctlError(
                    "The service failed unexpectedly.", hint="Its log has the cause under the trace_id of this answer."
                )
            if started:  # too late for a problem document: break the connection so that nobody takes it for complete
                raise
            response = _login(path, scope, headers) if isinstance(exc, NotAuthenticated) else None
            response = response or problem_response(exc, instance=path, trace_id=trace_id)
            await response(scope, noted_receive, tagged_send)
        finally:
            self._budget.release(state)

    def _identify(self, method: str, path: str, headers: Headers, state: MutableMapping[str, Any]) -> None:
        """Note who is calling. A browser's session is good for looking, and for the forms of our own pages."""
        session = session_of(headers)
        if session and "authorization" not in headers and (method in LOOKING or is_page(path)):
            caller, state["form_mark"] = self._tokens.of_session(session, time.time())
        else:
            caller = self._tokens.authenticate(headers.get("authorization"))
        state["caller"] = caller
        if method not in LOOKING and not path.endswith(":plan") and path != "/ui/logout":
            caller.need(Role.OPERATOR)


def _login(path: str, scope: Scope, headers: Headers) -> Response | None:
    """Return the way to the login form for a browser that wants a page; None for everybody else."""
    wants_page = "text/html" in headers.get("accept", "") and scope["method"] in LOOKING
    if not wants_page or not (is_page(path) or path == "/"):
        return None
    query = scope.get("query_string", b"").decode("latin-1")
    following = quote(path + (f"?{query}" if query else ""), safe="") if is_page(path) else ""
    where = "/ui/login" + (f"?next={following}" if following else "")
    return RedirectResponse(where, 303, headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
