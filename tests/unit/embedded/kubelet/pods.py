"""Pods for tests of decisions."""

from __future__ import annotations

from typing import Any

from rayctl.embedded.kubelet.backoff import Run
from rayctl.embedded.kubelet.spec import PodSpec, parse_pod


def container(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "i", "command": ["true"], **fields}


def pod(*containers: dict[str, Any], first: tuple[dict[str, Any], ...] = (), **spec: Any) -> dict[str, Any]:
    metadata = {"name": "p", "namespace": "default", "uid": "u-1", "labels": {"app": "a"}}
    return {"metadata": metadata, "spec": {"containers": list(containers), "initContainers": list(first), **spec}}


def parsed(*containers: dict[str, Any], **fields: Any) -> PodSpec:
    return parse_pod(pod(*containers, **fields))


def run(code: int = 0, finished_at: float = 100.0, row: int = 0, lasted_s: float = 1.0, **more: Any) -> Run:
    return Run(0, row, finished_at - lasted_s, finished_at, code, **more)
