"""Tasks that belong together: the end of one is the end of all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

__all__ = ["all_or_none"]


async def all_or_none(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Wait until one of the tasks ends, then cancel the others and wait until they have ended too.

    Raises:
        Exception: What the first one ended with.
    """
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
