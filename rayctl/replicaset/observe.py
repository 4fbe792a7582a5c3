"""What runs on a Ray cluster: asked of its dashboard, within a time limit. Not to know is an answer too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from rayctl.core.controller import Document

__all__ = ["Observer", "Work", "ask_all", "observe_all"]

Work = Mapping[str, Any]
"""``jobs``, ``requests``: how many run, None if unknown; ``serving``: whether applications do; ``error``: why."""

ASK_S = 3.0
"""Seconds for one cluster."""
AT_ONCE = 32


class Observer(Protocol):
    """The way to what runs on clusters."""

    async def work(self, cluster: Document) -> Work:
        """Return how many jobs and requests run on a cluster.

        Raises:
            OSError, RayctlError: It did not say.
        """
        ...

    async def serve(self, cluster: Document) -> Mapping[str, Any]:
        """Return ``applications``: the state of each Serve application. Raises as `work`."""
        ...

    async def metric(self, query: str) -> Mapping[str, Any]:
        """Return ``value``: of a metrics query. Raises as `work`."""
        ...


async def ask_all(questions: Mapping[str, Callable[[], Awaitable[Mapping[str, Any]]]]) -> dict[str, Mapping[str, Any]]:
    """Return the answer to each question; those that fail or take longer than 3 s have an ``error`` instead."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(question: Callable[[], Awaitable[Mapping[str, Any]]]) -> Mapping[str, Any]:
        async with places:
            try:
                return await asyncio.wait_for(question(), ASK_S)
            except Exception as error:  # whatever it is, it is part of what was seen
                return {"error": f"{type(error).__name__}: {error}"[:200]}

    found = await asyncio.gather(*(one(question) for question in questions.values()))
    return dict(zip(questions, found, strict=True))


async def observe_all(observer: Observer, clusters: Sequence[Document]) -> dict[str, Work]:
    """Return what runs on each cluster, by uid."""
    return await ask_all({item["metadata"]["uid"]: partial(observer.work, item) for item in clusters})
