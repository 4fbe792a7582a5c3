"""Choosing TCP ports that nobody else uses, and keeping them from other rayctl homes of this machine.

Ray Client servers and Serve proxies bind with SO_REUSEPORT: two clusters on one port would share its connections
without a word. So a port counts as free only if a bind *without* that option succeeds and nobody answers a connect.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from rayctl.errors import Conflict

__all__ = ["DEFAULT_PORTS", "LOOPBACK", "PortClaims", "Wanted", "answers", "is_free"]

LOOPBACK = "127.0.0.1"
DEFAULT_PORTS = {"http": 8000, "ray_client": 10001, "dashboard": 8265, "gcs": 6390, "kubernetes": 6443}
_TRIES = 200


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether nobody listens on a port, whatever options they listen with."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Only for connections in TIME_WAIT: Linux still refuses while anybody listens.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return not answers(port, host)


def answers(port: int, host: str = LOOPBACK, timeout_s: float = 0.5) -> bool:
    """Tell whether somebody accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=timeout_s):
        return True
    return False


@dataclass(frozen=True)
class Wanted:
    """A port by purpose; ``explicit`` ones must be had, others may move upwards."""

    purpose: str
    port: int
    explicit: bool = False


class PortClaims:
    """Ports claimed by this process, as long as it lives.

    A claim is an abstract Unix socket named after the port. Two homes that start at the same moment both find a port
    free for the seconds until Ray binds it; only one of them gets the claim. Abstract sockets leave no files and
    vanish with their process.
    """

    def __init__(self) -> None:
        self._held: dict[int, socket.socket] = {}

    def claim(self, port: int) -> bool:
        """Claim a port against other rayctl homes; False when another one has it."""
        if port in self._held:
            return True
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            lock.bind(f"\0rayctl-port-{port}")
        except OSError:
            lock.close()
            return False
        self._held[port] = lock
        return True

    def choose(self, wanted: Iterable[Wanted]) -> dict[str, int]:
        """Return a free port for every purpose.

        Raises:
            Conflict: an explicit port is taken (code ``port-taken``).
        """
        chosen: dict[str, int] = {}
        # Explicit ones first, so that no default moves onto one of them.
        for want in sorted(wanted, key=lambda want: not want.explicit):
            chosen[want.purpose] = self._one(want, set(chosen.values()))
        return chosen

    def _one(self, want: Wanted, used: set[int]) -> int:
        candidates = [want.port] if want.explicit else range(want.port, want.port + _TRIES)
        for port in candidates:
            if port not in used and is_free(port) and self.claim(port):
                return port
        raise taken(want)

    def release(self) -> None:
        """Give all claims back."""
        for lock in self._held.values():
            lock.close()
        self._held.clear()


def taken(want: Wanted) -> Conflict:
    """Return the error for a port that somebody else has."""
    option = {"http": "--port", "ray_client": "--ray-client-port", "dashboard": "--dashboard-port"}.get(want.purpose)
    return Conflict(
        f"Port {want.port} ({want.purpose.replace('_', ' ')}) is already in use on {LOOPBACK}.",
        code="port-taken",
        hint=f"Leave {option} out to get a free port, or stop what uses it." if option else None,
    )
