"""How many Serve requests a Ray cluster is answering: what the proxies on its nodes count, by their metrics."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence

import aiohttp

from rayctl.cluster.dashboard import DashboardClient, url_host
from rayctl.core.controller import Document

__all__ = ["ongoing", "requests_in_flight"]

METRICS_S = 4.0
_ONGOING = re.compile(r"^(?:ray_)?serve_num_ongoing_(?:http|grpc)_requests(?:\{[^}]*\})?\s+([0-9.eE+-]+)", re.MULTILINE)


async def requests_in_flight(
    client: DashboardClient, pods: Sequence[Document], timeout_s: float = METRICS_S
) -> int | None:
    """Return how many requests all proxies of a cluster are answering; None if one of its pods does not say.

    Args:
        client: The way to it.
        pods: Of the cluster, all of them.
        timeout_s: For each; they are asked side by side.
    """
    places = [_metrics_place(pod) for pod in pods if (pod.get("status") or {}).get("podIP")]
    if not places or len(places) < len(pods):
        return None
    texts = await asyncio.gather(*(_metrics(client, host, port, timeout_s) for host, port in places))
    known = [count for count in map(ongoing, texts) if count is not None]
    # Nodes without a proxy have no such figure, but one node at least must have it.
    return sum(known) if known and all(texts) else None


def ongoing(text: str) -> int | None:
    """Return the requests in flight that a node's metrics (Prometheus text) speak of; None if they do not."""
    found = _ONGOING.findall(text)
    return round(sum(float(value) for value in found)) if found else None


async def _metrics(client: DashboardClient, host: str, port: int, timeout_s: float) -> str:
    """Return a node's metrics; empty if it does not say."""
    url = f"http://{url_host(host)}:{port}/metrics"
    try:
        status, text = await client.fetch("GET", url, {}, None, timeout_s)
    except (aiohttp.ClientError, OSError, asyncio.TimeoutError, ValueError):
        return ""
    return text if status == 200 else ""


def _metrics_place(pod: Document) -> tuple[str, int]:
    """Return host and port of a pod's metrics: the declared port, or where the embedded kubelet has moved it to."""
    wanted, address = 8080, str(pod["status"]["podIP"])
    for container in ((pod.get("spec") or {}).get("containers") or ())[:1]:
        for port in container.get("ports") or ():
            if port.get("name") == "metrics":
                wanted = int(port["containerPort"])
    try:
        moved = json.loads((pod["metadata"].get("annotations") or {})["rayctl.io/ports"])
        return "127.0.0.1", int(moved[str(wanted)])
    except (KeyError, TypeError, ValueError, AttributeError):
        return address, wanted
