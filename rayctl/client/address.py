"""Which service to talk to, and with which token: arguments, environment, then the local service.

Everything here is plain look-up; nothing is connected and nothing heavy is imported.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from rayctl.errors import InvalidRequest, ServerUnreachable

__all__ = ["Address", "LocalService", "home_dir", "local_service", "read_token", "resolve"]

Kind = Literal["http", "ray-client", "ray"]


@dataclass(frozen=True)
class LocalService:
    """What ``rayctl up`` wrote down about the service on this machine (``up.json``)."""

    http_url: str | None = None
    ray_client_address: str | None = None
    kubeconfig: str | None = None
    ray_address: str | None = None
    token_file: str | None = None
    ray_token_file: str | None = None


@dataclass(frozen=True)
class Address:
    """A resolved destination. ``ray_env`` must be in the environment before Ray is imported."""

    kind: Kind
    url: str
    token: str | None = field(default=None, repr=False)
    ray_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_local: bool = False


def home_dir() -> Path:
    """Return ``$RAYCTL_HOME``, by default ``~/.rayctl``."""
    return Path(os.environ.get("RAYCTL_HOME") or "~/.rayctl").expanduser()


def local_service() -> LocalService | None:
    """Return what is known about this machine's service, or None where none was started.

    Raises:
        InvalidRequest: the file is there but is not what ``rayctl up`` writes.
    """
    path = home_dir() / "up.json"
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InvalidRequest(
            f"{path} cannot be read: {error}", code="bad-home", hint="Run `rayctl down` and `rayctl up` again."
        ) from error
    if not isinstance(known, dict):
        raise InvalidRequest(f"{path} is not a JSON object", code="bad-home", hint="Run `rayctl up` again.")
    names = LocalService.__dataclass_fields__
    return LocalService(**{key: str(value) for key, value in known.items() if key in names and value})


def resolve(address: str | None, *, token: str | None = None, token_file: str | None = None) -> Address:
    """Decide where to connect to.

    The order for ``address`` None: ``RAYCTL_SERVER``, the Ray cluster this process is part of, the local service.

    Raises:
        ServerUnreachable: no address was given and no service is known here.
        InvalidRequest: the address or the token file is not usable.
    """
    local = local_service()
    wanted = address or os.environ.get("RAYCTL_SERVER") or None
    if wanted is None and _inside_ray():
        wanted = "auto"
    if wanted is None:
        if local is None or local.http_url is None:
            raise ServerUnreachable(
                "No rayctl service is known on this machine.",
                hint="Run `rayctl up`, or name a service with --server or RAYCTL_SERVER.",
            )
        wanted = local.http_url
    wanted = wanted.strip()
    if wanted == "auto":
        return _direct(local)
    if wanted == "ray":
        if local is None or local.ray_client_address is None:
            raise ServerUnreachable("No rayctl service is known on this machine.", hint="Run `rayctl up`.")
        wanted = local.ray_client_address
    parts = urlsplit(wanted)
    if parts.scheme == "ray" and parts.netloc:
        ours = local is not None and _same(wanted, local.ray_client_address)
        return Address("ray-client", wanted, ray_env=_ray_env(local) if ours else {}, is_local=ours)
    if parts.scheme in ("http", "https") and parts.hostname:
        return _http(wanted, local, token, token_file)
    raise InvalidRequest(
        f"{wanted!r} is not an address of a rayctl service.",
        code="bad-address",
        hint="Write http://host:port, https://host, ray://host:10001, ray (the local service) or auto (in a cluster).",
    )


def _http(wanted: str, local: LocalService | None, token: str | None, token_file: str | None) -> Address:
    parts = urlsplit(wanted)
    if parts.username or parts.password:
        # Addresses end up in error messages and logs; secrets must not.
        raise InvalidRequest(
            "The address holds a user name or password.", code="bad-address", hint="Put the token in RAYCTL_TOKEN_FILE."
        )
    url = wanted.rstrip("/")
    ours = local is not None and _same(url, local.http_url)
    # The local token belongs to the local service and is never sent anywhere else.
    fallback = local.token_file if ours and local is not None else None
    return Address("http", url, token=read_token(token, token_file, fallback), is_local=ours)


def _direct(local: LocalService | None) -> Address:
    named = os.environ.get("RAY_ADDRESS", "")
    if named.startswith("ray://"):
        return Address("ray-client", named)
    if named and not named.startswith("http"):
        ours = local is not None and _same(named, local.ray_address)
        return Address("ray", named, ray_env=_ray_env(local) if ours else {}, is_local=ours)
    if local is not None and local.kubeconfig and local.ray_client_address:
        # Its Ray cluster is a pod's; drivers from outside come in by Ray Client.
        return Address("ray-client", local.ray_client_address, ray_env=_ray_env(local), is_local=True)
    if local is not None:
        return Address("ray", local.ray_address or "auto", ray_env=_ray_env(local), is_local=True)
    return Address("ray", "auto")


def _ray_env(local: LocalService | None) -> dict[str, str]:
    # Without the last one Ray binds direct drivers to the machine's outer address, which the local cluster refuses.
    env = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    if local is not None and local.ray_token_file and "RAY_AUTH_MODE" not in os.environ:
        env["RAY_AUTH_MODE"] = "token"
        env["RAY_AUTH_TOKEN_PATH"] = local.ray_token_file
    return env


def _inside_ray() -> bool:
    """Whether this process is part of a Ray cluster already. Never imports Ray to find out."""
    ray = sys.modules.get("ray")
    if ray is not None and getattr(ray, "is_initialized", bool)():
        return True
    named = os.environ.get("RAY_ADDRESS", "")
    return bool(named) and not named.startswith("http")  # http: the dashboard, for `ray job`; nothing to join


def _same(one: str, other: str | None) -> bool:
    return other is not None and one.rstrip("/") == other.rstrip("/")


def read_token(token: str | None = None, token_file: str | None = None, fallback_file: str | None = None) -> str | None:
    """Return the bearer token: argument, token file, RAYCTL_TOKEN, RAYCTL_TOKEN_FILE, then the local service's.

    Raises:
        InvalidRequest: a token file cannot be read, or a token holds characters that no header may hold.
    """
    if token is None and token_file is None:
        token = os.environ.get("RAYCTL_TOKEN") or None
    if token is None:
        path = token_file or os.environ.get("RAYCTL_TOKEN_FILE") or fallback_file
        if not path:
            return None
        try:
            lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise InvalidRequest(f"The token file {path} cannot be read: {reason}.", code="bad-token-file") from None
        # The form of the service's own token file: a token per line, perhaps followed by the tenant it is for.
        words = [line.split()[0] for line in lines if line.strip() and not line.lstrip().startswith("#")]
        token = words[0] if words else ""
    token = token.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidRequest("The token holds characters that a token cannot hold.", code="bad-token")
    return token or None
