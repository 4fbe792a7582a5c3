"""Command lines and environments of the processes of ``rayctl up``. Pure: data in, data out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from rayctl.selfhost.layout import Layout

__all__ = [
    "FOLDERS",
    "NOT_FOR_PODS",
    "child_env",
    "kube_argv",
    "service_settings",
    "shared",
    "system_argv",
    "tasks_env",
]

FOLDERS = ("state", "artifacts", "uploads")
"""Of the home, for the control plane's pods."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_A_SHELLS = ("TMPDIR", "HOSTNAME", "PWD", "OLDPWD", "SHLVL", "_")
_PATHS = ("RAYCTL_SECRETS_DIR", "RAYCTL_ENVELOPE_KEY_FILE")
NOT_FOR_PODS = ("RAYCTL_HOME", "RAYCTL_SIDE", "RAYCTL_TOKEN_FILE", "RAYCTL_KUBECONFIG", "RAYCTL_KUBE_CONTEXT")
"""Settings of the service that are another thing in its pod."""


def shared(layout: Layout, settings: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the files and folders that the control plane's pods work with, and what each is: of the home, and those
    that the service's settings name."""
    folders = [(str(layout.home / name), "Directory") for name in FOLDERS]
    kinds = {"RAYCTL_SECRETS_DIR": "Directory", "RAYCTL_ENVELOPE_KEY_FILE": "File"}
    return [*folders, *((settings[name], kind) for name, kind in kinds.items() if name in settings)]


def service_settings(environ: Mapping[str, str], known: Mapping[str, object]) -> dict[str, str]:
    """Return the service's settings in an environment. ``known``: the names of the settings."""
    names = {*(f"RAYCTL_{name.upper()}" for name in known), *_PATHS, "RAYCTL_PROMETHEUS_URL"} - set(NOT_FOR_PODS)
    # A relative path would mean another place in a pod.
    return {
        name: os.path.abspath(value) if name in _PATHS else value for name, value in environ.items() if name in names
    }


def kube_argv(python: str, layout: Layout, port: int, network: str, places: Iterable[str]) -> list[str]:
    """Return the command line of the API server with its node.

    Args:
        network: How pods are kept apart, ``netns`` or ``ports``.
        places: Files and folders that pods may have.
    """
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
        f"--network={network}",
        *(f"--share={path}" for path in places),
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
        f"--ray-token-file={layout.ray_token}",
    ]


def child_env(layout: Layout, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of both: nothing of somebody's Ray cluster."""
    kept = {name: value for name, value in environ.items() if not name.startswith(("RAY_", "KUBE"))}
    kept.pop("RAYCTL_PART", None)
    return {**kept, "RAYCTL_HOME": str(layout.home), "PYTHONUNBUFFERED": "1"}


def tasks_env(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what tasks have of the environment of who typed `rayctl up`: not what means something else in a pod."""
    others = ("RAY_", "RAYCTL_", "KUBE", "PYTHONUNBUFFERED")
    return {
        name: value
        for name, value in environ.items()
        if _NAME.fullmatch(name) and not name.startswith(others) and name not in _A_SHELLS
    }
