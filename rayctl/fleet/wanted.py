"""A fleet as it would be after a file was applied: what a preview begins with. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["as_wanted"]


def as_wanted(live: Mapping[str, Any] | None, wanted: Mapping[str, Any] | None, namespace: str) -> dict[str, Any]:
    """Return the fleet: the live object with the file's specification and annotations.

    Args:
        live: As it is; None: it is not there.
        wanted: As it is to be; None: as it is.
        namespace: Where it is to be, if it is not there.
    """
    if wanted is None:
        assert live is not None
        return dict(live)
    asked = wanted["metadata"]
    if live is None:
        return {**wanted, "metadata": {**asked, "namespace": namespace}}
    metadata = {**live["metadata"]}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **(asked.get("annotations") or {})}
    spec = {**wanted.get("spec", {})}
    # What a file leaves open stays as it is where others set it: an autoscaler, say.
    if "replicas" not in spec and "replicas" in live.get("spec", {}):
        spec["replicas"] = live["spec"]["replicas"]
    changed = spec != live.get("spec")
    metadata["generation"] = int(metadata.get("generation") or 0) + (1 if changed else 0)
    return {**live, "metadata": metadata, "spec": spec}
