"""Probes of Ray's container, where the user set none."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from rayctl.cluster import keys
from rayctl.cluster.spec import ClusterSpec
from rayctl.cluster.versions import at_least

__all__ = ["add_probes", "named_port"]

TIMEOUT_S = {keys.HEAD: 5, keys.WORKER: 2}


def named_port(container: Mapping[str, Any], name: str, default: int) -> int:
    """Return a container's port by name."""
    for port in container.get("ports") or ():
        if port.get("name") == name:
            return int(port["containerPort"])
    return default


def add_probes(container: dict[str, Any], spec: ClusterSpec, node_type: str, params: Mapping[str, str]) -> None:
    """Add a liveness and a readiness probe to Ray's container.

    Since Ray 2.53 one HTTP path answers for the whole node. Before, and if the version cannot be read, commands ask
    the raylet and, on the head, the GCS. A worker of a RayService is ready only if its Serve proxy is.
    """
    serves = spec.origin == "RayService" and node_type == keys.WORKER
    http = at_least(spec.ray_version, 2, 53)
    if "livenessProbe" not in container:
        container["livenessProbe"] = {
            "initialDelaySeconds": 30,
            "timeoutSeconds": TIMEOUT_S[node_type],
            "periodSeconds": 5,
            "successThreshold": 1,
            "failureThreshold": 120,
            **_check(container, node_type, params, http, serves=False),
        }
    if "readinessProbe" not in container:
        container["readinessProbe"] = {
            "initialDelaySeconds": 10,
            "timeoutSeconds": TIMEOUT_S[node_type],
            "periodSeconds": 5,
            "successThreshold": 1,
            "failureThreshold": 1 if serves else 10,
            **_check(container, node_type, params, http and not serves, serves),
        }


def _check(
    container: Mapping[str, Any], node_type: str, params: Mapping[str, str], http: bool, serves: bool
) -> dict[str, Any]:
    agent = _port(params, "dashboard-agent-listen-port", keys.AGENT_PORT)
    if http:
        return {"httpGet": {"path": "/api/healthz", "port": agent}}
    # Not more than the probe's own limit, which would end it first.
    limit_s = TIMEOUT_S[node_type]
    asks = [_ask(limit_s, agent, "api/local_raylet_healthz")]
    if node_type == keys.HEAD:
        asks.append(_ask(limit_s, _port(params, "dashboard-port", keys.PORTS["dashboard"]), "api/gcs_healthz"))
    if serves:
        asks.append(_ask(limit_s, named_port(container, "serve", keys.PORTS["serve"]), "-/healthz"))
    return {"exec": {"command": ["bash", "-c", " && ".join(asks)]}}


def _ask(limit_s: int, port: int, path: str) -> str:
    return f"wget --tries 1 -T {limit_s} -q -O- http://localhost:{port}/{path} | grep success"


def _port(params: Mapping[str, str], name: str, default: int) -> int:
    with suppress(ValueError):
        return int(params.get(name, default))
    return default
