"""The file that tells clients where this server is, and the administrator's token."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import tempfile
from pathlib import Path

import yaml

__all__ = ["admin_token", "write_kubeconfig", "write_private"]

NAME = "rayctl"
TOKEN_BYTES = 32


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all.

    Raises:
        OSError: It cannot be written; what was there before is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp gives 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def admin_token(folder: Path) -> str:
    """Return the administrator's token of a data folder; made once, kept with mode 0600.

    Raises:
        OSError: It can be neither read nor written.
    """
    path = folder / "admin.token"
    with contextlib.suppress(FileNotFoundError):
        found = path.read_text().strip()
        if found:
            return found
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    token = secrets.token_hex(TOKEN_BYTES)  # no text that a command line takes for an option
    write_private(path, token + "\n")
    return token


def write_kubeconfig(path: Path, url: str, token: str, authority: str) -> None:
    """Write a kubeconfig with one cluster, one user and one context, all named ``rayctl``.

    ``authority``: the certificate (PEM) that the server's own is signed with.

    Raises:
        OSError: It cannot be written.
    """
    encoded = base64.b64encode(authority.encode()).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": {"server": url, "certificate-authority-data": encoded}}],
        "users": [{"name": NAME, "user": {"token": token}}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME, "namespace": "default"}}],
        "current-context": NAME,
    }
    write_private(path, yaml.safe_dump(document, sort_keys=False))
