"""The form of answers: JSON or YAML, whole objects, tables, or metadata alone, as the client's ``Accept`` says."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from rayctl.embedded.apiserver.api import Answer
from rayctl.embedded.apiserver.changes import convert
from rayctl.embedded.apiserver.errors import ApiError, bad_request, not_acceptable
from rayctl.embedded.apiserver.fairness import Pause
from rayctl.embedded.apiserver.reading import Page
from rayctl.embedded.apiserver.requests import Request, Response, Stream
from rayctl.embedded.apiserver.resources import Column, Resource
from rayctl.embedded.apiserver.store import Stored, dumps
from rayctl.embedded.apiserver.tables import SCALE, columns_of, definitions

__all__ = ["Form", "Presenter", "negotiate", "parse_accept"]

ACCEPTED = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
JSON, YAML = "application/json", "application/yaml"
WARNING_LIMIT = 4096
SLICE = 50
"""So many objects of a list are made ready at a time; ten times as many if stored bytes are sent as they are."""


@dataclass(frozen=True)
class Form:
    """What a client wants. ``what``: ``object``, ``table``, ``partial`` or ``partial-list``."""

    what: str = "object"
    version: str = "v1"
    media: str = JSON


@dataclass(frozen=True)
class _Range:
    media: str
    parameters: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.parameters if key == name), None)


@lru_cache(maxsize=256)
def parse_accept(header: str) -> tuple[_Range, ...]:
    """Return what a header accepts, the best first."""
    found: list[tuple[float, int, _Range]] = []
    for index, part in enumerate(header.split(",")):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        pairs = tuple((name.strip(), value.strip()) for name, _, value in (p.partition("=") for p in parameters))
        quality = 1.0
        for name, value in pairs:
            if name == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        if media and quality > 0:
            found.append((-quality, index, _Range(media.lower(), tuple(p for p in pairs if p[0] != "q"))))
    return tuple(entry for _, _, entry in sorted(found, key=lambda item: item[:2]))


_FORMS = {"Table": "table", "PartialObjectMetadata": "partial", "PartialObjectMetadataList": "partial-list"}


def negotiate(request: Request, custom: bool = True) -> Form:
    """Return the form of the answer. ``custom``: a custom resource is asked for (built-in ones are a little stricter).

    Raises:
        ApiError: 406.
    """
    header = request.headers.get("accept", "")
    if not header or header in (JSON, "*/*"):
        return Form()
    return _negotiate(header, custom)


@lru_cache(maxsize=256)
def _negotiate(header: str, custom: bool) -> Form:
    ranges = parse_accept(header)
    for wanted in ranges:
        media = wanted.media
        if media in ("*/*", "application/*") and (custom or media == "*/*"):
            return Form()
        if media not in (JSON, YAML):
            continue
        if wanted.get("as") is None:
            return Form(media=media)
        what, version = _FORMS.get(wanted.get("as") or ""), wanted.get("v") or ""
        if what and wanted.get("g") == "meta.k8s.io" and version in ("v1", "v1beta1"):
            return Form(what, version, media)
    if not custom and not any(wanted.media in (JSON, YAML) for wanted in ranges):
        text = "406: Not Acceptable\n\nAvailable representations: " + ", ".join(ACCEPTED)
        raise ApiError(406, "NotAcceptable", text, {})
    raise not_acceptable(ACCEPTED)


class Presenter:
    """Makes bytes of answers. ``now``: the clock, for the ages in tables."""

    def __init__(self, form: Form, request: Request, now: Callable[[], float]) -> None:
        self._form = form
        self._now = now
        self._include = request.first("includeObject") or "Metadata"
        if form.what == "table" and self._include not in ("None", "Metadata", "Object"):
            text = f"includeObject: Invalid value: \"{self._include}\": must be 'Metadata', 'Object', 'None', or empty"
            raise bad_request(f"Unable to convert to Table as requested: {text}")
        self._first_row = True

    @property
    def shared_form(self) -> Form | None:
        """The form of events, if others who want it may get the same bytes (tables differ: a first row has columns)."""
        return None if self._form.what == "table" else self._form

    # Whole answers ------------------------------------------------------------------------------------

    def answer(self, answer: Answer) -> Response:
        """Return one object (or Status) in the wanted form."""
        if answer.resource is None or self._form.what == "object":
            body = self._object_bytes(answer)
        elif "items" in answer.document:
            raise self._is_a_list()
        elif self._form.what == "table":
            view = self._view(answer)
            columns = SCALE if view.get("kind") == "Scale" else None
            body = dumps(self._table(answer.resource, [view], self._metadata_of(answer), columns=columns))
        else:
            body = dumps(self._partial(self._view(answer)))
        return self.respond(answer.code, body, answer.warnings)

    def _object_bytes(self, answer: Answer) -> bytes:
        stored, resource = answer.stored, answer.resource
        if stored is not None and resource is not None and stored.raw and _as_stored(resource, stored):
            return stored.raw
        return dumps(self._view(answer))

    def _view(self, answer: Answer) -> dict[str, Any]:
        if answer.resource is None or "items" in answer.document or "spec" in answer.document.get("items", ()):
            return answer.document
        if answer.document.get("kind") == answer.resource.kind:
            return convert(answer.resource, answer.document)
        return answer.document

    def page(self, page: Page, resource: Resource, pause: Pause) -> Response | Stream:
        """Return a list in the wanted form: whole if it is short, else slice by slice, with pauses between them."""
        if self._form.what == "partial":
            raise self._is_a_list()
        metadata: dict[str, Any] = {"resourceVersion": str(page.revision)}
        if page.token:
            metadata["continue"] = page.token
            if page.remaining is not None:
                metadata["remainingItemCount"] = page.remaining
        head = self._head(resource, metadata)
        name = "rows" if self._form.what == "table" else "items"
        size = 10 * SLICE if self._form == Form() else SLICE
        slices = (page.items[at : at + size] for at in range(0, len(page.items), size))
        if self._form.media == YAML:
            lists = yaml_pieces(head, name, (b"[" + b",".join(self._items(resource, items)) + b"]" for items in slices))
        else:
            lists = json_pieces(head, name, (self._items(resource, items) for items in slices))
        if len(page.items) <= size:
            return Response(200, b"".join(lists), self._form.media)
        return Stream(_breathing(lists, pause), self._form.media, whole=True)

    def _head(self, resource: Resource, metadata: dict[str, Any]) -> dict[str, Any]:
        """Return a list without its items."""
        if self._form.what == "table":
            return {**self._table(resource, [], metadata), "rows": []}
        if self._form.what == "partial-list":
            version = f"meta.k8s.io/{self._form.version}"
            return {"kind": "PartialObjectMetadataList", "apiVersion": version, "metadata": metadata}
        return {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": metadata}

    def _items(self, resource: Resource, items: Sequence[Stored]) -> list[bytes]:
        if self._form.what == "table":
            columns = columns_of(resource)
            return [dumps(self._row(columns, _document(resource, stored))) for stored in items]
        if self._form.what == "partial-list":
            return [dumps(self._partial(stored.object)) for stored in items]
        return items_bytes(resource, items)

    @staticmethod
    def _is_a_list() -> ApiError:
        return ApiError(406, "NotAcceptable", "you requested PartialObjectMetadata, but the requested object is a list")

    def respond(self, code: int, body: bytes, warnings: Sequence[str]) -> Response:
        """Return bytes of JSON in the wanted media type, with warnings."""
        if self._form.media == YAML:
            body = yaml.safe_dump(json.loads(body), sort_keys=False).encode()
        return Response(code, body, self._form.media, warning_headers(warnings))

    # Events -------------------------------------------------------------------------------------------

    def line(self, kind: str, resource: Resource, stored: Stored) -> bytes:
        """Return an event of a watch."""
        if self._form.what == "object":
            raw = stored.raw if _as_stored(resource, stored) else dumps(convert(resource, stored.object))
            return b'{"type":"' + kind.encode() + b'","object":' + raw + b"}\n"
        if self._form.what == "table":
            metadata = {"resourceVersion": str(stored.revision)}
            view = self._table(resource, [_document(resource, stored)], metadata, self._first_row)
            self._first_row = False
        else:
            view = self._partial(stored.object)
        return b'{"type":"' + kind.encode() + b'","object":' + dumps(view) + b"}\n"

    def bookmark(self, resource: Resource, revision: int, annotations: dict[str, str] | None) -> bytes:
        """Return a bookmark of a watch."""
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if annotations:
            metadata["annotations"] = annotations
        view: dict[str, Any] = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if self._form.what == "table":
            row = {"metadata": metadata, "cells": [], "object": self._partial(view)}
            view = self._table(resource, [], {"resourceVersion": str(revision)}, self._first_row)
            view["rows"] = [{"cells": [None] * len(columns_of(resource)), "object": row["object"]}]
        elif self._form.what != "object":
            view = self._partial(view)
        return b'{"type":"BOOKMARK","object":' + dumps(view) + b"}\n"

    # Forms --------------------------------------------------------------------------------------------

    def _partial(self, document: dict[str, Any]) -> dict[str, Any]:
        return {
            "kind": "PartialObjectMetadata",
            "apiVersion": f"meta.k8s.io/{self._form.version}",
            "metadata": document["metadata"],
        }

    def _metadata_of(self, answer: Answer) -> dict[str, Any]:
        return {"resourceVersion": answer.document["metadata"].get("resourceVersion", "")}

    def _table(
        self,
        resource: Resource,
        views: Iterable[dict[str, Any]],
        metadata: dict[str, Any],
        with_columns: bool = True,
        columns: tuple[Column, ...] | None = None,
    ) -> dict[str, Any]:
        columns = columns or columns_of(resource)
        return {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{self._form.version}",
            "metadata": metadata,
            "columnDefinitions": definitions(columns) if with_columns else [],
            "rows": [self._row(columns, view) for view in views],
        }

    def _row(self, columns: tuple[Column, ...], view: dict[str, Any]) -> dict[str, Any]:
        shown = None if self._include == "None" else view if self._include == "Object" else self._partial(view)
        now = self._now()
        return {"cells": [column.read(view, now) for column in columns], "object": shown}


def json_pieces(head: dict[str, Any], name: str, slices: Iterable[list[bytes]]) -> Iterator[bytes]:
    """Yield a JSON document whose last field is a list of what the slices hold."""
    begun = {key: value for key, value in head.items() if key != name}
    yield dumps(begun)[:-1] + b',"' + name.encode() + b'":['
    comma = b""
    for items in slices:
        if items:
            yield comma + b",".join(items)
            comma = b","
    yield b"]}"


def yaml_pieces(head: dict[str, Any], name: str, slices: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same as YAML. ``slices``: JSON lists."""
    begun = yaml.safe_dump({key: value for key, value in head.items() if key != name}, sort_keys=False)
    empty = True
    for raw in slices:
        if raw == b"[]":
            continue
        if empty:
            yield f"{begun}{name}:\n".encode()
        yield yaml.safe_dump(json.loads(raw), sort_keys=False).encode()
        empty = False
    if empty:
        yield f"{begun}{name}: []\n".encode()


async def _breathing(pieces: Iterator[bytes], pause: Pause) -> AsyncGenerator[bytes, None]:
    """Let others be answered between the pieces."""
    for piece in pieces:
        yield piece
        await pause()


def _as_stored(resource: Resource, stored: Stored) -> bool:
    """Whether the stored bytes can be sent as they are."""
    return stored.object.get("apiVersion") == resource.api_version and not (
        resource.custom and resource.node.has_defaults and resource.version != resource.stored_version
    )


def _document(resource: Resource, stored: Stored) -> dict[str, Any]:
    return stored.object if _as_stored(resource, stored) else convert(resource, stored.object)


def items_bytes(resource: Resource, items: Sequence[Stored]) -> list[bytes]:
    """Return the items of a list. Those of built-in kinds carry neither kind nor apiVersion."""
    if resource.custom:
        return [stored.raw if _as_stored(resource, stored) else dumps(_document(resource, stored)) for stored in items]
    prefix = dumps({"apiVersion": resource.api_version, "kind": resource.kind})[:-1] + b","
    found = []
    for stored in items:
        if stored.raw.startswith(prefix):
            found.append(b"{" + stored.raw[len(prefix) :])
        else:
            view = _document(resource, stored)
            found.append(dumps({name: value for name, value in view.items() if name not in ("apiVersion", "kind")}))
    return found


def warning_headers(warnings: Sequence[str]) -> list[tuple[str, str]]:
    """Return the ``Warning`` headers, not more than a client can take."""
    headers, size = [], 0
    for text in warnings:
        plain = "".join(sign if sign.isprintable() else " " for sign in text)  # a control character ends a header
        quoted = plain.replace("\\", "\\\\").replace('"', '\\"')
        size += len(quoted)
        if size > WARNING_LIMIT:
            break
        headers.append(("Warning", f'299 - "{quoted}"'))
    return headers
