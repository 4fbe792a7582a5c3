"""How people steer a switchover: promote, retry, abort, weight, rollback as changes of the service. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rayctl.core.steering import Steered
from rayctl.errors import Conflict, NotFound
from rayctl.service.children import Owner
from rayctl.service.history import parse_revisions, same_content
from rayctl.service.record import parse_record
from rayctl.service.spec import ABORT, PROMOTE, RETRY, WEIGHT

__all__ = ["abort", "promote", "retry", "rollback", "weight"]

Document = Mapping[str, Any]
_KEPT = ("suspend", "managedBy")


def promote(service: Document) -> Steered:
    """Move the traffic to the new side as soon as it is ready. Raises Conflict: there is no switch."""
    return _annotated(service, "promoted", {PROMOTE: _pending(service)})


def retry(service: Document) -> Steered:
    """Try a change again that was rolled back. Raises Conflict: nothing was given up."""
    record = parse_record(service.get("status") or {})
    if record is None or not record.refused:
        raise Conflict(f"{_label(service)} has given nothing up.", code="nothing-to-retry", hint=_status_hint(service))
    return _annotated(service, "tries again", {RETRY: str(record.serial)})


def abort(service: Document) -> Steered:
    """Give the present switch up, keep the side that serves. Raises Conflict: there is no switch."""
    return _annotated(service, "aborted", {ABORT: _pending(service)})


def weight(service: Document, percent: int | None) -> Steered:
    """Hold the new side's share of the traffic at a percentage; None: go on as the strategy says.

    Raises:
        Conflict: There is no switch.
    """
    value = None if percent is None else f"{_pending(service)}={percent}"
    return _annotated(service, "goes on" if percent is None else f"weighted: {percent} %", {WEIGHT: value})


def rollback(service: Document, config_maps: Sequence[Document], to_revision: int | None = None) -> Steered:
    """Give a service an earlier specification; None: the newest one that is another.

    Args:
        service: The RayService.
        config_maps: Those of its namespace that may keep its revisions.
        to_revision: The revision's number.

    Raises:
        NotFound: There is none.
    """
    revisions = parse_revisions(Owner(service), config_maps)
    if to_revision is not None:
        found = next((revision for revision in revisions if revision.number == to_revision), None)
    else:
        found = next((revision for revision in revisions if not same_content(revision.spec, service["spec"])), None)
    if found is None:
        what = "earlier revision" if to_revision is None else f"revision {to_revision}"
        hint = f"`rayctl service history {service['metadata']['name']}` lists them."
        raise NotFound(f"{_label(service)} has no {what}.", code="revision-not-found", hint=hint)
    kept = {key: service["spec"][key] for key in _KEPT if key in service["spec"]}
    replaced = {"op": "replace", "path": "/spec", "value": {**found.spec, **kept}}
    text = f"returns to revision {found.number}"
    return Steered(text, None, (replaced,)).based_on(str(service["metadata"]["resourceVersion"]))


def _annotated(service: Document, text: str, annotations: Mapping[str, str | None]) -> Steered:
    changes = {"metadata": {"annotations": annotations}}
    return Steered(text, changes).based_on(str(service["metadata"]["resourceVersion"]))


def _pending(service: Document) -> str:
    pending = ((service.get("status") or {}).get("pendingServiceStatus") or {}).get("rayClusterName")
    if not pending:
        raise Conflict(f"{_label(service)} is not switching.", code="no-switch", hint=_status_hint(service))
    return str(pending)


def _label(service: Document) -> str:
    return f"service/{service['metadata']['name']}"


def _status_hint(service: Document) -> str:
    return f"`rayctl service status {service['metadata']['name']}` says what it does."
