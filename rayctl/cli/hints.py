"""What a person can do about a failed request to a Kubernetes API. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayctl.kube.errors import (
    AlreadyExists,
    Denied,
    KubernetesError,
    NoAnswer,
    ObjectNotFound,
    Overloaded,
    Rejected,
    ServerTrouble,
    WriteConflict,
)
from rayctl.kube.errors import field_conflicts as conflicts

if TYPE_CHECKING:
    from rayctl.client.kube.kubeconfig import Destination

__all__ = ["conflicts", "explained"]

_AGAIN = "It may have been carried out nevertheless: look before you repeat it."


def explained(error: KubernetesError, target: Destination) -> KubernetesError:
    """Return the error with a hint, and with the single places that the server complained about."""
    if not error.errors and error.causes:
        error.errors = tuple({"pointer": cause.field or "-", "message": cause.message} for cause in error.causes)
    if error.hint is None:
        error.hint = _hint(error, target)
    if error.outcome_unknown and _AGAIN not in (error.hint or ""):
        error.hint = f"{error.hint or ''} {_AGAIN}".strip()
    return error


def _hint(error: KubernetesError, target: Destination) -> str | None:
    if isinstance(error, NoAnswer):
        return _unreachable(error, target)
    if isinstance(error, Denied):
        return _denied(error, target)
    if isinstance(error, ObjectNotFound):
        if "could not find the requested resource" in error.message or "page not found" in error.message:
            return "The server does not have this kind; `rayctl get kinds` lists what it has."
        return f"Looked for in namespace {target.namespace} of {target}; -n names another."
    if isinstance(error, AlreadyExists):
        return "`rayctl apply` changes what is there."
    if isinstance(error, WriteConflict):
        return "Somebody changed it meanwhile, or owns these fields; look again, or use --force-conflicts."
    if isinstance(error, Rejected) and "does not have a host assigned" in error.message:
        return "The pod has not been given to a node yet; `rayctl explain po/NAME` says what it waits for."
    if isinstance(error, Rejected) and error.status == 413:
        return "The object is larger than what the server takes (3 MiB)."
    if isinstance(error, Overloaded):
        wait = f"in {error.retry_after_s:g} s" if error.retry_after_s else "in a moment"
        return f"The server is busy; try again {wait}."
    if isinstance(error, ServerTrouble):
        return f"The server at {target.server} is in trouble; its own log tells more."
    return None


def _unreachable(error: NoAnswer, target: Destination) -> str:
    text = error.message.lower()
    if "certificate" in text:
        return f"{target.source} does not trust this server's certificate: it is another server, or the file is old."
    if "name or service not known" in text or "name resolution" in text:
        return f"The name in {target} is not known here: a VPN that is off, or an old file?"
    if target.embedded:
        return "`rayctl up`, or `rayctl kube serve --kubelet --controllers`, starts it."
    return f"Reached for {target}; is it running, and reachable from here?"


def _denied(error: Denied, target: Destination) -> str:
    if error.status == 401:
        if target.embedded:
            return f"The token in {target.source} is not this server's; `rayctl up` writes a new one."
        return f"The credentials of {target} are wrong or have ended; log in again with your provider's tool."
    if any(cause.reason == "NamespaceTerminating" for cause in error.causes):
        return "The namespace is being deleted; wait for that, or use another."
    return f"Known, but not allowed, by {target}; an administrator can grant it (a Role and a RoleBinding)."
