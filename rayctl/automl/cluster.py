"""What the service asks of the Ray cluster it runs on: its size, and whether a request can ever fit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from rayctl.automl.model import Resources
from rayctl.errors import InvalidRequest

__all__ = ["ClusterView", "NodeView", "check_satisfiable", "default_memory_bytes", "to_json"]

REFRESH_S = 2.0


@dataclass(frozen=True)
class NodeView:
    """Total resources of one live node: Ray's names and amounts."""

    node_id: str
    resources: Mapping[str, float]


class ClusterView:
    """The live nodes, at most `REFRESH_S` seconds old."""

    def __init__(self) -> None:
        self._nodes: tuple[NodeView, ...] = ()
        self._read_at = 0.0

    async def nodes(self) -> tuple[NodeView, ...]:
        """Return the live nodes."""
        if time.monotonic() - self._read_at > REFRESH_S:
            found = await asyncio.to_thread(ray.nodes)
            self._nodes = tuple(NodeView(n["NodeID"], dict(n["Resources"])) for n in found if n["Alive"])
            self._read_at = time.monotonic()
        return self._nodes


def check_satisfiable(wanted: Resources, nodes: Sequence[NodeView], what: str) -> None:
    """Refuse resources that no single node has, instead of letting the run wait for ever.

    Raises:
        InvalidRequest: with the largest amounts that exist.
    """
    needs: dict[str, float] = {"CPU": wanted.cpus, "GPU": wanted.gpus, "memory": float(wanted.memory_bytes or 0)}
    needs |= wanted.custom
    needs = {name: amount for name, amount in needs.items() if amount > 0}
    if any(all(node.resources.get(name, 0.0) >= amount for name, amount in needs.items()) for node in nodes):
        return
    largest = {name: max((node.resources.get(name, 0.0) for node in nodes), default=0.0) for name in needs}
    asked = ", ".join(f"{name} {amount:g}" for name, amount in needs.items())
    there = ", ".join(f"{name} {amount:g}" for name, amount in largest.items())
    raise InvalidRequest(
        f"No node of the cluster has what a {what} asks for ({asked}).",
        code="unsatisfiable-resources",
        hint=f"The largest single amounts are: {there}.",
    )


def default_memory_bytes(nodes: Sequence[NodeView], cpus: float) -> int | None:
    """Return a task's memory cap in bytes when the request names none: its CPUs' part of the smallest node.

    A single task may take twice its part, since tasks rarely peak together; None if the size is unknown.
    """
    parts = [
        node.resources["memory"] / node.resources["CPU"]
        for node in nodes
        if node.resources.get("memory") and node.resources.get("CPU")
    ]
    return int(min(parts) * max(cpus, 1.0) * 2) if parts else None


def to_json(nodes: Sequence[NodeView]) -> dict[str, Any]:
    """Return totals over all nodes, for status displays."""
    totals: dict[str, float] = {}
    for node in nodes:
        for name, amount in node.resources.items():
            if not name.startswith("node:"):
                totals[name] = totals.get(name, 0.0) + amount
    return {"nodes": len(nodes), "resources": totals}
