"""Ray clusters' Serve APIs over HTTP: what they say, what is submitted, and how many requests are in flight.

Every call has a timeout; what goes wrong is part of the answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rayctl.cluster.dashboard import DashboardClient
from rayctl.cluster.in_flight import requests_in_flight
from rayctl.core.controller import Document
from rayctl.core.plan import Ref
from rayctl.errors import InvalidRequest, Unavailable
from rayctl.kube.errors import KubernetesError

__all__ = ["ServeApi"]

LOOK_S = 4.0
"""For one look at a cluster. KubeRay waits 2 s; a head that starts its applications needs longer now and then."""
SUBMIT_S = 45.0
"""For one submission: the first one starts Serve itself."""
_APPLICATIONS = "/api/serve/applications/"


@dataclass(frozen=True)
class _Submitted:
    accepted: str = ""
    rejected: str = ""
    rejection: str = ""


class ServeApi:
    """See `rayctl.service.controller.ServeLook` and `rayctl.core.execute.ServePort`.

    Args:
        client: The way to clusters' dashboards.
    """

    def __init__(self, client: DashboardClient) -> None:
        self._client = client
        self._submitted: dict[str, _Submitted] = {}
        self._clusters: dict[tuple[str, str], Document] = {}

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.close()

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
        try:
            status, text = await self._client.send(cluster, "GET", _APPLICATIONS, None, LOOK_S)
            if status != 200:
                return {**found, "ok": False, "error": f"the Serve API answers {status}: {_first_line(text)}"}
            details = json.loads(text)
        except (OSError, KubernetesError, ValueError) as error:
            return {**found, "ok": False, "error": f"the Serve API does not answer: {_said(error)}"}
        return {**found, "ok": isinstance(details, dict), "details": _needed(details)}

    async def in_flight(self, cluster: Document, pods: Sequence[Document]) -> int | None:
        """Return how many requests all proxies of a cluster are answering; None if one of them does not say."""
        return await requests_in_flight(self._client, pods, LOOK_S)

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
            status, text = await self._client.send(
                document, str(request["method"]), _APPLICATIONS, request["body"], SUBMIT_S
            )
        except (OSError, KubernetesError) as error:
            raise Unavailable(f"The Serve API of {cluster.name} did not answer: {_said(error)}.") from error
        if status == 200:
            self._submitted[cluster.uid] = _Submitted(accepted=str(request["digest"]))
            return {"status": status}
        if 400 <= status < 500 and status not in (401, 403, 408, 429):
            said = _first_line(text)
            self._submitted[cluster.uid] = _Submitted(before.accepted, str(request["digest"]), said)
            raise InvalidRequest(f"{cluster.name} refuses the Serve configuration: {said}")
        raise Unavailable(f"The Serve API of {cluster.name} answers {status}: {_first_line(text)}")


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
    return str(error) or type(error).__name__


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else "no reason given")[:500]
