"""The one exception tree of rayctl.

Every error says what happened, why, and what to do about it, and carries what each surface needs:
``code`` (stable, searchable), ``http_status`` (HTTP API), ``exit_code`` (command line) and ``retry``
(what a caller should do: ``never``, ``backoff``, or ``after`` with ``retry_after_s``).

Errors cross process borders: over Ray by pickle, over HTTP as RFC 9457 problem documents. Both ways
give the same class and the same fields back (`to_problem`, `from_problem`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypedDict

__all__ = [
    "Conflict",
    "DeadlineExceeded",
    "FieldError",
    "Forbidden",
    "IdempotencyConflict",
    "InvalidData",
    "InvalidRequest",
    "MalformedEnvelope",
    "MalformedRequest",
    "NotAuthenticated",
    "NotFound",
    "QueueFull",
    "QuotaExceeded",
    "RayctlError",
    "ResultNotReady",
    "RunFailed",
    "ServerUnreachable",
    "SourceUnreachable",
    "TamperedEnvelope",
    "TooLarge",
    "TrialError",
    "Unavailable",
    "UnsupportedEnvelope",
    "from_problem",
]


class FieldError(TypedDict):
    """One invalid place in a request: a JSON pointer and what is wrong there."""

    pointer: str
    message: str


class RayctlError(Exception):
    """Base of all errors that rayctl raises on purpose.

    Args:
        message: What happened, in one sentence.
        code: A more specific stable code than the class's own, in kebab-case.
        hint: What the caller can do about it.
        errors: The single invalid places, for requests that are wrong in several.
        retry_after_s: Seconds after which a repetition may succeed.
    """

    code: str = "internal-error"
    title: ClassVar[str] = "Unexpected failure"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retry: ClassVar[str] = "never"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        errors: Sequence[FieldError] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.hint = hint
        self.errors: tuple[FieldError, ...] = tuple(errors)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.code, self.hint, self.errors, self.retry_after_s))

    def to_problem(self) -> dict[str, Any]:
        """Return the RFC 9457 problem document of this error (a JSON object)."""
        problem: dict[str, Any] = {
            "type": f"urn:rayctl:problem:{self.code}",
            "title": self.title,
            "status": self.http_status,
            "detail": self.message,
            "code": self.code,
            "retry": self.retry,
            "kind": type(self).__name__,
        }
        if self.hint:
            problem["hint"] = self.hint
        if self.errors:
            problem["errors"] = list(self.errors)
        if self.retry_after_s is not None:
            problem["retry_after_s"] = self.retry_after_s
        return problem


def _rebuild(
    cls: type[RayctlError],
    message: str,
    code: str,
    hint: str | None,
    errors: tuple[FieldError, ...],
    retry_after_s: float | None,
) -> RayctlError:
    return cls(message, code=code, hint=hint, errors=errors, retry_after_s=retry_after_s)


class InvalidRequest(RayctlError):
    """The request was understood but asks for something that cannot be done."""

    code = "invalid-request"
    title = "The request is not valid"
    http_status = 422
    exit_code = 2


class InvalidData(InvalidRequest):
    """The table cannot be learned from as it is; ``code`` names the defect (``missing-target``, …)."""

    code = "invalid-data"
    title = "The data is not usable as it is"


class IdempotencyConflict(InvalidRequest):
    """The same idempotency key was used before with another request."""

    code = "idempotency-key-reused"
    title = "Idempotency key reused with another request"


class MalformedRequest(RayctlError):
    """The bytes of the request could not be parsed at all."""

    code = "malformed-request"
    title = "The request cannot be parsed"
    http_status = 400
    exit_code = 2


class MalformedEnvelope(InvalidRequest):
    """A value has no form in an envelope, or bytes are not one."""

    code = "not-readable"
    title = "Not a readable envelope"


class TamperedEnvelope(InvalidRequest):
    """An envelope's digest, fingerprint or signature is wrong, or a demanded signature is missing."""

    code = "wrong-digest"
    title = "The envelope is not what was sent"


class UnsupportedEnvelope(InvalidRequest):
    """An envelope of another kind, or of a version that cannot be read here."""

    code = "unsupported-envelope"
    title = "The envelope is of another kind or version"


class TooLarge(RayctlError):
    """The request or its data is over a limit of this service."""

    code = "too-large"
    title = "Over the size limit"
    http_status = 413
    exit_code = 2


class NotAuthenticated(RayctlError):
    """No valid token was presented."""

    code = "not-authenticated"
    title = "Not authenticated"
    http_status = 401
    exit_code = 7


class Forbidden(RayctlError):
    """The caller is known but not allowed to do this (also: a URI that the operator does not allow)."""

    code = "forbidden"
    title = "Not allowed"
    http_status = 403
    exit_code = 7


class NotFound(RayctlError):
    """The named object does not exist, or is not the caller's to see."""

    code = "not-found"
    title = "Not found"
    http_status = 404
    exit_code = 3


class Conflict(RayctlError):
    """The state of the object forbids this."""

    code = "conflict"
    title = "The object's state forbids this"
    http_status = 409
    exit_code = 6


class ResultNotReady(Conflict):
    """A result was asked for before the run had one."""

    code = "result-not-ready"
    title = "The run has no result yet"
    retry = "after"


class RunFailed(Conflict):
    """The run ended without a result (failed or cancelled)."""

    code = "run-failed"
    title = "The run ended without a result"
    exit_code = 4
    retry = "never"


class QueueFull(RayctlError):
    """The service has as many runs waiting as it accepts."""

    code = "queue-full"
    title = "Too many runs are waiting"
    http_status = 429
    exit_code = 8
    retry = "after"


class QuotaExceeded(QueueFull):
    """The tenant has as much as it may have; ``code`` names what (``quota-runs``, ``quota-bytes``)."""

    code = "quota-exceeded"
    title = "Over the tenant's quota"
    http_status = 429


class Unavailable(RayctlError):
    """The service cannot do this at the moment (starting, no disk space, its database is away)."""

    code = "unavailable"
    title = "The service cannot do this at the moment"
    http_status = 503
    exit_code = 8
    retry = "backoff"


class SourceUnreachable(RayctlError):
    """Data was to be fetched from somewhere that did not answer or does not have it."""

    code = "source-unreachable"
    title = "The data source cannot be read"
    http_status = 502
    exit_code = 8
    retry = "backoff"


class ServerUnreachable(RayctlError):
    """The client found no rayctl service at the address it was given."""

    code = "server-unreachable"
    title = "No rayctl service answers there"
    http_status = 503
    exit_code = 8
    retry = "backoff"


class DeadlineExceeded(RayctlError):
    """The caller's time limit passed; the work itself may still go on."""

    code = "timeout"
    title = "Timed out"
    http_status = 504
    exit_code = 5
    retry = "backoff"


class TrialError(RayctlError):
    """Why one trial failed. Raised inside tasks only; it ends as a row of the leaderboard.

    Codes: ``model-error`` (the model raised), ``trial-timeout``, ``out-of-memory``, ``invalid-score``
    (not finite), ``invalid-prediction``, ``worker-died``, ``unknown-model``, ``unknown-parameter``,
    ``environment-error``.
    """

    code = "model-error"
    title = "The trial failed"
    http_status = 422
    exit_code = 4


def _subclasses(cls: type[RayctlError]) -> list[type[RayctlError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in _subclasses(child))]


def from_problem(problem: Mapping[str, Any]) -> RayctlError:
    """Turn a problem document back into the exception it was made from.

    Unknown kinds (a newer server) become the base class with the document's code and text.
    """
    by_name = {cls.__name__: cls for cls in _subclasses(RayctlError)}
    by_status = {404: NotFound, 401: NotAuthenticated, 403: Forbidden, 409: Conflict, 413: TooLarge, 503: Unavailable}
    status = problem.get("status")
    fallback = by_status.get(status, RayctlError) if isinstance(status, int) else RayctlError
    cls = by_name.get(str(problem.get("kind")), fallback)
    return cls(
        str(problem.get("detail") or problem.get("title") or "The server reported an error without a text."),
        code=problem.get("code"),
        hint=problem.get("hint"),
        errors=problem.get("errors") or (),
        retry_after_s=problem.get("retry_after_s"),
    )
