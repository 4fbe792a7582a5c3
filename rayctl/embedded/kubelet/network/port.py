"""What the kubelet asks of a network, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Attached", "Network"]


@dataclass(frozen=True)
class Attached:
    """A pod's place in the network. ``ports``: those that are at another number than the pod thinks."""

    ip: str
    ports: dict[int, int] = field(default_factory=dict)


class Network(Protocol):
    """A way to keep pods apart."""

    mode: str

    async def prepare(self) -> None:
        """Make what all pods need. Raises RayctlError when this machine does not allow it."""
        ...

    async def attach(self, uid: str, wanted: tuple[int, ...]) -> Attached:
        """Give a pod its place, the same again if it has one. Raises OSError or ValueError."""
        ...

    def known(self, uid: str) -> Attached | None:
        """Return a pod's place, if it has one."""
        ...

    async def detach(self, uid: str) -> None:
        """Take a pod's place back. Raises OSError."""
        ...

    def namespace(self, uid: str) -> str | None:
        """Return the file of a pod's network namespace, if pods have any."""
        ...

    async def close(self) -> None:
        """Remove what `prepare` made, if no pod needs it."""
        ...
