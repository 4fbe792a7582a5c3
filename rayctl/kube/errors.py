"""What can go wrong with a request to the Kubernetes API, so that a caller can tell what to do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayctl.errors import RayctlError

__all__ = [
    "AlreadyExists",
    "Cause",
    "Denied",
    "Expired",
    "KubernetesError",
    "LeaseLost",
    "NoAnswer",
    "ObjectNotFound",
    "Overloaded",
    "Rejected",
    "ServerTrouble",
    "WriteConflict",
    "field_conflicts",
    "from_status",
]

_OWNER = re.compile(r'conflicts? with "(?P<manager>[^"]*)"(?P<rest>[^:]*)')


@dataclass(frozen=True)
class Cause:
    """One place that a server complained about."""

    reason: str
    message: str
    field: str


class KubernetesError(RayctlError):
    """A request to the Kubernetes API did not succeed.

    ``status``: the answer's code, 0 without an answer; ``reason``: the server's word; ``causes``: single places;
    ``outcome_unknown``: the request may have been carried out nevertheless.
    """

    code = "kubernetes-error"
    title = "The Kubernetes API did not do what was asked"
    http_status = 502

    status: int = 0
    reason: str = ""
    causes: tuple[Cause, ...] = ()
    outcome_unknown: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        extra = {name: getattr(self, name) for name in ("status", "reason", "causes", "outcome_unknown")}
        return (*super().__reduce__(), extra)


class ObjectNotFound(KubernetesError):
    """The object, or its kind, is not there (404)."""

    code = "kubernetes-not-found"
    exit_code = 3


class AlreadyExists(KubernetesError):
    """An object of this name is there already (409)."""

    code = "kubernetes-already-exists"
    exit_code = 6


class WriteConflict(KubernetesError):
    """Somebody else changed the object, or owns the fields (409). Look again, decide again."""

    code = "kubernetes-conflict"
    exit_code = 6
    retry = "backoff"


class Expired(KubernetesError):
    """The resourceVersion or the list's continuation is too old (410). List anew."""

    code = "kubernetes-expired"
    retry = "backoff"


class Denied(KubernetesError):
    """The server does not know us, or does not let us (401, 403)."""

    code = "kubernetes-denied"
    exit_code = 7
    retry = "backoff"


class Rejected(KubernetesError):
    """The request itself is wrong (other 4xx). Sending it again changes nothing."""

    code = "kubernetes-rejected"
    exit_code = 2


class Overloaded(KubernetesError):
    """The server asks us to come back later (429, or any answer with Retry-After); ``retry_after_s`` says when."""

    code = "kubernetes-overloaded"
    exit_code = 8
    retry = "after"


class ServerTrouble(KubernetesError):
    """The server failed (5xx). A write may have happened."""

    code = "kubernetes-server-trouble"
    exit_code = 8
    retry = "backoff"


class NoAnswer(KubernetesError):
    """No connection, or none that lasted. ``outcome_unknown`` unless it is certain that nothing was sent."""

    code = "kubernetes-no-answer"
    exit_code = 8
    retry = "backoff"


class LeaseLost(KubernetesError):
    """The request was not sent: the lease under which it was to be made is no longer ours."""

    code = "lease-lost"


_UNTYPED = "failed to create typed patch object"
"""Server-side apply of a document that does not fit its kind is answered so, with 500 (kube-apiserver 1.36)."""


def from_status(status: int, answer: Any, retry_after_s: float | None, writes: bool) -> KubernetesError:
    """Return the error for an answer.

    Args:
        status: Its code.
        answer: Its ``Status`` object, or whatever came instead (a path that is not served gets a line of text).
        retry_after_s: Of its header Retry-After, in seconds.
        writes: Whether the request was to change something.
    """
    document: Mapping[str, Any] = answer if isinstance(answer, Mapping) else {"message": str(answer).strip()[:500]}
    reason = str(document.get("reason") or "")
    details = document.get("details") or {}
    message = str(document.get("message") or f"the server answered {status}")
    kind: type[KubernetesError]
    if retry_after_s is not None or status == 429:
        kind = Overloaded
    elif status == 404:
        kind = ObjectNotFound
    elif status == 409:
        kind = AlreadyExists if reason == "AlreadyExists" else WriteConflict
    elif status == 410:
        kind = Expired
    elif status in (401, 403):
        kind = Denied
    elif _UNTYPED in message:
        kind = Rejected
    else:
        kind = ServerTrouble if status >= 500 else Rejected
    error = kind(message, retry_after_s=retry_after_s)
    error.status, error.reason = status, reason
    error.causes = tuple(
        Cause(str(cause.get("reason", "")), str(cause.get("message", "")), str(cause.get("field", "")))
        for cause in details.get("causes") or ()
    )
    # Refused before anything is done: 429, and 4xx. A gateway's or a handler's 5xx says nothing.
    error.outcome_unknown = writes and status >= 500 and kind is not Rejected
    return error


def field_conflicts(error: WriteConflict) -> list[tuple[str, str]]:
    """Return (field, who owns it) for each conflict of a server-side apply; empty if it was another conflict."""
    found = []
    for cause in error.causes:
        if cause.reason == "FieldManagerConflict":
            owner = _OWNER.search(cause.message)
            text = f"{owner['manager']}{owner['rest'].rstrip()}" if owner else cause.message
            found.append((cause.field, text))
    return found
