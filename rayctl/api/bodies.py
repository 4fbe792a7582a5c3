"""Reading request bodies within limits: raw bytes, JSON, and multipart forms.

Nothing is read before its size is known to be allowed, and never more than the limit is held: a declared
Content-Length over it is refused at once, and an undeclared body when it passes the limit.
"""

from __future__ import annotations

import errno
import math
import re
from collections.abc import AsyncGenerator, MutableMapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic_core import from_json
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from rayctl.api.problems import HttpRefusal
from rayctl.errors import MalformedRequest, TooLarge, Unavailable

__all__ = [
    "Budget",
    "Form",
    "Part",
    "media_type",
    "parse_json",
    "read_body",
    "read_form",
    "read_json",
    "unsupported_media",
]

_HELD = "held_bytes"
# Only numbers written like these can become infinite; everything else needs no second look.
_HUGE_NUMBER = re.compile(rb"[eE]\+?[0-9]{3}|[0-9]{300}")


class Budget:
    """How many bytes of request bodies this process holds at a time, over all requests."""

    def __init__(self, limit: int) -> None:
        self._free = limit

    def take(self, state: MutableMapping[str, Any], amount: int) -> None:
        """Count ``amount`` bytes for a request.

        Raises:
            Unavailable: other requests hold too much at the moment.
        """
        if amount > self._free:
            raise Unavailable(
                "Too many large requests are being received at the moment.", code="busy-receiving", retry_after_s=2
            )
        self._free -= amount
        state[_HELD] = state.get(_HELD, 0) + amount

    def release(self, state: MutableMapping[str, Any]) -> None:
        """Give back all that a request took."""
        self._free += state.pop(_HELD, 0)


@dataclass(frozen=True)
class Part:
    """One part of a multipart form."""

    content: bytes
    filename: str | None = None
    content_type: str | None = None


Form = dict[str, Part]


def media_type(request: Request) -> str:
    """Return the media type of the body, without parameters and in lower case (empty if there is none)."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def unsupported_media(request: Request, expected: str) -> HttpRefusal:
    """Return the error for a body of a type that the route does not take."""
    return HttpRefusal(
        415,
        "This content type is not accepted here." if media_type(request) else "The body has no content type.",
        code="unsupported-media-type",
        title="Unsupported media type",
        kind="MalformedRequest",
        hint=f"Send {expected}.",
    )


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The request body is over the limit of {limit} bytes.", hint="Name the data by a URI instead.")


async def _chunks(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    declared = request.headers.get("content-length")
    if declared is not None:
        if not (declared.isascii() and declared.isdigit()):
            raise MalformedRequest("The Content-Length header is not a number.")
        if len(declared) > 18 or int(declared) > limit:
            raise _too_large(limit)
    budget: Budget = request.app.state.budget
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > limit:
            raise _too_large(limit)
        budget.take(request.scope["state"], len(chunk))
        yield chunk


async def read_body(request: Request, limit: int) -> bytes:
    """Return the whole body, of at most ``limit`` bytes. Raises TooLarge."""
    collected = bytearray()
    async for chunk in _chunks(request, limit):
        collected += chunk
    return bytes(collected)


def _reject_infinite(value: Any) -> None:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise MalformedRequest("The JSON text has a number too large for a 64-bit float.")


def parse_json(text: bytes, what: str = "The request body") -> Any:
    """Parse strict JSON in UTF-8: no NaN, no infinities, no lone surrogates, bounded depth. Raises MalformedRequest."""
    if not text.strip():
        raise MalformedRequest(f"{what} is empty; it must be JSON.")
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as exc:
        raise MalformedRequest(f"{what} is not JSON: {exc}.") from None
    if _HUGE_NUMBER.search(text):
        _reject_infinite(value)
    return value


async def read_json(request: Request, limit: int) -> Any:
    """Read a JSON body. Raises MalformedRequest, TooLarge, and the 415 refusal for another content type."""
    kind = media_type(request)
    if kind != "application/json" and not kind.endswith("+json"):
        raise unsupported_media(request, "application/json")
    return parse_json(await read_body(request, limit))


def _not_taken_in(error: OSError) -> Unavailable:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return Unavailable(
        f"The data cannot be taken in: {error.strerror or type(error).__name__}.",
        code="upload-disk-full" if full else "upload-failed",
        hint="Free space where the service keeps temporary files (its TMPDIR). Nothing was accepted."
        if full
        else "The log of the service tells more. Nothing was accepted.",
        retry_after_s=5,
    )


async def read_form(request: Request, *, limit: int, field_limit: int, names: frozenset[str]) -> Form:
    """Read a multipart form whose parts are among ``names``, each at most once.

    Files go through a temporary file while they arrive (not through memory), fields have ``field_limit``. Raises
    MalformedRequest, TooLarge, and Unavailable (``upload-disk-full``, ``upload-failed``): that file cannot be written.
    """
    parser = MultiPartParser(
        request.headers, _chunks(request, limit), max_files=len(names), max_fields=len(names), max_part_size=field_limit
    )
    try:
        form = await parser.parse()
    except MultiPartException as exc:
        if "exceeded maximum size" in exc.message:
            raise _too_large(field_limit) from None
        raise MalformedRequest(f"The multipart form cannot be parsed: {exc.message}") from None
    except OSError as exc:
        raise _not_taken_in(exc) from exc
    parts: Form = {}
    try:
        for name, value in form.multi_items():
            if name not in names or name in parts:
                expected = ", ".join(sorted(names))
                raise MalformedRequest(f"The form may have each of these parts once, and no other: {expected}.")
            if isinstance(value, UploadFile):
                parts[name] = Part(await value.read(), value.filename, value.content_type)
            else:
                parts[name] = Part(value.encode("utf-8", "surrogatepass"))
    finally:
        await form.close()
    return parts
