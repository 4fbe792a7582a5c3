"""A Service that selects one cluster, and shares its connections with another for a while."""

from __future__ import annotations

import json
from typing import Any

from rayctl.embedded.proxy.table import frontends


def pod(name: str, cluster: str, ip: str, serves: str = "true") -> dict[str, Any]:
    labels = {"ray.io/cluster": cluster, "ray.io/serve": serves}
    metadata = {"name": name, "namespace": "default", "labels": labels}
    status = {"podIP": ip, "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": metadata, "spec": {}, "status": status}


def service(weights: dict[str, int] | None) -> dict[str, Any]:
    annotations = {} if weights is None else {"rayctl.io/weights": json.dumps(weights)}
    metadata = {"name": "chat-serve-svc", "namespace": "default", "annotations": annotations}
    selector = {"ray.io/cluster": "old", "ray.io/serve": "true"}
    return {"metadata": metadata, "spec": {"clusterIP": "127.96.0.9", "selector": selector, "ports": [{"port": 8000}]}}


PODS = [
    pod("a", "old", "10.0.0.1"),
    pod("b", "new", "10.0.0.2"),
    pod("c", "new", "10.0.0.3", serves="false"),
    pod("d", "stranger", "10.0.0.4"),
]


def backends(weights: dict[str, int] | None) -> dict[str, float]:
    table = frontends([service(weights)], PODS, [])
    return {backend.host: backend.weight for backend in table["127.96.0.9", 8000]}


def test_without_weights_the_selector_counts() -> None:
    assert backends(None) == {"10.0.0.1": 1.0}


def test_weights_reach_the_other_cluster_and_nobody_else() -> None:
    assert backends({"old": 75, "new": 25}) == {"10.0.0.1": 75.0, "10.0.0.2": 25.0}
