"""Which API server a command means: what was named, else KUBECONFIG, else the one on this machine, else kubectl's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rayctl.client.kube.kubeconfig import Destination, Identity, destination, merged, read_kubeconfig
from rayctl.errors import InvalidRequest, ServerUnreachable

__all__ = ["LOCAL_KUBECONFIG", "Where", "embedded_kubeconfig", "locate"]

LOCAL_KUBECONFIG = "kubeconfig"
"""Below RAYCTL_HOME: written by whatever runs the embedded server, removed when that is gone for good."""
_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class Where:
    """What was asked for; None: nothing was said about it."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None


def embedded_kubeconfig(environ: Mapping[str, str]) -> Path:
    """Return where the kubeconfig of this machine's own API server is, if there is one."""
    return Path(environ.get("RAYCTL_HOME") or "~/.rayctl").expanduser() / LOCAL_KUBECONFIG


def locate(where: Where, environ: Mapping[str, str] = os.environ, pod: Path = _POD) -> Destination:
    """Return the destination.

    The order: ``--kubeconfig``; KUBECONFIG; this machine's embedded server, unless a context was named; the service
    account of the pod that we are in; ``~/.kube/config``.

    Raises:
        InvalidRequest: What was named is not there, or not usable.
        ServerUnreachable: Nothing was named and nothing is known.
    """
    found = _found(where, environ, pod)
    return replace(found, namespace=where.namespace) if where.namespace else found


def _found(where: Where, environ: Mapping[str, str], pod: Path) -> Destination:
    if where.kubeconfig:
        return _of([Path(where.kubeconfig).expanduser()], where.context)
    named = [Path(part).expanduser() for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    if named:
        return _of([path for path in named if path.exists()] or named[:1], where.context)
    local = embedded_kubeconfig(environ)
    if where.context is None and local.exists():
        return replace(_of([local], None), embedded=True)
    if where.context is None and (pod / "token").exists() and environ.get("KUBERNETES_SERVICE_HOST"):
        return _in_pod(environ, pod)
    usual = Path(environ.get("HOME") or "~").expanduser() / ".kube" / "config"
    if usual.exists():
        return _of([usual], where.context)
    if where.context is not None:
        raise InvalidRequest(
            f"There is no kubeconfig that could have a context {where.context!r}.",
            code="no-kubernetes",
            hint="Name the file with --kubeconfig or KUBECONFIG.",
        )
    raise ServerUnreachable(
        "No Kubernetes API is known on this machine.",
        code="no-kubernetes",
        hint="Run `rayctl up`, or name one with --kubeconfig, --context or KUBECONFIG.",
    )


def _of(paths: list[Path], context: str | None) -> Destination:
    source = os.pathsep.join(str(path) for path in paths)
    return destination(merged([read_kubeconfig(path) for path in paths]), context, source)


def _in_pod(environ: Mapping[str, str], pod: Path) -> Destination:
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    try:
        namespace = (pod / "namespace").read_text().strip()
        authority = (pod / "ca.crt").read_bytes()
    except OSError as error:
        raise InvalidRequest(
            f"This pod's service account cannot be used: {error.strerror}.", code="no-kubernetes"
        ) from error
    identity = Identity(token_file=pod / "token")
    return Destination(f"https://{host}:{port}", namespace or "default", "", str(pod), authority, identity=identity)
