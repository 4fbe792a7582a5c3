"""Writes definitions, charts, kustomize base and dashboards: ``python -m rayctl.manifests.generate``.

A test says when that is due.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rayctl.manifests.fleet import fleet, replica_set
from rayctl.manifests.monitoring import monitoring
from rayctl.manifests.packages import helm, kustomize
from rayctl.manifests.ray_cluster import ray_cluster
from rayctl.manifests.ray_service import ray_service
from rayctl.manifests.text import render

__all__ = ["DEFINITIONS", "files", "render"]

DEFINITIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "ray.io_rayclusters.yaml": ray_cluster,
    "ray.io_rayservices.yaml": ray_service,
    "orchestration.aibrix.ai_rayclusterfleets.yaml": fleet,
    "orchestration.aibrix.ai_rayclusterreplicasets.yaml": replica_set,
}
"""File in ``crds/`` → what writes it."""


def files() -> dict[str, str]:
    """Return all files below this folder that are made from Python: name → text."""
    found = {f"crds/{name}": render(make()) for name, make in DEFINITIONS.items()}
    found |= {f"helm/{name}": text for name, text in helm().items()}
    found |= {f"kustomize/{name}": text for name, text in kustomize().items()}
    return found | {f"dashboards/{name}": text for name, text in monitoring().items()}


def main() -> None:
    """Write all files; the definitions first, because the packages are made of them."""
    folder = Path(__file__).parent
    for name, make in DEFINITIONS.items():
        (folder / "crds" / name).write_text(render(make()), encoding="utf-8")
    for name, text in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
