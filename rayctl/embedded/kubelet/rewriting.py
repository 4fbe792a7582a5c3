"""Text in a pod's command and environment that has no meaning for processes of this machine, and what stands for it.

Two things: paths that volumes are mounted at (where there is no mount namespace), and names of Services and fixed ports
(where all pods share the machine's network).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rayctl.embedded.kubelet.network.plan import LOOPBACK

__all__ = ["local_ports", "paths", "ray_ports", "serve_port", "service_names", "services_named"]

_SERVICE = re.compile(
    r"(?<![-.\w])([a-z0-9]([-a-z0-9]*[a-z0-9])?)\.([a-z0-9]([-a-z0-9]*[a-z0-9])?)\.svc(\.cluster\.local\.?)?(?![-\w]|\.\w)"
)
_LOCAL = re.compile(r"(?<![-.\w])(127\.0\.0\.1|localhost)(:(\d{1,5}))(?!\d)")
_RAY_START = re.compile(r"\bray\s+start\b")
_RAY_PORT = re.compile(
    r"--(port|ray-client-server-port|dashboard-agent-listen-port|dashboard-agent-grpc-port|metrics-export-port"
    r"|node-manager-port|object-manager-port|runtime-env-agent-port)[= ]\s*['\"]?(\d{1,5})"
)
RAY_DEFAULTS = (6379, 10001, 52365, 8080)
"""Ports that Ray's processes bind on all addresses unless told otherwise: GCS, Ray Client, agent, metrics."""

_SERVES = "ray.io/serve"
_SERVE_DEFAULT = 8000

Address = Callable[[str, str], str | None]
"""(namespace, name) of a Service → its address, or None when there is none."""


def services_named(texts: Sequence[str]) -> set[tuple[str, str]]:
    """Return (namespace, name) of all Services that texts name in full (``name.namespace.svc…``)."""
    return {(found[3], found[1]) for text in texts for found in _SERVICE.finditer(text)}


def service_names(text: str, address: Address) -> str:
    """Put addresses for the full names of Services; names of unknown ones stay."""
    return _SERVICE.sub(lambda found: address(found[3], found[1]) or found[0], text)


def local_ports(text: str, ports: Mapping[int, int]) -> str:
    """Put the real port for ``127.0.0.1:N`` and ``localhost:N`` where N is moved."""

    def put(found: re.Match[str]) -> str:
        moved = ports.get(int(found[3]))
        return found[0] if moved is None else f"{LOOPBACK}:{moved}"

    return _LOCAL.sub(put, text)


def paths(text: str, mounts: Mapping[str, str]) -> str:
    """Put the real folder for each mount path: where a text, or a word in it, is the path or lies below it."""
    for target in sorted(mounts, key=len, reverse=True):
        pattern = r"(?<![\w./-])" + re.escape(target.rstrip("/")) + r"(?=$|[/\s'\":;,)}\]&|])"
        text = re.sub(pattern, lambda _, real=mounts[target]: real, text)  # type: ignore[misc]
    return text


def ray_ports(texts: Sequence[str]) -> tuple[int, ...]:
    """Return the ports that the Ray node started by these texts would bind on all addresses; none without one."""
    if not any(_RAY_START.search(text) for text in texts):
        return ()
    named = {int(found[2]) for text in texts for found in _RAY_PORT.finditer(text)}
    return tuple(sorted({*RAY_DEFAULTS, *(port for port in named if 0 < port < 65536)}))


def serve_port(pod: Mapping[str, Any]) -> int | None:
    """Return the port of the Serve proxy that rayctl (or KubeRay) runs in a pod of a RayService; None for other pods.

    Other pods start Serve by themselves, if at all, at the port that they say.
    """
    if _SERVES not in (pod["metadata"].get("labels") or {}):
        return None
    declared = [port for container in pod["spec"]["containers"] for port in container.get("ports") or ()]
    return next((int(port["containerPort"]) for port in declared if port.get("name") == "serve"), _SERVE_DEFAULT)
