"""The query parameters of requests: read, and checked against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rayctl.embedded.apiserver.errors import (
    ApiError,
    FieldError,
    bad_request,
    forbidden_field,
    invalid,
    invalid_value,
    not_supported,
    required,
    too_long,
)
from rayctl.embedded.apiserver.requests import Request

__all__ = ["ListOptions", "WriteOptions", "list_options", "revision_of", "whole_number", "write_options"]

MAX_MANAGER = 128
VALIDATIONS = ("", "Ignore", "Strict", "Warn")


@dataclass(frozen=True)
class WriteOptions:
    """Options of create, update and patch."""

    dry_run: bool
    manager: str
    validation: str
    force: bool = False


def write_options(request: Request, kind: str, applying: bool = False) -> WriteOptions:
    """Read options of a write. ``kind``: ``CreateOptions``, ``UpdateOptions`` or ``PatchOptions``.

    Raises:
        ApiError: 422 with everything that is wrong.
    """
    errors: list[FieldError] = []
    dry_run = check_dry_run(request.all("dryRun"), errors)
    manager = request.first("fieldManager") or ""
    if len(manager.encode()) > MAX_MANAGER:
        errors.append(too_long("fieldManager", MAX_MANAGER))
    for index, letter in enumerate(manager):
        if not letter.isprintable():
            text = f"invalid character U+{ord(letter):04X} (at position {index})"
            errors.append(invalid_value("fieldManager", manager, text))
            break
    force = request.first("force")
    if applying and not manager:
        errors.append(required("fieldManager", "is required for apply patch"))
    if kind == "PatchOptions" and not applying and force is not None:
        errors.append(forbidden_field("force", "may not be specified for non-apply patch"))
    validation = request.first("fieldValidation") or ""
    if validation not in VALIDATIONS:
        errors.append(not_supported("fieldValidation", validation, VALIDATIONS))
    if errors:
        raise invalid("meta.k8s.io", kind, "", errors)
    return WriteOptions(dry_run, manager or _agent(request), validation or "Warn", force in ("true", "1", ""))


def check_dry_run(values: Sequence[str], errors: list[FieldError]) -> bool:
    """Return whether nothing is to be stored."""
    values = [value for value in values if value]
    if any(value != "All" for value in values):
        errors.append(not_supported("dryRun", list(values), ["All"]))
    return bool(values)


def _agent(request: Request) -> str:
    """Without a field manager the first word of the user agent counts."""
    name = request.headers.get("user-agent", "").partition("/")[0]
    return "".join(letter for letter in name if letter.isprintable())[:MAX_MANAGER] or "unknown"


@dataclass(frozen=True)
class ListOptions:
    """Options of list, watch and deletecollection. ``revision`` None: not given."""

    labels: str
    fields: str
    limit: int
    token: str
    revision: int | None
    match: str
    timeout_s: int | None
    bookmarks: bool
    initial_events: bool | None


def whole_number(text: str | None) -> int | None:
    """Read a number.

    Raises:
        ApiError: 400.
    """
    if text is None or text == "":
        return None
    try:
        return int(text)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def revision_of(text: str | None) -> int | None:
    """Read a resourceVersion; None for none.

    Raises:
        ValueError: with the sentence for the client.
    """
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise ValueError(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)


def _flag(request: Request, name: str) -> bool | None:
    value = request.first(name)
    return None if value is None else value.lower() not in ("false", "0")


def list_options(request: Request, watching: bool) -> ListOptions:
    """Read the options of a list or a watch, and check that they go together.

    Raises:
        ApiError: 400 or 422; for a watch that begins at no number 500, as kube-apiserver answers.
    """
    match, token = request.first("resourceVersionMatch") or "", request.first("continue") or ""
    text = request.first("resourceVersion") or ""
    initial = _flag(request, "sendInitialEvents")
    limit = whole_number(request.first("limit")) or 0
    timeout = whole_number(request.first("timeoutSeconds"))
    errors = _check_watch(match, initial) if watching else _check_list(match, text, token, initial)
    if errors:
        raise invalid("meta.k8s.io", "ListOptions", "", errors)
    try:
        revision = revision_of(text)
    except ValueError as error:
        if watching:
            raise ApiError(500, "", str(error)) from None
        raise bad_request(f"invalid resource version: {error}") from None
    return ListOptions(
        request.first("labelSelector") or "",
        request.first("fieldSelector") or "",
        max(0, limit),
        token,
        revision,
        match,
        timeout,
        bool(_flag(request, "allowWatchBookmarks")),
        initial,
    )


def _check_list(match: str, revision: str, token: str, initial: bool | None) -> list[FieldError]:
    errors: list[FieldError] = []
    if match:
        if not revision:
            text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            errors.append(forbidden_field("resourceVersionMatch", text))
        if token:
            text = "resourceVersionMatch is forbidden when continue is provided"
            errors.append(forbidden_field("resourceVersionMatch", text))
        if match not in ("Exact", "NotOlderThan"):
            errors.append(not_supported("resourceVersionMatch", match, ["Exact", "NotOlderThan", ""]))
        if match == "Exact" and revision == "0":
            text = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            errors.append(forbidden_field("resourceVersionMatch", text))
    if initial is not None:
        errors.append(forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return errors


def _check_watch(match: str, initial: bool | None) -> list[FieldError]:
    errors: list[FieldError] = []
    if initial is None:
        if match:
            text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            errors.append(forbidden_field("resourceVersionMatch", text))
        return errors
    if match == "":
        text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        errors.append(forbidden_field("resourceVersionMatch", text))
    elif match != "NotOlderThan":
        text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        errors.append(forbidden_field("resourceVersionMatch", text))
        errors.append(not_supported("resourceVersionMatch", match, ["NotOlderThan"]))
    return errors
