"""Every error as a problem document (RFC 9457), in one form whatever raised it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from rayctl.api.browser import is_page
from rayctl.automl.hints import hint_for
from rayctl.automl.request import plain_message
from rayctl.errors import FieldError, InvalidRequest, NotFound, RayctlError

__all__ = [
    "BODY_ENDED",
    "PROBLEM_RESPONSES",
    "HttpRefusal",
    "Problem",
    "add_problem_handlers",
    "complete_openapi",
    "invalid_document",
    "pointer",
    "problem_response",
]

_MAX_FIELD_ERRORS = 50
_DRAIN_BYTES = 16 * 1024 * 1024
_DRAIN_S = 5.0

#: Set in a request's state by the middleware when the last part of its body was received.
BODY_ENDED = "body_ended"
_DEFAULT_RETRY_AFTER_S = 1.0


class FieldProblem(BaseModel):
    """One invalid place of a request."""

    pointer: str
    message: str


class Problem(BaseModel):
    """The problem document that every error answer carries (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    kind: str
    retry: str
    trace_id: str
    hint: str | None = None
    errors: list[FieldProblem] | None = None
    retry_after_s: float | None = None


PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "Any error: a problem document (RFC 9457).",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}


class HttpRefusal(RayctlError):
    """A refusal that only HTTP has a word for (405, 406, 415).

    ``kind`` names the class of `rayctl.errors` that a client raises for it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        title: str,
        kind: str = "InvalidRequest",
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.status = status
        self.problem_title = title
        self.kind = kind
        self.headers = dict(headers or {})

    def to_problem(self) -> dict[str, Any]:
        """Return the problem document, with the status and kind of this refusal."""
        return {**super().to_problem(), "status": self.status, "title": self.problem_title, "kind": self.kind}


class _LastWord(Response):
    """An answer that reads on for a while when the request's body is still arriving.

    A server that answers and closes at once resets the connection under a client that is still writing, and the
    client then sees a broken pipe in place of the answer. What is read here is dropped.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(asyncio.TimeoutError):  # a slow sender has had its time
            await asyncio.wait_for(_drain(scope["state"], receive), _DRAIN_S)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(state: Mapping[str, Any], receive: Receive) -> None:
    dropped = 0
    while dropped < _DRAIN_BYTES and not state.get(BODY_ENDED):
        message = await receive()
        if message["type"] != "http.request":
            return
        dropped += len(message.get("body", b""))


def problem_response(error: RayctlError, *, instance: str, trace_id: str) -> Response:
    """Return the answer for an error."""
    problem = error.to_problem()
    if error.retry == "after":
        problem.setdefault("retry_after_s", _DEFAULT_RETRY_AFTER_S)
    problem |= {"instance": instance, "trace_id": trace_id}
    headers = dict(error.headers) if isinstance(error, HttpRefusal) else {}
    if "retry_after_s" in problem:
        headers["Retry-After"] = str(max(1, math.ceil(problem["retry_after_s"])))
    if problem["status"] == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="rayctl"'
    if problem["status"] == 413:
        headers["Connection"] = "close"
    return _LastWord(
        to_json(problem), status_code=problem["status"], headers=headers, media_type="application/problem+json"
    )


def pointer(location: Sequence[str | int]) -> str:
    """Return the JSON pointer (RFC 6901) of a location."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def _field_errors(errors: Sequence[Any], *, drop_body: bool) -> list[FieldError]:
    found: list[FieldError] = []
    for error in errors[:_MAX_FIELD_ERRORS]:
        location = error.get("loc", ())
        if drop_body and location[:1] == ("body",):
            location = location[1:]
        found.append({"pointer": pointer(location), "message": plain_message(error)})
    return found


def invalid_document(error: ValidationError, what: str) -> InvalidRequest:
    """Turn pydantic's complaint about a document into ours. The rejected values themselves are left out."""
    fields = _field_errors(error.errors(include_url=False, include_context=False, include_input=False), drop_body=False)
    return _invalid(fields, what)


def _invalid(fields: Sequence[FieldError], what: str) -> InvalidRequest:
    first = fields[0]
    place = f" at {first['pointer']}" if first["pointer"] else ""
    more = f" ({len(fields) - 1} more)" if len(fields) > 1 else ""
    message = f"{what} is not valid{place}: {first['message']}{more}."
    return InvalidRequest(message, hint=hint_for(fields), errors=fields)


def _allowed(request: Request) -> dict[str, str]:
    """Return the header ``Allow``: the methods of all routes of this path; the router knows only the first one's."""
    documented = request.app.openapi()["paths"]
    matching = [path for path in documented if compile_path(path)[0].match(request.url.path)]
    # A path with a verb, {name}:scale, matches {name} as well, where it would be the name of nothing.
    exact = [path for path in matching if ":" in path.rpartition("}")[2]] or matching
    methods = sorted({method.upper() for path in exact for method in documented[path]})
    return {"Allow": ", ".join(methods)} if methods else {}


def _from_http(error: HTTPException, request: Request) -> RayctlError:
    if error.status_code == 404:
        return NotFound("There is nothing at this path.", code="no-such-path", hint="See /docs for all paths.")
    if error.status_code == 405:
        return HttpRefusal(
            405,
            "This path does not support that method.",
            code="method-not-allowed",
            title="Method not allowed",
            hint="See /docs for the methods of each path.",
            headers=_allowed(request) or error.headers,
        )
    return HttpRefusal(
        error.status_code, "The request was refused.", code="refused", title="Refused", headers=error.headers
    )


def add_problem_handlers(app: FastAPI) -> None:
    """Answer everything that goes wrong inside the application with a problem document."""

    def answer(request: Request, error: RayctlError) -> Response:
        wants_page = is_page(request.url.path) and "text/html" in request.headers.get("accept", "")
        if wants_page and hasattr(request.state, "caller"):
            found: Response = request.app.state.problem_page(request, error)
            return found
        return problem_response(error, instance=request.url.path, trace_id=request.state.trace_id)

    async def on_rayctl(request: Request, error: Exception) -> Response:
        if not isinstance(error, RayctlError):
            raise error
        return answer(request, error)

    async def on_http(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        return answer(request, _from_http(error, request))

    async def on_validation(request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        return answer(request, _invalid(_field_errors(error.errors(), drop_body=True), "The request"))

    app.add_exception_handler(RayctlError, on_rayctl)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_validation)


def complete_openapi(app: FastAPI, *bodies: type[BaseModel]) -> None:
    """Add the schemas of bodies that the routes read by themselves, and of problems in place of the framework's own."""
    generate = app.openapi

    @cache
    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        models: list[type[BaseModel]] = [Problem, *bodies]
        for model in models:
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            schemas[model.__name__] = schema
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
