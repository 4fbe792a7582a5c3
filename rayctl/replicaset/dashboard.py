"""What runs on a Ray cluster, by the HTTP API of its dashboard; and values of metrics, by Prometheus'."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp

from rayctl.cluster.dashboard import DashboardClient
from rayctl.cluster.in_flight import requests_in_flight
from rayctl.cluster.keys import CLUSTER
from rayctl.core.controller import Document
from rayctl.kube.errors import KubernetesError
from rayctl.kube.kinds import PODS
from rayctl.replicaset.observe import Work
from rayctl.replicaset.reader import Reader

__all__ = ["DashboardObserver"]

_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_ASK_S = 3.0
_METRICS_S = 1.5


class DashboardObserver:
    """See `rayctl.replicaset.observe.Observer`. To be made and used where the event loop runs.

    Args:
        client: The way to clusters' dashboards.
        prometheus: Base address of a Prometheus server; None: metrics are unknown.
        reader: Finds the pods of a cluster, whose proxies count requests; None: requests are unknown.
    """

    def __init__(self, client: DashboardClient, prometheus: str | None = None, reader: Reader | None = None) -> None:
        self._client, self._reader = client, reader
        self._prometheus = prometheus.rstrip("/") if prometheus else None

    async def close(self) -> None:
        """Close connections."""
        await self._client.close()

    async def work(self, cluster: Document) -> Work:
        """Return how many jobs run, whether applications do, and the requests in flight; None: nobody knows.

        Raises:
            OSError: The dashboard did not answer as it should.
        """
        jobs, serve = await asyncio.gather(self._json(cluster, "/api/jobs/"), self.serve(cluster))
        running = sum(1 for job in jobs or () if isinstance(job, Mapping) and job.get("status") not in _ENDED)
        serving = bool(serve["applications"])
        return {"jobs": running, "serving": serving, "requests": await self._requests(cluster) if serving else 0}

    async def _requests(self, cluster: Document) -> int | None:
        if self._reader is None:
            return None
        metadata = cluster["metadata"]
        try:
            pods = await self._reader.list(PODS, metadata["namespace"], f"{CLUSTER}={metadata['name']}")
        except KubernetesError:
            return None  # of the jobs it is known how many run
        return await requests_in_flight(self._client, pods, _METRICS_S)

    async def serve(self, cluster: Document) -> Mapping[str, Any]:
        """Return the state of each Serve application.

        Raises:
            OSError: The dashboard did not answer as it should.
        """
        found = await self._json(cluster, "/api/serve/applications/")
        applications = (found.get("applications") if isinstance(found, Mapping) else None) or {}
        return {"applications": {str(name): str((app or {}).get("status")) for name, app in applications.items()}}

    async def metric(self, query: str) -> Mapping[str, Any]:
        """Return the value of a query that has one value.

        Raises:
            OSError: There is no Prometheus, or it did not answer as it should.
        """
        if self._prometheus is None:
            raise OSError("no Prometheus is configured (RAYCTL_PROMETHEUS_URL)")
        url = f"{self._prometheus}/api/v1/query?{urlencode({'query': query})}"
        try:
            found = _decoded(*await self._client.fetch("GET", url, {}, None, _ASK_S))
        except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as error:
            raise OSError(f"no usable answer: {error or type(error).__name__}") from error
        result = ((found.get("data") or {}) if isinstance(found, Mapping) else {}).get("result") or []
        if len(result) != 1:
            raise OSError(f"the query has {len(result)} values, not one")
        return {"value": float(result[0]["value"][1])}

    async def _json(self, cluster: Document, path: str) -> Any:
        try:
            return _decoded(*await self._client.send(cluster, "GET", path, timeout_s=_ASK_S))
        except (KubernetesError, ValueError) as error:
            raise OSError(f"no usable answer: {error}") from error


def _decoded(status: int, text: str) -> Any:
    if status != 200:
        raise OSError(f"the answer was {status}")
    return json.loads(text)
