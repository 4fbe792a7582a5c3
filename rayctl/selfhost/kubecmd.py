"""Command lines and environments of the processes of ``rayctl up --kubernetes``. Pure: data in, data out."""

from __future__ import annotations

from collections.abc import Mapping

from rayctl.selfhost.layout import Layout

__all__ = ["NOT_FOR_PODS", "child_env", "kube_argv", "service_settings", "shared", "system_argv"]

NOT_FOR_PODS = ("RAYCTL_HOME", "RAYCTL_SIDE", "RAYCTL_TOKEN_FILE", "RAYCTL_KUBECONFIG", "RAYCTL_KUBE_CONTEXT")
"""Settings of the service that are another thing in its pod."""


def shared(layout: Layout) -> list[tuple[str, str]]:
    """Return the files and folders of the home that the control plane's pods work with, and what each is."""
    folders = [(str(layout.home / name), "Directory") for name in ("state", "artifacts", "uploads")]
    return [*folders, (str(layout.token), "File")]


def service_settings(environ: Mapping[str, str], known: Mapping[str, object]) -> dict[str, str]:
    """Return the service's settings in an environment. ``known``: the names of the settings."""
    names = {f"RAYCTL_{name.upper()}" for name in known} - set(NOT_FOR_PODS)
    return {name: value for name, value in environ.items() if name in names}


def kube_argv(python: str, layout: Layout, port: int, network: str | None = None) -> list[str]:
    """Return the command line of the API server with its node. ``network``: of its pods, None: what can be had."""
    return [
        python,
        "-m",
        "rayctl",
        "kube",
        "serve",
        "--kubelet",
        f"--port={port}",
        f"--data-dir={layout.kube}",
        f"--write-kubeconfig={layout.kubeconfig}",
        f"--network={network or 'auto'}",
        *(f"--share={path}" for path, _ in shared(layout)),
    ]


def system_argv(python: str, layout: Layout) -> list[str]:
    """Return the command line of the resident, `rayctl.selfhost.system`."""
    return [
        python,
        "-m",
        "rayctl.selfhost.system",
        f"--kubeconfig={layout.kubeconfig}",
        f"--installation={layout.installation}",
        f"--status-file={layout.resident_file}",
    ]


def child_env(layout: Layout, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of both: nothing of somebody's Ray cluster."""
    kept = {name: value for name, value in environ.items() if not name.startswith(("RAY_", "KUBE"))}
    kept.pop("RAYCTL_PART", None)
    return {**kept, "RAYCTL_HOME": str(layout.home), "PYTHONUNBUFFERED": "1"}
