"""Idempotency keys of changes: what was answered to a key is answered again, and nothing is done twice.

Kept by this process for ten minutes, which is what a client that repeats after a lost answer needs. Changes that
depend on the state they were decided on carry its version as well, so that a restart in between does no harm.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from rayctl.api.auth import Principal
from rayctl.errors import Conflict, IdempotencyConflict

__all__ = ["Memory"]

_MOST = 2000
_KEPT_S = 600.0


@dataclass
class _Kept:
    digest: bytes
    answer: Response | None
    until: float


class Memory:
    """Answers by caller and key."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Principal, str], _Kept] = OrderedDict()

    async def once(
        self, caller: Principal, key: str | None, asked: Any, work: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Do the work, or return what was answered to this caller's key before.

        Raises:
            IdempotencyConflict: the key came with another request.
            Conflict: the same request is being carried out.
        """
        if key is None:
            return await work()
        now = asyncio.get_running_loop().time()
        self._forget(now)
        digest = hashlib.sha256(to_json(asked)).digest()
        place = (caller, key)
        known = self._kept.get(place)
        if known is not None:
            if known.digest != digest:
                raise IdempotencyConflict("This Idempotency-Key came with another request before.")
            if known.answer is None:
                raise Conflict("The same request is being carried out.", code="still-running", retry_after_s=1.0)
            return known.answer
        kept = self._kept[place] = _Kept(digest, None, now + _KEPT_S)
        try:
            kept.answer = await work()
        except BaseException:
            self._kept.pop(place, None)  # what failed may be tried again
            raise
        return kept.answer

    def _forget(self, now: float) -> None:
        while self._kept:
            place, first = next(iter(self._kept.items()))
            if first.until > now and len(self._kept) < _MOST:
                return
            del self._kept[place]
