"""The JSON documents of the routes about Kubernetes objects, and the entity tags of objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from rayctl.api.documents import answer, is_known
from rayctl.views.summary import bare, summary

__all__ = [
    "EventList",
    "ExplanationDocument",
    "ObjectDocument",
    "ObjectPage",
    "ObjectRow",
    "Operation",
    "OperationList",
    "PlanDocument",
    "Promotion",
    "Rollback",
    "Scale",
    "Undo",
    "Weight",
    "object_answer",
]


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ObjectRow(_Open):
    """An object in one row. ``state``: ready, progressing, failed, paused, suspended, deleting, or empty.

    ``outdated``: what of it stays as an older specification had it, although it is ready.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    revision: str
    created_at: str | None = None
    labels: dict[str, str] = {}
    ready: bool | None = None
    state: str = ""
    reason: str = ""
    message: str = ""
    outdated: str = ""
    since: str | None = None


class ObjectPage(_Open):
    """One page of objects; ``next`` is the cursor of the page after it."""

    items: list[ObjectRow]
    next: str | None = None


class ObjectDocument(ObjectRow):
    """An object: its row, and ``document``, the Kubernetes object itself."""

    document: dict[str, Any]


class ExplanationDocument(_Open):
    """Why an object is not as it should be, since when, and what can be done."""

    object: str
    ready: bool | None
    summary: str
    since: str | None = None
    because: list[dict[str, Any]] = []
    facts: dict[str, str] = {}
    you_can: list[dict[str, str]] = []


class PlanDocument(_Open):
    """What would happen, step by step, and what it would take."""

    revision: dict[str, int]
    steps: list[dict[str, Any]]
    resources: dict[str, str]
    verdict: str
    finished: bool


class Operation(_Open):
    """Something under way. ``state``: running, waiting, done, failed."""

    id: str
    object: str
    namespace: str
    kind: str
    state: str
    reason: str = ""
    message: str = ""
    since: str | None = None


class OperationList(_Open):
    """What is under way."""

    items: list[Operation]


class EventList(_Open):
    """Events, the newest first."""

    items: list[dict[str, Any]]


class Scale(_Asked):
    """How many there shall be. ``group``: of a cluster with several worker groups; ``current``: only if so many now."""

    replicas: int = Field(ge=0, le=100_000)
    group: str | None = Field(default=None, max_length=253)
    current: int | None = Field(default=None, ge=0)


class Undo(_Asked):
    """To which revision; 0: the one before the newest."""

    to_revision: int = Field(default=0, ge=0)


class Promotion(_Asked):
    """``full``: all steps that are left (fleets); ``retry``: what was rolled back (services)."""

    full: bool = False
    retry: bool = False


class Weight(_Asked):
    """The new side's share of the traffic in percent; null: as the strategy says."""

    percent: int | None = Field(ge=0, le=100)


class Rollback(_Asked):
    """To which revision; null: the newest that is another."""

    to_revision: int | None = Field(default=None, ge=1)


def object_answer(
    document: Mapping[str, Any],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    request: Request | None = None,
    **more: Any,
) -> Response:
    """Return an object with its entity tag; 304 if the request says that the caller has it."""
    etag = f'"{document["metadata"].get("resourceVersion", "")}"'
    given = {"ETag": etag, "Cache-Control": "private, no-cache", **(headers or {})}
    if request is not None and is_known(request, etag):
        return Response(status_code=304, headers=given)
    return answer({**summary(document), **more, "document": bare(document)}, status, given)
