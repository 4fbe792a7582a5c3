"""Failures as the Kubernetes API tells them: `Status` documents with a reason, details and causes.

Reasons, codes and the wording of messages follow what kube-apiserver answers; clients match on them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "ApiError",
    "FieldError",
    "already_exists",
    "bad_request",
    "conflict",
    "duplicate",
    "expired",
    "forbidden",
    "forbidden_field",
    "internal",
    "invalid",
    "invalid_value",
    "method_not_supported",
    "no_such_path",
    "not_acceptable",
    "not_found",
    "not_supported",
    "required",
    "success",
    "too_large",
    "too_large_revision",
    "too_long",
    "too_many",
    "type_invalid",
    "unauthorized",
    "unsupported_media_type",
]

MAX_QUOTED = 10_000


@dataclass(frozen=True)
class FieldError:
    """One thing that is wrong with a field. ``kind`` is the cause's reason without its prefix ``FieldValue``."""

    kind: str
    field: str
    text: str

    @property
    def cause(self) -> dict[str, str]:
        """The entry of ``details.causes``."""
        return {"reason": f"FieldValue{self.kind}", "message": self.text, "field": self.field}

    def __str__(self) -> str:
        return f"{self.field}: {self.text}"


class ApiError(Exception):
    """A request that failed, as the client is to see it.

    Args:
        code: HTTP status.
        reason: One of the API's words, such as ``NotFound``; empty for none.
        message: The sentence for a reader.
        details: ``name``, ``group``, ``kind``, ``causes``, ``retryAfterSeconds`` as far as they apply.
    """

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def document(self) -> dict[str, Any]:
        """Return the `Status` that is sent."""
        found: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            found["reason"] = self.reason
        if self.details is not None:
            found["details"] = self.details
        found["code"] = self.code
        return found


@dataclass
class PlainText(Exception):
    """An answer that is no `Status`, as for paths that nobody serves."""

    code: int
    text: str = field(default="")

    @property
    def content_type(self) -> str:
        """The media type; none for no text."""
        return "text/plain; charset=utf-8" if self.text else ""


def success(details: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the `Status` of something that worked."""
    found: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details is not None:
        found["details"] = details
    return found


# Kinds of failures ----------------------------------------------------------------------------------


def _about(group: str, plural: str, name: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    if name:
        found["name"] = name
    if group:
        found["group"] = group
    found["kind"] = plural
    return found


def _qualified(group: str, plural: str) -> str:
    return f"{plural}.{group}" if group else plural


def no_such_path() -> PlainText:
    """Nobody serves this path."""
    return PlainText(404, "404 page not found\n")


def not_found(group: str, plural: str, name: str) -> ApiError:
    """An object that is not there."""
    return ApiError(404, "NotFound", f'{_qualified(group, plural)} "{name}" not found', _about(group, plural, name))


def already_exists(group: str, plural: str, name: str, terminating: bool = False) -> ApiError:
    """A name that is taken. ``terminating``: by an object that is being deleted."""
    message = f'{_qualified(group, plural)} "{name}" already exists'
    if terminating:
        message = f"object is being deleted: {message}"
    return ApiError(409, "AlreadyExists", message, _about(group, plural, name))


def conflict(group: str, plural: str, name: str, why: str) -> ApiError:
    """Somebody else was faster, or a precondition does not hold."""
    message = f'Operation cannot be fulfilled on {_qualified(group, plural)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _about(group, plural, name))


def forbidden(group: str, plural: str, name: str, why: str) -> ApiError:
    """Not allowed, for this user or in this state."""
    what = f'{_qualified(group, plural)} "{name}" is forbidden' if name else f"{_qualified(group, plural)} is forbidden"
    return ApiError(403, "Forbidden", f"{what}: {why}", _about(group, plural, name))


def invalid(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> ApiError:
    """An object that breaks rules; lists all of them."""
    texts = list(dict.fromkeys(str(error) for error in errors))
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = _about(group, kind, name) | {"causes": [error.cause for error in errors]}
    shown = f"{kind}.{group}" if group else kind
    return ApiError(422, "Invalid", f'{shown} "{name}" is invalid: {joined}', details)


def bad_request(message: str) -> ApiError:
    """A request that makes no sense."""
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    """A token that nobody knows."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def internal(message: str) -> ApiError:
    """Something broke here."""
    return ApiError(500, "InternalError", f"Internal error occurred: {message}", {"causes": [{"message": message}]})


def method_not_supported(verb: str, group: str, plural: str) -> ApiError:
    """The path exists; the method does not."""
    del verb, group, plural
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def not_acceptable(accepted: Iterable[str]) -> ApiError:
    """None of the media types that the client takes is served."""
    message = f"only the following media types are accepted: {', '.join(accepted)}"
    return ApiError(406, "NotAcceptable", message)


def unsupported_media_type(accepted: Iterable[str]) -> ApiError:
    """A body in a form that is not read here."""
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return ApiError(415, "UnsupportedMediaType", message)


def too_large(message: str) -> ApiError:
    """A body, or a list of operations, beyond the limit."""
    return ApiError(413, "RequestEntityTooLarge", message)


def expired(message: str) -> ApiError:
    """History before this revision has been forgotten."""
    return ApiError(410, "Expired", message)


def too_large_revision(wanted: int, current: int) -> ApiError:
    """A revision that has not been reached."""
    message = f"Too large resource version: {wanted}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return ApiError(504, "Timeout", f"Timeout: {message}", {"causes": [cause], "retryAfterSeconds": 1})


# Kinds of field errors ------------------------------------------------------------------------------


def shown(value: Any) -> str:
    """Return a value as messages quote it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED]


def required(path: str, detail: str = "") -> FieldError:
    """A field that has to be there."""
    return FieldError("Required", path, f"Required value: {detail}" if detail else "Required value")


def invalid_value(path: str, value: Any, detail: str) -> FieldError:
    """A value that breaks a rule."""
    return FieldError("Invalid", path, f"Invalid value: {shown(value)}: {detail}")


def not_supported(path: str, value: Any, supported: Iterable[Any]) -> FieldError:
    """A value that is not among the known ones."""
    known = ", ".join(shown(item) for item in supported)
    return FieldError("NotSupported", path, f"Unsupported value: {shown(value)}: supported values: {known}")


def duplicate(path: str, value: Any) -> FieldError:
    """A second one where only one may be."""
    return FieldError("Duplicate", path, f"Duplicate value: {shown(value)}")


def forbidden_field(path: str, detail: str) -> FieldError:
    """A field that may not be there, or not be changed."""
    return FieldError("Forbidden", path, f"Forbidden: {detail}")


def too_long(path: str, limit: int, unit: str = "bytes") -> FieldError:
    """A text beyond its limit."""
    return FieldError("TooLong", path, f"Too long: may not be more than {limit} {unit}")


def too_many(path: str, count: int, limit: int) -> FieldError:
    """A list beyond its limit."""
    return FieldError("TooMany", path, f"Too many: {count}: must have at most {limit} items")


def type_invalid(path: str, value: Any, wanted: str) -> FieldError:
    """A value of another type."""
    name = "integer" if isinstance(value, int) and not isinstance(value, bool) else _TYPES.get(type(value), "null")
    text = f'Invalid value: "{name}": {path} in body must be of type {wanted}: "{name}"'
    return FieldError("TypeInvalid", path, text)


_TYPES: dict[type, str] = {str: "string", bool: "boolean", float: "number", dict: "object", list: "array"}
