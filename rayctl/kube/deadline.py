"""A time limit that never loses a cancellation, which `asyncio.wait_for` does before Python 3.12 (bpo-37658)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["within"]

T = TypeVar("T")


async def within(seconds: float, work: Awaitable[T]) -> T:
    """Return what the work gives; it is cancelled, and waited for, when its time is over or the caller is cancelled.

    Raises:
        asyncio.TimeoutError: Its time was over.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task])
        raise
    if not done:
        task.cancel()
        await asyncio.wait([task])
        if task.cancelled():
            raise asyncio.TimeoutError
    return task.result()
