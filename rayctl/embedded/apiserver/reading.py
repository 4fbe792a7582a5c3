"""GET of one object and of lists: consistent, of a past moment, page by page."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass

from rayctl.embedded.apiserver.api import Api
from rayctl.embedded.apiserver.errors import ApiError, bad_request, expired, not_found, too_large_revision
from rayctl.embedded.apiserver.fairness import Pause
from rayctl.embedded.apiserver.options import ListOptions, list_options, revision_of
from rayctl.embedded.apiserver.requests import Info, Request
from rayctl.embedded.apiserver.resources import Resource
from rayctl.embedded.apiserver.selectors import FieldSelector, LabelSelector, parse_fields, parse_labels
from rayctl.embedded.apiserver.store import Stored

__all__ = ["Page", "Selection", "get", "list_page", "select", "selection", "wait_for_revision"]

WAIT_FOR_REVISION_S = 3.0
POLL_S = 0.05
SLICE = 2_000
"""So many objects are compared with a selector at a time."""


@dataclass(frozen=True)
class Page:
    """Part of a list. ``remaining`` None: not told."""

    items: Sequence[Stored]
    revision: int
    token: str = ""
    remaining: int | None = None


@dataclass(frozen=True)
class Selection:
    """Both selectors."""

    labels: LabelSelector
    fields: FieldSelector

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return not self.labels.terms and not self.fields.terms

    def matches(self, stored: Stored) -> bool:
        """Whether an object is selected."""
        return self.labels.matches(stored.object) and self.fields.matches(stored.object)


def selection(resource: Resource, options: ListOptions) -> Selection:
    """Read the selectors.

    Raises:
        ApiError: 400.
    """
    labels = parse_labels(options.labels)
    return Selection(labels, parse_fields(options.fields, resource.readers, resource.api_version, resource.kind))


async def wait_for_revision(api: Api, revision: int | None) -> None:
    """Wait a moment for a revision that has not been reached.

    Raises:
        ApiError: 504; the client is ahead of this server.
    """
    if revision is None:
        return
    waited = 0.0
    while revision > api.store.revision:
        if waited >= WAIT_FOR_REVISION_S:
            raise too_large_revision(revision, api.store.revision)
        await asyncio.sleep(POLL_S)
        waited += POLL_S


async def get(api: Api, request: Request, info: Info, resource: Resource) -> Stored:
    """Return one object.

    Raises:
        ApiError: 404, 500 for a revision that is no number, 504 for one that has not been reached.
    """
    text = request.first("resourceVersion")
    if text:
        try:
            revision = revision_of(text)
        except ValueError as error:
            raise ApiError(500, "", str(error)) from None
        await wait_for_revision(api, revision)
    stored = api.store.get(resource.storage, info.namespace if resource.namespaced else "", info.name)
    if stored is None:
        raise not_found(resource.group, resource.plural, info.name)
    return stored


def select(api: Api, resource: Resource, namespace: str, options: ListOptions) -> list[Stored]:
    """Return everything that is selected now.

    Raises:
        ApiError: 400.
    """
    chosen = selection(resource, options)
    return [stored for stored in api.store.items(resource.storage, namespace) if chosen.matches(stored)]


async def list_page(api: Api, request: Request, info: Info, resource: Resource, pause: Pause) -> Page:
    """Return a list, or a page of it.

    Raises:
        ApiError: 400, 410 if the page's moment has been forgotten, 422, 504.
    """
    options = list_options(request, watching=False)
    chosen = selection(resource, options)
    namespace = info.namespace if resource.namespaced else ""
    start: tuple[str, str] | None = None
    if options.token:
        if options.revision:
            raise bad_request("specifying resource version is not allowed when using continue")
        revision, start = _read_token(options.token)
        if revision < 0:  # a page of now, after its moment was forgotten
            revision = api.store.revision
    elif options.match == "Exact" or (options.revision and options.limit and not options.match):
        await wait_for_revision(api, options.revision)
        revision = options.revision or 0
    else:
        await wait_for_revision(api, options.revision)
        revision = api.store.revision
    found = api.store.items_at(resource.storage, namespace, revision)
    if found is None:
        raise _forgotten(api, options, start)
    if start is not None:
        found = [stored for stored in found if stored.key[1:] >= start]
    matching = found if chosen.is_everything else await _matching(found, chosen, pause)
    # A list from the cache comes whole.
    limit = 0 if options.revision == 0 else options.limit
    if not limit or len(matching) <= limit:
        return Page(matching, revision)
    remaining = len(matching) - limit if chosen.is_everything else None
    return Page(matching[:limit], revision, _token(revision, matching[limit].key[1:]), remaining)


async def _matching(found: Sequence[Stored], chosen: Selection, pause: Pause) -> list[Stored]:
    matching: list[Stored] = []
    for at in range(0, len(found), SLICE):
        if at:
            await pause()  # others are answered meanwhile; what was found does not change
        matching += [stored for stored in found[at : at + SLICE] if chosen.matches(stored)]
    return matching


def _forgotten(api: Api, options: ListOptions, start: tuple[str, str] | None) -> ApiError:
    if start is None:
        return expired(f"The resourceVersion for the provided list is too old: {options.revision}")
    error = expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
        "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
        "modified, or deleted between the time the first chunk was returned and now may show up in the list."
    )
    error.details = {}
    error.token = _token(-1, start)  # type: ignore[attr-defined]
    return error


def _token(revision: int, start: tuple[str, str]) -> str:
    document = json.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": f"{start[0]}/{start[1]}"})
    return base64.urlsafe_b64encode(document.encode()).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        document = json.loads(raw)
        if not isinstance(document, dict) or document.get("v") != "meta.k8s.io/v1":
            raise ValueError("server does not recognize this encoded version")
        namespace, _, name = str(document["start"]).partition("/")
        return int(document["rv"]), (namespace, name)
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from None
