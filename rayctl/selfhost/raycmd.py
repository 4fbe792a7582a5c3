"""Command lines and environments of the processes that the supervisor starts. Pure: data in, data out.

The numbers here were measured with Ray 2.60. With ``RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0`` and the node address
127.0.0.1 every port of Ray binds to the loopback address alone; without it Ray replaces 127.0.0.1 by the machine's
address and binds wildcards. Drivers need the same variable, or they look for the wrong address until they time out.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rayctl.selfhost.layout import MAX_TEMP_DIR_BYTES, Layout
from rayctl.selfhost.ports import LOOPBACK, answers

__all__ = [
    "Auth",
    "HeadSpec",
    "attach_env",
    "auth_of",
    "head_argv",
    "head_env",
    "head_marker",
    "local_driver_env",
    "public_env",
    "resident_argv",
    "resident_env",
    "supervisor_argv",
]

_LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

# What a shell (or a Ray worker that calls us) may have set and what must not leak into another cluster.
_NOT_INHERITED = frozenset(
    {
        "RAY_ADDRESS",
        "RAY_API_SERVER_ADDRESS",
        "RAY_AUTH_TOKEN",
        "RAY_CLIENT_MODE",
        "RAY_JOB_ID",
        "RAY_NAMESPACE",
        "RAY_NODE_ID",
        "RAY_RAYLET_PID",
        "RAY_START_HOOK",
        "RAY_TMPDIR",
        "RAYCTL_PART",
    }
)


@dataclass(frozen=True)
class Auth:
    """How to authenticate against the Ray cluster: mode and file, never the token itself."""

    mode: str | None
    token_file: str | None

    @property
    def env(self) -> dict[str, str]:
        """The environment variables for Ray."""
        values = {"RAY_AUTH_MODE": self.mode, "RAY_AUTH_TOKEN_PATH": self.token_file}
        return {name: value for name, value in values.items() if value is not None}


def auth_of(layout: Layout, environ: Mapping[str, str], *, attached: bool = False) -> Auth:
    """Decide on authentication: a token of this home, unless the caller's environment says otherwise.

    A cluster that exists already (``attached``) has its own token; then the caller's environment is taken as it is.
    """
    mode = environ.get("RAY_AUTH_MODE")
    if attached:
        return Auth(mode, environ.get("RAY_AUTH_TOKEN_PATH"))
    if mode is not None and mode.lower() != "token":
        return Auth(mode, None)
    return Auth("token", str(layout.ray_token))


@dataclass(frozen=True)
class HeadSpec:
    """Everything that ``ray start --head`` is told. Sizes are bytes."""

    gcs_port: int
    ray_client_port: int
    dashboard_port: int
    temp_dir: Path
    num_cpus: int
    memory: int
    object_store_memory: int

    def __post_init__(self) -> None:
        length = len(bytes(self.temp_dir))
        if length > MAX_TEMP_DIR_BYTES:
            raise ValueError(
                f"Ray's temp dir {self.temp_dir} has {length} bytes; sockets below it work up to {MAX_TEMP_DIR_BYTES}. "
                "Choose a shorter one with RAYCTL_RAY_TEMP_DIR."
            )


def head_argv(python: str, spec: HeadSpec) -> list[str]:
    """Return the command line of the Ray head. It never carries a secret: anybody can read command lines."""
    return [
        python,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--block",
        f"--port={spec.gcs_port}",
        f"--node-ip-address={LOOPBACK}",
        f"--ray-client-server-port={spec.ray_client_port}",
        "--include-dashboard=true",
        f"--dashboard-host={LOOPBACK}",
        f"--dashboard-port={spec.dashboard_port}",
        # Its default binds 127.0.0.1 whatever the node's address is; 0 lets it choose.
        "--dashboard-agent-listen-port=0",
        "--min-worker-port=0",
        "--max-worker-port=0",
        f"--temp-dir={spec.temp_dir}",
        f"--num-cpus={spec.num_cpus}",
        f"--memory={spec.memory}",
        f"--object-store-memory={spec.object_store_memory}",
        "--disable-usage-stats",
    ]


def _base_env(layout: Layout, environ: Mapping[str, str], auth: Auth) -> dict[str, str]:
    env = {name: value for name, value in environ.items() if name not in _NOT_INHERITED}
    if auth.token_file is None:
        env.pop("RAY_AUTH_TOKEN_PATH", None)
    env |= auth.env
    env |= {
        "RAYCTL_HOME": str(layout.home),
        "RAYCTL_TOKEN_FILE": str(layout.token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONUNBUFFERED": "1",
    }
    return env


def head_marker(layout: Layout) -> str:
    """Return the ``NAME=value`` that everything started by this home's Ray head has in its environment."""
    return f"RAYCTL_PART=ray-{layout.id}"


def head_env(layout: Layout, environ: Mapping[str, str], auth: Auth, num_cpus: int) -> dict[str, str]:
    """Return the environment of the Ray head, which all its workers inherit."""
    name, _, value = head_marker(layout).partition("=")
    return {
        **_base_env(layout, environ, auth),
        **_LOOPBACK_ONLY,
        name: value,
        # Without this Ray waits up to 44 s for work to drain when it is asked to stop.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        # Ray's client server starts a process per connection. With gRPC's fork support, whose poller comes to life in
        # the child, one such process in ten dies at once, and its client waits 30 s for it (ray issue 63202).
        "GRPC_ENABLE_FORK_SUPPORT": environ.get("GRPC_ENABLE_FORK_SUPPORT", "false"),
        # Tips for people at a terminal, which would stand before the answers of programs that come by Ray Client.
        "RAY_SCHEDULER_EVENTS": environ.get("RAY_SCHEDULER_EVENTS", "0"),
        # A few more warm workers than CPUs: starting one costs about a second of CPU.
        "RAY_num_workers_soft_limit": str(num_cpus + 3),
        # Several trials run side by side; each with as many threads as cores would only get into each other's way.
        "OMP_NUM_THREADS": environ.get("OMP_NUM_THREADS", "1"),
    }


def resident_argv(
    python: str, *, gcs_address: str, http_port: int, status_file: Path, ready_file: Path | None
) -> list[str]:
    """Return the command line of the resident. ``ready_file`` None: attach to a cluster that is not ours."""
    argv = [
        python,
        "-m",
        "rayctl.selfhost.resident",
        f"--address={gcs_address}",
        f"--http-port={http_port}",
        f"--status-file={status_file}",
    ]
    return argv if ready_file is None else [*argv, f"--ready-file={ready_file}"]


def resident_env(
    layout: Layout, environ: Mapping[str, str], auth: Auth, driver: Mapping[str, str], *, attached: bool = False
) -> dict[str, str]:
    """Return the environment of the resident; ``driver`` is what `local_driver_env` or `attach_env` gave."""
    kept = {"RAY_AUTH_TOKEN": environ["RAY_AUTH_TOKEN"]} if attached and "RAY_AUTH_TOKEN" in environ else {}
    return {
        **_base_env(layout, environ, auth),
        **kept,
        **driver,
        "RAYCTL_PART": f"resident-{layout.id}",
        "OMP_NUM_THREADS": environ.get("OMP_NUM_THREADS", "1"),
    }


def local_driver_env() -> dict[str, str]:
    """Return what a driver needs to find a cluster that `head_argv` started."""
    return dict(_LOOPBACK_ONLY)


def attach_env(address: str) -> dict[str, str]:
    """Return what a driver needs to find a cluster that somebody else started.

    A GCS that answers on 127.0.0.1 but not on the machine's own address was started the loopback-only way.
    """
    host, _, port = address.rpartition(":")
    if host not in {LOOPBACK, "localhost"} or not port.isdigit() or not answers(int(port)):
        return {}
    own = _own_address()
    return dict(_LOOPBACK_ONLY) if own == LOOPBACK or not answers(int(port), own) else {}


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing; only asks the kernel for the route. The address is from the documentation range.
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return LOOPBACK


def supervisor_argv(python: str, layout: Layout) -> list[str]:
    """Return the command line of the supervisor."""
    return [python, "-m", "rayctl.selfhost.supervisor", f"--home={layout.home}"]


def public_env(document: Mapping[str, Any], *, ray_address: bool = False) -> dict[str, str]:
    """Return what a shell must export to use what ``up.json`` describes; see ``rayctl env``."""
    values: dict[str, str | None] = {
        "RAYCTL_HOME": document.get("home"),
        "RAYCTL_SERVER": document.get("http_url"),
        "RAYCTL_TOKEN_FILE": document.get("token_file"),
        "RAY_AUTH_MODE": document.get("ray_auth_mode"),
        "RAY_AUTH_TOKEN_PATH": document.get("ray_token_file"),
    }
    if document.get("kubeconfig"):
        values["KUBECONFIG"] = document["kubeconfig"]
    elif not document.get("attached"):
        values |= _LOOPBACK_ONLY
    if ray_address:
        values["RAY_ADDRESS"] = document.get("ray_client_address") or document.get("gcs_address")
    return {name: value for name, value in values.items() if value}
