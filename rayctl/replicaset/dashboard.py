"""What runs on a Ray cluster, by the HTTP API of its dashboard; and values of metrics, by Prometheus'."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from rayctl.core.controller import Document
from rayctl.replicaset.observe import Work

__all__ = ["DashboardObserver"]

_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_MOST_BYTES = 4 * 2**20
_ASK_S = 3.0


class DashboardObserver:
    """See `rayctl.replicaset.observe.Observer`. To be made and used where the event loop runs.

    Args:
        prometheus: Base address of a Prometheus server; None: metrics are unknown.
    """

    def __init__(self, prometheus: str | None = None) -> None:
        self._prometheus = prometheus.rstrip("/") if prometheus else None
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close connections."""
        if self._session is not None:
            await self._session.close()

    async def work(self, cluster: Document) -> Work:
        """Return how many jobs run; requests are 0 where no Serve application runs, else unknown.

        Raises:
            OSError: The dashboard did not answer as it should.
        """
        base = _address(cluster)
        jobs = await self._json(f"{base}/api/jobs/")
        running = sum(1 for job in jobs or () if isinstance(job, Mapping) and job.get("status") not in _ENDED)
        applications = (await self.serve(cluster))["applications"]
        return {"jobs": running, "requests": None if applications else 0}

    async def serve(self, cluster: Document) -> Mapping[str, Any]:
        """Return the state of each Serve application.

        Raises:
            OSError: The dashboard did not answer as it should.
        """
        found = await self._json(f"{_address(cluster)}/api/serve/applications/")
        applications = (found.get("applications") if isinstance(found, Mapping) else None) or {}
        return {"applications": {str(name): str((app or {}).get("status")) for name, app in applications.items()}}

    async def metric(self, query: str) -> Mapping[str, Any]:
        """Return the value of a query that has one value.

        Raises:
            OSError: There is no Prometheus, or it did not answer as it should.
        """
        if self._prometheus is None:
            raise OSError("no Prometheus is configured (RAYCTL_PROMETHEUS_URL)")
        found = await self._json(f"{self._prometheus}/api/v1/query", {"query": query})
        result = ((found.get("data") or {}) if isinstance(found, Mapping) else {}).get("result") or []
        if len(result) != 1:
            raise OSError(f"the query has {len(result)} values, not one")
        return {"value": float(result[0]["value"][1])}

    async def _json(self, url: str, query: Mapping[str, str] | None = None) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ASK_S))
        try:
            async with self._session.get(url, params=query, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise OSError(f"the answer was {answer.status}")
                body = await answer.content.read(_MOST_BYTES)
                return json.loads(body)
        except (aiohttp.ClientError, ValueError) as error:
            raise OSError(f"no usable answer: {error}") from error


def _address(cluster: Document) -> str:
    status = cluster.get("status") or {}
    head = status.get("head") or {}
    host = head.get("podIP") or head.get("serviceIP")
    if not host or host == "None":
        raise OSError("its status has no address")
    port = (status.get("endpoints") or {}).get("dashboard") or "8265"
    return f"http://{f'[{host}]' if ':' in str(host) else host}:{int(port)}"
