"""What a failed request to the Kubernetes API is for a caller of the HTTP API. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rayctl.api.problems import HttpRefusal
from rayctl.errors import Conflict, FieldError, Forbidden, InvalidRequest, NotFound, RayctlError, TooLarge, Unavailable
from rayctl.kube.errors import (
    AlreadyExists,
    Denied,
    Expired,
    KubernetesError,
    NoAnswer,
    ObjectNotFound,
    Overloaded,
    Rejected,
    WriteConflict,
    field_conflicts,
)

__all__ = ["precondition_failed", "translated"]

_UNKNOWN = ("could not find the requested resource", "page not found")
_UNTYPED = "failed to create typed patch object"
_PLACE = re.compile(r"(?:^|: |\n\s*)(\.\S+): ([^\n]*)")
_AGAIN = "It may have been carried out nevertheless: look before you repeat it."


def translated(error: KubernetesError) -> RayctlError:
    """Return the error as the HTTP API says it."""
    if error.message.startswith(_UNTYPED):
        # A wrong field in an applied document is a 500 at the Kubernetes API; it is the document's fault, and nothing
        # was done.
        return InvalidRequest(error.message, code="rejected-by-kubernetes", errors=list(_untyped(error.message)))
    found = _translated(error)
    if error.outcome_unknown:
        found.hint = f"{found.hint or ''} {_AGAIN}".strip()
    return found


def _translated(error: KubernetesError) -> RayctlError:
    places = _places(error)
    if isinstance(error, ObjectNotFound):
        if any(text in error.message for text in _UNKNOWN):
            hint = "Its definition is not installed: `rayctl install` does that."
            return Unavailable("The Kubernetes API does not have this kind.", code="kind-not-served", hint=hint)
        return NotFound(error.message, code="object-not-found")
    if isinstance(error, AlreadyExists):
        return Conflict(error.message, code="already-exists", hint="PUT changes what is there.")
    if isinstance(error, WriteConflict):
        return _conflict(error)
    if isinstance(error, Denied):
        return _denied(error)
    if isinstance(error, Expired):
        return HttpRefusal(
            410, "This cursor is too old.", code="cursor-too-old", title="Gone", hint="Start from the first page."
        )
    if isinstance(error, Rejected):
        if error.status == 413:
            return TooLarge(error.message, hint="A Kubernetes API takes objects of at most about 1.5 to 3 MiB.")
        return InvalidRequest(error.message, code="rejected-by-kubernetes", errors=places)
    if isinstance(error, Overloaded):
        return Unavailable(error.message, code="kubernetes-overloaded", retry_after_s=error.retry_after_s or 1.0)
    if isinstance(error, NoAnswer):
        return HttpRefusal(
            504,
            "The Kubernetes API does not answer.",
            code="kubernetes-no-answer",
            title="The Kubernetes API does not answer",
            kind="Unavailable",
            hint="`rayctl doctor` looks for the cause.",
        )
    return HttpRefusal(
        502, error.message, code="kubernetes-trouble", title="The Kubernetes API failed", kind="Unavailable"
    )


def _untyped(message: str) -> Iterator[FieldError]:
    for path, text in _PLACE.findall(message):
        yield {"pointer": path.replace(".", "/").replace("[", "/").replace("]", ""), "message": text}


def _places(error: KubernetesError) -> list[FieldError]:
    return [
        {"pointer": "/" + cause.field.replace(".", "/") if cause.field else "", "message": cause.message}
        for cause in error.causes
    ]


def _conflict(error: WriteConflict) -> Conflict:
    owned = field_conflicts(error)
    if not owned:
        return Conflict(error.message, code="object-changed", hint="Look again, and decide again.")
    return Conflict(
        "Others own fields that differ here.",
        code="fields-owned-by-others",
        errors=[{"pointer": field, "message": f"owned by {owner}"} for field, owner in owned],
        hint="Leave these fields out, or take them over with force=true.",
    )


def _denied(error: Denied) -> RayctlError:
    if error.status == 401:
        return HttpRefusal(
            502,
            "The Kubernetes API does not know this service.",
            code="kubernetes-unknown-service",
            title="The Kubernetes API refused this service",
            kind="Unavailable",
            hint="Its credentials are wrong or have ended; the operator can renew them.",
        )
    hint = "It is this service's own account that may not, a quota that is used up, or a rule of the cluster."
    return Forbidden(error.message, code="kubernetes-denied", hint=hint)


def precondition_failed(revision: str) -> HttpRefusal:
    """Return the answer to an ``If-Match`` that does not hold (any more)."""
    return HttpRefusal(
        412,
        f"The object is not at version {revision} any more.",
        code="precondition-failed",
        title="The object has changed",
        kind="Conflict",
        hint="Get it again; its ETag is the version to base a change on.",
    )
