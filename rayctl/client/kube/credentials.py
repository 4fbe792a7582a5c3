"""How a destination's credentials become TLS and headers, and which programs of a kubeconfig may be run for them."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rayctl.client.kube.kubeconfig import Destination, ExecPlugin
from rayctl.errors import InvalidRequest, NotAuthenticated, ServerUnreachable
from rayctl.kube.plugins import check_plugin

__all__ = ["Credentials", "is_loopback", "obtain", "tls_context"]

_PLUGIN_S = 60.0
_EARLY_S = 10.0
"""A credential is renewed so long before it ends."""


@dataclass(frozen=True)
class Credentials:
    """What is sent. ``ends_at``: seconds since the epoch; None: nobody knows."""

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    ends_at: float | None = None

    def is_over(self, now: float) -> bool:
        """Whether a new one is needed."""
        return self.ends_at is not None and now >= self.ends_at - _EARLY_S


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def obtain(target: Destination, allow_exec: bool = False, environ: Mapping[str, str] = os.environ) -> Credentials:
    """Return the credentials for a destination; runs its exec plugin if it has one.

    Args:
        target: Where they are for.
        allow_exec: Run a plugin that is not among `rayctl.kube.plugins.ALLOWED_PLUGINS`.
        environ: What the plugin inherits.

    Raises:
        InvalidRequest: The plugin may not be run, or a secret would travel in the clear.
        NotAuthenticated: There is no credential to be had.
    """
    identity = target.identity
    found = Credentials(certificate=identity.certificate, key=identity.key)
    token = identity.token
    if identity.token_file is not None:
        try:
            token = identity.token_file.read_text().strip()
        except OSError as error:
            raise NotAuthenticated(f"The token file {identity.token_file} cannot be read: {error.strerror}.") from error
        found = replace(found, ends_at=0.0)  # rotated by others: read before each call
    elif identity.exec is not None and not token:
        token, found = _run(identity.exec, target, allow_exec, environ)
    headers = list(identity.impersonate)
    if token:
        headers.append(("Authorization", f"Bearer {token}"))
    elif identity.username:
        pair = f"{identity.username}:{identity.password}".encode()
        headers.append(("Authorization", f"Basic {base64.b64encode(pair).decode()}"))
    if headers and target.server.startswith("http://") and not is_loopback(target.server):
        raise InvalidRequest(
            f"{target.server} would get the credentials unencrypted.",
            code="no-tls",
            hint="Use an https:// address in the kubeconfig.",
        )
    return replace(found, headers=tuple(headers))


def _run(
    plugin: ExecPlugin, target: Destination, allow_exec: bool, environ: Mapping[str, str]
) -> tuple[str, Credentials]:
    if not allow_exec:
        check_plugin(plugin.command, target.source)
    command = plugin.command
    if os.sep in command and not os.path.isabs(command):
        command = str(plugin.folder / command)
    asked: dict[str, Any] = {"apiVersion": plugin.api_version, "kind": "ExecCredential"}
    asked["spec"] = {"interactive": sys.stdin.isatty()}
    if plugin.wants_cluster:
        authority = base64.b64encode(target.authority).decode()
        asked["spec"]["cluster"] = {"server": target.server, "certificate-authority-data": authority}
    env = {**environ, **dict(plugin.env), "KUBERNETES_EXEC_INFO": json.dumps(asked)}
    try:
        done = subprocess.run(
            [command, *plugin.args], env=env, stdout=subprocess.PIPE, timeout=_PLUGIN_S, check=False
        )  # its stderr is the user's to see: it may ask to log in
    except FileNotFoundError as error:
        raise NotAuthenticated(
            f"The program {plugin.command!r}, which {target.source} needs, is not installed.",
            hint=plugin.install_hint or "Install it, or use another context.",
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotAuthenticated(f"The program {plugin.command!r} gave no credential: {type(error).__name__}.") from error
    if done.returncode != 0:
        raise NotAuthenticated(
            f"The program {plugin.command!r} gave no credential (exit code {done.returncode}).",
            hint="Its own message is above; usually one has to log in with it first.",
        )
    return _answer(plugin.command, done.stdout)


def _answer(command: str, text: bytes) -> tuple[str, Credentials]:
    try:
        status = json.loads(text)["status"]
        token = str(status.get("token") or "")
        certificate = str(status.get("clientCertificateData") or "").encode()
        key = str(status.get("clientKeyData") or "").encode()
        until = status.get("expirationTimestamp")
        ends_at = _moment(until) if until else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # Its output may hold secrets, and is not shown.
        raise NotAuthenticated(f"The program {command!r} answered something that is no credential.") from error
    if not token and not certificate:
        raise NotAuthenticated(f"The program {command!r} answered without a credential.")
    return token, Credentials(certificate=certificate, key=key, ends_at=ends_at)


def _moment(text: Any) -> float:
    found = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()


def tls_context(target: Destination, credentials: Credentials) -> ssl.SSLContext:
    """Return how a destination's certificate is checked and our own is shown.

    Raises:
        ServerUnreachable: A certificate is damaged.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cadata=_text(target.authority))
    # Clusters made by older tools have authorities without key usage; Kubernetes' clients do not ask for it either.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    if target.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if credentials.certificate:
        try:
            with tempfile.TemporaryDirectory(prefix="rayctl-") as folder:  # 0700; Python reads keys from files only
                files = (Path(folder) / "certificate", Path(folder) / "key")
                for path, data in zip(files, (credentials.certificate, credentials.key), strict=True):
                    path.touch(0o600)
                    path.write_bytes(data)
                context.load_cert_chain(*files)
        except (ssl.SSLError, OSError) as error:
            raise ServerUnreachable(
                f"The client certificate of {target.source} cannot be used.", code="bad-kubeconfig"
            ) from error
    return context


def _text(authority: bytes) -> str | None:
    return authority.decode("ascii", errors="replace") if authority else None
