"""Which programs a kubeconfig may have run: a kubeconfig is code of whoever wrote it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from rayctl.errors import InvalidRequest

__all__ = ["ALLOWED_PLUGINS", "ALLOW_EXEC", "check_kubeconfig", "check_plugin", "is_exec_allowed"]

ALLOW_EXEC = "RAYCTL_ALLOW_EXEC"
ALLOWED_PLUGINS = frozenset(
    {
        "aws",
        "aws-iam-authenticator",
        "az",
        "doctl",
        "gcloud",
        "gke-gcloud-auth-plugin",
        "kubectl-oidc_login",
        "kubelogin",
        "oci",
        "tsh",
    }
)
"""Programs that may be run because a kubeconfig says so: the providers' own, found on PATH, never by a path."""
_YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def is_exec_allowed(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the user lets any program be run."""
    return environ.get(ALLOW_EXEC, "").lower() in ("1", "true", "yes", "on")


def check_plugin(command: str, source: str, how: str = f"--allow-exec, or {ALLOW_EXEC}=1") -> None:
    """Refuse a program that is not a provider's own. ``how`` the user may allow it.

    Raises:
        InvalidRequest: ``exec-plugin-refused``.
    """
    if command not in ALLOWED_PLUGINS:
        raise InvalidRequest(
            f"{source} wants to run the program {command!r} for its credentials.",
            code="exec-plugin-refused",
            hint=f"A kubeconfig is code. If you trust this one: {how}.",
        )


def check_kubeconfig(paths: Sequence[Path], context: str | None, environ: Mapping[str, str] = os.environ) -> None:
    """Refuse a kubeconfig whose chosen user would have a program run that is not a provider's own.

    Args:
        paths: The files that are taken together; of entries with the same name the first one counts.
        context: The chosen context; None: the current one.
        environ: Where the user may say that all is allowed.

    Raises:
        InvalidRequest: ``exec-plugin-refused``, or ``auth-provider`` (some of them run programs too).
    """
    if is_exec_allowed(environ):
        return
    users: dict[str, Any] = {}
    contexts: dict[str, Any] = {}
    current = context
    for path in paths:
        document = _read(path)
        current = current or document.get("current-context")
        for section, inner, found in (("users", "user", users), ("contexts", "context", contexts)):
            for entry in document.get(section) or ():
                if isinstance(entry, dict) and isinstance(entry.get(inner), dict):
                    found.setdefault(str(entry.get("name")), entry[inner])
    user = users.get(str(contexts.get(str(current), {}).get("user")), {})
    source = ", ".join(map(str, paths))
    if isinstance(user.get("exec"), dict):
        check_plugin(str(user["exec"].get("command")), source, f"{ALLOW_EXEC}=1 in the environment")
    if user.get("auth-provider"):
        raise InvalidRequest(
            f"{source} asks for an auth-provider, which Kubernetes' own clients gave up in 2022.",
            code="auth-provider",
            hint="Have the file written anew by your provider's current tool.",
        )


def _read(path: Path) -> dict[str, Any]:
    """Return a file's document; empty for what is none: whoever loads the file then says what is wrong with it."""
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=_YAML)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
