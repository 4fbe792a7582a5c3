"""What a kubeconfig says: where a server is, how it proves itself, how we do. Documents in, a destination out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rayctl.errors import InvalidRequest

__all__ = ["Destination", "ExecPlugin", "Identity", "destination", "merged", "read_kubeconfig"]

Document = Mapping[str, Any]
_SECTIONS = ("clusters", "users", "contexts")
_LARGEST = 4 * 1024 * 1024
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class ExecPlugin:
    """A program that a kubeconfig names to get credentials from. It is code of whoever wrote the file."""

    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    api_version: str = "client.authentication.k8s.io/v1"
    install_hint: str = ""
    folder: Path = Path()
    wants_cluster: bool = False


@dataclass(frozen=True)
class Identity:
    """Who we say we are. Secrets are never shown. ``certificate`` and ``key``: PEM."""

    token: str = field(default="", repr=False)
    token_file: Path | None = None
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    exec: ExecPlugin | None = None
    impersonate: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Destination:
    """One API server and the place in it.

    ``source``: the file that said so, for people. ``authority``: PEM of who signs the server's certificate.
    ``embedded``: whether it is the server that `rayctl kube serve` runs on this machine.
    """

    server: str
    namespace: str = "default"
    context: str = ""
    source: str = ""
    authority: bytes = field(default=b"", repr=False)
    insecure: bool = False
    tls_server_name: str = ""
    proxy: str = ""
    identity: Identity = Identity()
    embedded: bool = False

    def __str__(self) -> str:
        where = f"context {self.context} of {self.source}" if self.context else self.source
        return f"{self.server} ({where})" if where else self.server


def read_kubeconfig(path: Path) -> Document:
    """Return a kubeconfig file's document, paths in it made absolute.

    Raises:
        InvalidRequest: It cannot be read, or is something else.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise InvalidRequest(f"{path} is too large for a kubeconfig.", code="bad-kubeconfig")
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=_YAML)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or "it is not YAML"
        raise InvalidRequest(
            f"The kubeconfig {path} cannot be read: {reason}.",
            code="bad-kubeconfig",
            hint="Name another file with --kubeconfig or KUBECONFIG.",
        ) from error
    if not isinstance(found, dict) or any(not isinstance(found.get(name) or [], list) for name in _SECTIONS):
        raise InvalidRequest(f"{path} is not a kubeconfig.", code="bad-kubeconfig")
    for section, names in (
        ("clusters", ("certificate-authority",)),
        ("users", ("client-certificate", "client-key", "tokenFile")),
    ):
        for entry in found.get(section) or ():
            inner = _inner(entry, section)
            for name in names:
                if inner.get(name):
                    inner[name] = str(path.parent / str(inner[name]))
            if section == "users" and isinstance(inner.get("exec"), dict):
                inner["exec"]["folder"] = str(path.parent)
    return found


def _inner(entry: Any, section: str) -> dict[str, Any]:
    found = entry.get(section[:-1]) if isinstance(entry, dict) else None
    return found if isinstance(found, dict) else {}


def merged(documents: Sequence[Document]) -> Document:
    """Return several files as one: of entries with the same name, and of other values, the first one counts."""
    result: dict[str, Any] = {"current-context": ""}
    for document in documents:
        result["current-context"] = result["current-context"] or document.get("current-context") or ""
    for section in _SECTIONS:
        named: dict[str, Any] = {}
        for document in documents:
            for entry in document.get(section) or ():
                if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                    named.setdefault(entry["name"], _inner(entry, section))
        result[section] = named
    return result


def destination(config: Document, context: str | None, source: str) -> Destination:
    """Return where a merged kubeconfig (see `merged`) leads.

    Args:
        config: From `merged`.
        context: One of its contexts; None: the current one.
        source: The file, for people.

    Raises:
        InvalidRequest: There is no such context, or something that it names is not there.
    """
    name = context or config["current-context"]
    contexts = config["contexts"]
    if not name:
        raise InvalidRequest(
            f"{source} has no current context.",
            code="no-context",
            hint=f"Choose one with --context: {', '.join(sorted(contexts)) or 'but there is none'}.",
        )
    if name not in contexts:
        known = ", ".join(sorted(contexts)) or "none"
        raise InvalidRequest(
            f"There is no context {name!r} in {source}.", code="no-context", hint=f"Its contexts: {known}."
        )
    chosen = contexts[name]
    cluster = _named(config, "clusters", chosen.get("cluster"), name, source)
    user = _named(config, "users", chosen["user"], name, source) if chosen.get("user") else {}
    server = str(cluster.get("server") or "").rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise InvalidRequest(f"Context {name} of {source} names no server.", code="bad-kubeconfig")
    return Destination(
        server=server,
        namespace=str(chosen.get("namespace") or "default"),
        context=name,
        source=source,
        authority=_pem(cluster, "certificate-authority", source),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        proxy=str(cluster.get("proxy-url") or ""),
        identity=_identity(user, source),
    )


def _named(config: Document, section: str, name: Any, context: str, source: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] | None = config[section].get(name)
    if found is None:
        raise InvalidRequest(
            f"Context {context} of {source} names {section[:-1]} {name!r}, which is not there.", code="bad-kubeconfig"
        )
    return found


def _identity(user: Mapping[str, Any], source: str) -> Identity:
    if user.get("auth-provider"):
        raise InvalidRequest(
            f"{source} asks for an auth-provider, which Kubernetes' own clients gave up in 2022.",
            code="auth-provider",
            hint="Have the file written anew by your provider's current tool.",
        )
    groups = user.get("as-groups") or ()
    pairs = [("Impersonate-User", user.get("as")), ("Impersonate-Uid", user.get("as-uid"))]
    pairs += [("Impersonate-Group", group) for group in groups]
    for key, values in (user.get("as-user-extra") or {}).items():
        pairs += [(f"Impersonate-Extra-{key}", value) for value in values]
    return Identity(
        token=str(user.get("token") or ""),
        token_file=Path(user["tokenFile"]) if user.get("tokenFile") else None,
        certificate=_pem(user, "client-certificate", source),
        key=_pem(user, "client-key", source),
        username=str(user.get("username") or ""),
        password=str(user.get("password") or ""),
        exec=_exec(user["exec"]) if user.get("exec") else None,
        impersonate=tuple((name, str(value)) for name, value in pairs if value),
    )


def _exec(document: Any) -> ExecPlugin:
    if not isinstance(document, dict) or not document.get("command"):
        raise InvalidRequest("The kubeconfig names an exec plugin without a command.", code="bad-kubeconfig")
    return ExecPlugin(
        command=str(document["command"]),
        args=tuple(str(arg) for arg in document.get("args") or ()),
        env=tuple((str(pair["name"]), str(pair["value"])) for pair in document.get("env") or ()),
        api_version=str(document.get("apiVersion") or ExecPlugin.api_version),
        install_hint=str(document.get("installHint") or ""),
        folder=Path(document.get("folder") or "."),
        wants_cluster=bool(document.get("provideClusterInfo")),
    )


def _pem(entry: Mapping[str, Any], name: str, source: str) -> bytes:
    data, path = entry.get(f"{name}-data"), entry.get(name)
    try:
        if data:
            return base64.b64decode(str(data), validate=True)
        return Path(path).read_bytes() if path else b""
    except (binascii.Error, OSError) as error:
        reason = getattr(error, "strerror", None) or "it is not base64"
        raise InvalidRequest(f"The {name} in {source} cannot be read: {reason}.", code="bad-kubeconfig") from error
