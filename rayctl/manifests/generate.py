"""Writes the definitions of kinds as YAML: ``python -m rayctl.manifests.generate``. A test says when that is due."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from rayctl.manifests.fleet import fleet, replica_set
from rayctl.manifests.ray_cluster import ray_cluster
from rayctl.manifests.ray_service import ray_service

__all__ = ["DEFINITIONS", "render"]

DEFINITIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "ray.io_rayclusters.yaml": ray_cluster,
    "ray.io_rayservices.yaml": ray_service,
    "orchestration.aibrix.ai_rayclusterfleets.yaml": fleet,
    "orchestration.aibrix.ai_rayclusterreplicasets.yaml": replica_set,
}
"""File in ``crds/`` → what writes it."""


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def render(document: dict[str, Any]) -> str:
    """Return a definition as YAML."""
    head = "# Made by `python -m rayctl.manifests.generate`; changes here are overwritten.\n"
    return head + yaml.dump(document, Dumper=_Plain, sort_keys=False, width=120)


def main() -> None:
    """Write all files."""
    folder = Path(__file__).parent / "crds"
    for name, make in DEFINITIONS.items():
        (folder / name).write_text(render(make()), encoding="utf-8")


if __name__ == "__main__":
    main()
