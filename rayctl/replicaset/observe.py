"""What runs on a Ray cluster: asked of its dashboard, within a time limit. Not to know is an answer too."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rayctl.core.controller import Document

__all__ = ["Observer", "Work", "observe_all"]

Work = Mapping[str, Any]
"""``jobs``, ``requests``: how many run, None if unknown; ``error``: why."""

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


async def observe_all(observer: Observer, clusters: Sequence[Document]) -> dict[str, Work]:
    """Return what runs on each cluster, by uid. A cluster that does not answer in time costs 3 s, and says nothing."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(cluster: Document) -> Work:
        async with places:
            try:
                return await asyncio.wait_for(observer.work(cluster), ASK_S)
            except Exception as error:
                return {"jobs": None, "requests": None, "error": f"{type(error).__name__}: {error}"[:200]}

    found = await asyncio.gather(*(one(cluster) for cluster in clusters))
    return {cluster["metadata"]["uid"]: work for cluster, work in zip(clusters, found, strict=True)}
