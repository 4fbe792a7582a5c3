"""The way to Ray clusters' Serve APIs over HTTP: what they say, what is submitted, and how many requests are in flight.

Every call has a timeout; what goes wrong is part of the answer. A cluster's token is read from its Secret when it is
needed, and goes to that cluster's head and nowhere else.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from rayctl.cluster.names import head_service, token_secret
from rayctl.core.controller import Document
from rayctl.core.plan import Ref
from rayctl.errors import InvalidRequest, Unavailable
from rayctl.kube.calls import Call, Transport
from rayctl.kube.errors import KubernetesError, ObjectNotFound
from rayctl.kube.kinds import SECRETS

__all__ = ["ServeApi", "dashboard_of", "ongoing"]

LOOK_S = 4.0
"""For one look at a cluster. KubeRay waits 2 s; a head that starts its applications needs longer now and then."""
SUBMIT_S = 45.0
"""For one submission: the first one starts Serve itself."""
TOKEN_S = 60.0
"""How long a token is kept."""
_LARGEST = 32 * 1024 * 1024
_APPLICATIONS = "/api/serve/applications/"
_TOKEN_KEY = "auth_token"  # noqa: S105 - the name of a field
_ONGOING = re.compile(r"^(?:ray_)?serve_num_ongoing_(?:http|grpc)_requests(?:\{[^}]*\})?\s+([0-9.eE+-]+)", re.MULTILINE)


@dataclass(frozen=True)
class _Submitted:
    accepted: str = ""
    rejected: str = ""
    rejection: str = ""


class ServeApi:
    """See `rayctl.service.controller.ServeLook` and `rayctl.core.execute.ServePort`.

    Args:
        transport: The way to the API server, for tokens.
        address: Where a cluster's dashboard listens (`dashboard_of`).
        wall: A clock, seconds.
    """

    def __init__(
        self,
        transport: Transport,
        address: Callable[[Document], str] | None = None,
        wall: Callable[[], float] | None = None,
    ) -> None:
        self._transport, self._address = transport, address or dashboard_of
        self._wall = wall
        self._session: aiohttp.ClientSession | None = None
        self._tokens: dict[str, tuple[float, str]] = {}
        self._submitted: dict[str, _Submitted] = {}
        self._clusters: dict[tuple[str, str], Document] = {}

    async def close(self) -> None:
        """Give the connections back."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    # Looking ------------------------------------------------------------------------------------------

    async def look(self, cluster: Document) -> Mapping[str, Any]:
        """Return what a cluster's Serve API says; ``ok`` false and an ``error`` if it says nothing."""
        metadata = cluster["metadata"]
        self._clusters[metadata.get("namespace", ""), metadata["name"]] = cluster
        submitted = self._submitted.get(metadata["uid"], _Submitted())
        found: dict[str, Any] = {
            "accepted": submitted.accepted,
            "rejected": submitted.rejected,
            "rejection": submitted.rejection,
            "headIP": ((cluster.get("status") or {}).get("head") or {}).get("podIP", ""),
        }
        if not self._address(cluster):
            return {**found, "ok": False, "error": "the head has no address yet"}
        try:
            status, text = await self._send(cluster, "GET", None, LOOK_S)
            if status != 200:
                return {**found, "ok": False, "error": f"the Serve API answers {status}: {_first_line(text)}"}
            details = json.loads(text)
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError, KubernetesError, ValueError) as error:
            return {**found, "ok": False, "error": f"the Serve API does not answer: {_said(error)}"}
        return {**found, "ok": isinstance(details, dict), "details": _needed(details)}

    async def in_flight(self, cluster: Document, pods: Sequence[Document]) -> int | None:
        """Return how many requests all proxies of a cluster are answering; None if one of them does not say."""
        ports = [(pod, _metrics_port(pod)) for pod in pods if (pod.get("status") or {}).get("podIP")]
        if not ports or len(ports) < len(pods):
            return None
        texts = await asyncio.gather(*(self._metrics(pod["status"]["podIP"], port) for pod, port in ports))
        counts = [ongoing(text) for text in texts]
        known = [count for count in counts if count is not None]
        # Nodes without a proxy have no such figure, but one node at least must have it.
        return sum(known) if known and all(texts) else None

    async def _metrics(self, host: str, port: int) -> str:
        try:
            return (await self._fetch("GET", f"http://{_host(host)}:{port}/metrics", {}, None, LOOK_S))[1]
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError, ValueError):
            return ""

    # Submitting ---------------------------------------------------------------------------------------

    async def call(self, cluster: Ref, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Submit a configuration (``{"method": "PUT", "digest": …, "body": …}``).

        Raises:
            InvalidRequest: The cluster refuses it; it is not sent again until it changes.
            Unavailable: It did not answer; whether it took the configuration shows at the next look.
        """
        document = self._clusters.get((cluster.namespace, cluster.name))
        if document is None or document["metadata"]["uid"] != cluster.uid:
            raise Unavailable(f"RayCluster {cluster.name} has not been looked at yet.")
        before = self._submitted.get(cluster.uid, _Submitted())
        try:
            status, text = await self._send(document, str(request["method"]), request["body"], SUBMIT_S)
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError, KubernetesError) as error:
            raise Unavailable(f"The Serve API of {cluster.name} did not answer: {_said(error)}.") from error
        if status == 200:
            self._submitted[cluster.uid] = _Submitted(accepted=str(request["digest"]))
            return {"status": status}
        if 400 <= status < 500 and status not in (401, 403, 408, 429):
            said = _first_line(text)
            self._submitted[cluster.uid] = _Submitted(before.accepted, str(request["digest"]), said)
            raise InvalidRequest(f"{cluster.name} refuses the Serve configuration: {said}")
        raise Unavailable(f"The Serve API of {cluster.name} answers {status}: {_first_line(text)}")

    # HTTP ---------------------------------------------------------------------------------------------

    async def _send(self, cluster: Document, method: str, body: Any, timeout_s: float) -> tuple[int, str]:
        url = self._address(cluster) + _APPLICATIONS
        headers = await self._headers(cluster)
        status, text = await self._fetch(method, url, headers, body, timeout_s)
        if status in (401, 403):
            self._tokens.pop(cluster["metadata"]["uid"], None)  # it was renewed
            fresh = await self._headers(cluster)
            if fresh != headers:
                status, text = await self._fetch(method, url, fresh, body, timeout_s)
        return status, text

    async def _fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: Any, timeout_s: float
    ) -> tuple[int, str]:
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=False, connector=aiohttp.TCPConnector(limit=64))
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(2.0, timeout_s))
        options: dict[str, Any] = {} if body is None else {"json": body}
        # No redirects: the token is for this address.
        async with self._session.request(
            method, url, headers=headers, timeout=timeout, allow_redirects=False, **options
        ) as answer:
            raw = await answer.content.read(_LARGEST + 1)
            while len(raw) <= _LARGEST and not answer.content.at_eof():
                raw += await answer.content.read(_LARGEST + 1 - len(raw))
            if len(raw) > _LARGEST:
                raise ValueError(f"an answer of more than {_LARGEST} bytes")
            return answer.status, raw.decode("utf-8", "replace")

    async def _headers(self, cluster: Document) -> dict[str, str]:
        metadata = cluster["metadata"]
        now = self._wall() if self._wall else asyncio.get_running_loop().time()
        kept = self._tokens.get(metadata["uid"])
        if kept is None or now - kept[0] > TOKEN_S:
            kept = (now, await self._read_token(cluster))
            self._tokens[metadata["uid"]] = kept
        return {"Authorization": f"Bearer {kept[1]}"} if kept[1] else {}

    async def _read_token(self, cluster: Document) -> str:
        metadata = cluster["metadata"]
        options = (cluster.get("spec") or {}).get("authOptions") or {}
        if options.get("mode") == "disabled":
            return ""
        name = options.get("secretName") or token_secret(metadata["name"])
        try:
            secret = await self._transport.request(Call.get(SECRETS.path(metadata["namespace"], name), LOOK_S))
        except ObjectNotFound:
            return ""
        encoded = (secret.get("data") or {}).get(_TOKEN_KEY, "")
        return base64.b64decode(encoded).decode().strip()


def dashboard_of(cluster: Document) -> str:
    """Return the URL of a cluster's dashboard: at its head pod, else at its head service; empty if there is neither."""
    metadata, status = cluster["metadata"], cluster.get("status") or {}
    port = str((status.get("endpoints") or {}).get("dashboard") or "8265")
    head = status.get("head") or {}
    host = head.get("podIP") or head.get("serviceIP")
    if host and host != "None":
        return f"http://{_host(str(host))}:{port}"
    if not head:
        return ""
    name = head.get("serviceName") or head_service(metadata["name"])
    return f"http://{name}.{metadata['namespace']}.svc:{port}"


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def ongoing(text: str) -> int | None:
    """Return the requests in flight that a node's metrics (Prometheus text) speak of; None if they do not."""
    found = _ONGOING.findall(text)
    return round(sum(float(value) for value in found)) if found else None


def _metrics_port(pod: Document) -> int:
    """Return the port of a pod's metrics: the declared one, or where the embedded kubelet has moved it to."""
    wanted = 8080
    for container in ((pod.get("spec") or {}).get("containers") or ())[:1]:
        for port in container.get("ports") or ():
            if port.get("name") == "metrics":
                wanted = int(port["containerPort"])
    try:
        moved = json.loads((pod["metadata"].get("annotations") or {})["rayctl.io/ports"])
        return int(moved.get(str(wanted), wanted))
    except (KeyError, TypeError, ValueError, AttributeError):
        return wanted


def _needed(details: Any) -> Any:
    """Return what is decided upon: an answer names every replica and log file, and every pass is recorded."""
    if not isinstance(details, Mapping):
        return details
    applications = {}
    for name, app in (details.get("applications") or {}).items():
        deployments = {
            title: {
                **{key: found.get(key) for key in ("status", "message", "target_num_replicas")},
                "replicas": [{"state": replica.get("state")} for replica in found.get("replicas") or ()],
            }
            for title, found in (app.get("deployments") or {}).items()
        }
        kept = ("status", "message", "last_deployed_time_s", "deployed_app_config")
        applications[name] = {**{key: app.get(key) for key in kept}, "deployments": deployments}
    proxies = {
        node: {key: proxy.get(key) for key in ("status", "node_ip")}
        for node, proxy in (details.get("proxies") or {}).items()
    }
    controller = details.get("controller_info") or {}
    return {
        "applications": applications,
        "proxies": proxies,
        "controller_info": {key: controller.get(key) for key in ("node_id", "node_ip")},
        "target_capacity": details.get("target_capacity"),
    }


def _said(error: Exception) -> str:
    return "timeout" if isinstance(error, asyncio.TimeoutError) else f"{type(error).__name__}: {error}".rstrip(": ")


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else "no reason given")[:500]
