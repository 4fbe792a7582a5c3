"""What a request is, before anything is known about the objects it speaks of, and what an answer is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

__all__ = ["Info", "Request", "Response", "Stream", "User", "parse_info"]


@dataclass(frozen=True)
class User:
    """Who asks. ``extra`` as in token reviews."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """One HTTP request. ``headers`` have lower-case names; ``path`` is decoded; ``query`` keeps repetitions."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    groups: tuple[str, ...] = ()
    """Values of all ``Impersonate-Group`` headers."""

    @staticmethod
    def make(method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Request:
        """Return the request for a target such as ``/api/v1/pods?limit=5``."""
        path, _, query = target.partition("?")
        pairs = tuple(parse_qsl(query, keep_blank_values=True))
        lowered = {name.lower(): value for name, value in (headers or {}).items()}
        return Request(method, unquote(path), pairs, lowered, body)

    def first(self, name: str) -> str | None:
        """Return the first value of a query parameter."""
        return next((value for key, value in self.query if key == name), None)

    def all(self, name: str) -> list[str]:
        """Return all values of a query parameter."""
        return [value for key, value in self.query if key == name]


@dataclass
class Response:
    """A whole answer."""

    code: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Stream:
    """An answer that goes on: its chunks. ``aclose`` of the iterator frees what it holds.

    ``whole``: together they are one document (a long list), and soon all there.
    """

    chunks: AsyncIterator[bytes]
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)
    whole: bool = False

    async def gathered(self) -> Response:
        """Return a whole document as one answer."""
        body = b"".join([chunk async for chunk in self.chunks])
        return Response(200, body, self.content_type, self.headers)


@dataclass(frozen=True)
class Info:
    """What a request is about, as authorization and routing see it.

    ``resource`` is empty for paths that are not about objects. ``verb`` is the API's (``list``, ``deletecollection``).
    """

    verb: str
    path: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""
    parts: tuple[str, ...] = ()

    @property
    def is_resource(self) -> bool:
        """Whether objects are meant."""
        return bool(self.resource)


_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_OF_NAMESPACES = frozenset({"status", "finalize"})


def parse_info(request: Request) -> Info:
    """Return what a request is about."""
    parts = [part for part in request.path.split("/") if part]
    below = {"api": 1, "apis": 2}.get(parts[0], len(parts)) if parts else 0
    if len(parts) < below + 2:
        return Info(request.method.lower(), request.path)
    group = parts[1] if below == 2 else ""
    version, rest = parts[below], parts[below + 1 :]
    verb = _VERBS.get(request.method, "")
    if rest[0] in ("watch", "proxy") and len(rest) > 1:
        if rest[0] == "watch":
            verb = "watch"
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _OF_NAMESPACES:
            rest = rest[2:]
    resource = rest[0]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    verb = _exact_verb(request, verb, name, subresource)
    # A name in a field selector counts as the name, so that rights on single objects suffice.
    if not name and verb in ("list", "watch", "deletecollection"):
        name = _selected_name(request)
    return Info(verb, request.path, group, version, namespace, resource, name, subresource, tuple(rest))


def _exact_verb(request: Request, verb: str, name: str, subresource: str) -> str:
    """Tell list and watch from get, and the deletion of a collection from that of one object."""
    if verb == "get" and not subresource and (request.first("watch") or "").lower() in ("true", "1"):
        return "watch"
    if name:
        return verb
    return {"get": "list", "delete": "deletecollection"}.get(verb, verb)


def _selected_name(request: Request) -> str:
    for term in (request.first("fieldSelector") or "").split(","):
        field_name, equals, value = term.partition("=")
        if equals and field_name == "metadata.name":
            return value.removeprefix("=")
    return ""
