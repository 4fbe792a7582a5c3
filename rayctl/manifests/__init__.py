"""What is installed into a Kubernetes cluster: the definitions of the kinds that rayctl works with."""

from __future__ import annotations

from importlib import resources
from typing import Any

import yaml

__all__ = ["crd_documents"]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast, where PyYAML was built with it."""


def crd_documents(*kinds: str) -> list[dict[str, Any]]:
    """Return the CustomResourceDefinitions, by name: those of some kinds (``RayCluster``), or all.

    Raises:
        KeyError: A kind that has no definition here.
    """
    folder = resources.files(__name__) / "crds"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    found = {}
    for file in files:
        document = yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER)
        found[document["spec"]["names"]["kind"]] = document
    return [found[kind] for kind in kinds] if kinds else list(found.values())
