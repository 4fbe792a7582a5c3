"""What a tenant's token may not put into an object: this service acts with its own account, and must not lend it out.

An operator's token is trusted with all of this. On the cluster's own side, Pod Security Admission says the same. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rayctl.errors import FieldError, Forbidden

__all__ = ["check_tenant_document", "forbidden_fields"]

Document = Mapping[str, Any]
_HOST = ("hostNetwork", "hostPID", "hostIPC")
_CAPABILITIES = frozenset({"NET_BIND_SERVICE"})
_METADATA = ("ownerReferences", "finalizers", "managedFields")
_MESSAGES = {"service account": "only the namespace's default", "host": "pods of tenants stay off the host"}


def check_tenant_document(document: Document) -> None:
    """Raise Forbidden if a document has what only an operator may ask for."""
    found = list(forbidden_fields(document))
    if found:
        raise Forbidden(
            "A tenant's token may not ask for this.",
            code="not-for-tenants",
            errors=found[:50],
            hint="Leave these fields out, or have the operator apply it.",
        )


def forbidden_fields(document: Document) -> Iterator[FieldError]:
    """Yield the places, with what is wrong there."""
    metadata = document.get("metadata")
    for name in _METADATA if isinstance(metadata, Mapping) else ():
        if metadata and metadata.get(name):
            yield {"pointer": f"/metadata/{name}", "message": "is the controllers' to set"}
    yield from _below(document.get("spec"), "/spec")


def _below(value: Any, place: str) -> Iterator[FieldError]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _below(item, f"{place}/{index}")
    elif isinstance(value, Mapping):
        # Any level may be a pod's: a patch need not say which by naming containers.
        yield from _level(value, place)
        for name, item in value.items():
            # A switch of RayCluster gives the head an account that may change pods; that is bounded, and allowed.
            yield from _below(item, f"{place}/{str(name).replace('~', '~0').replace('/', '~1')}")


def _level(spec: Document, place: str) -> Iterator[FieldError]:
    for name in _HOST:
        if spec.get(name):
            yield {"pointer": f"{place}/{name}", "message": _MESSAGES["host"]}
    for name in ("serviceAccountName", "serviceAccount"):
        if spec.get(name) not in (None, "", "default"):
            yield {"pointer": f"{place}/{name}", "message": _MESSAGES["service account"]}
    for name in ("hostPath", "hostPort"):
        if spec.get(name):
            yield {"pointer": f"{place}/{name}", "message": _MESSAGES["host"]}
    context = spec.get("securityContext")
    if isinstance(context, Mapping):
        for name in ("privileged", "allowPrivilegeEscalation"):
            if context.get(name):
                yield {
                    "pointer": f"{place}/securityContext/{name}",
                    "message": "containers of tenants have no privileges",
                }
        capabilities = context.get("capabilities")
        added = capabilities.get("add") if isinstance(capabilities, Mapping) else None
        if set(map(str, added or ())) - _CAPABILITIES:
            yield {"pointer": f"{place}/securityContext/capabilities/add", "message": "containers of tenants add none"}
        if context.get("procMount") not in (None, "Default"):
            yield {"pointer": f"{place}/securityContext/procMount", "message": _MESSAGES["host"]}
