"""Waiting for objects, with a line for every change of state; and what is said when the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from rayctl.cli.kubernetes import Change, Kube
from rayctl.cli.output import clean, duration_text
from rayctl.errors import DeadlineExceeded, RayctlError
from rayctl.kube.errors import ObjectNotFound

if TYPE_CHECKING:
    from rayctl.kube.calls import Resource

__all__ = ["ObjectFailed", "wait_gone", "wait_ready", "wait_until"]

Document = dict[str, Any]


class ObjectFailed(RayctlError):
    """The object reached a state from which it will not come to what is waited for."""

    code = "object-failed"
    title = "The object has failed"
    http_status = 409
    exit_code = 4


def wait_until(
    kube: Kube,
    resource: Resource,
    name: str,
    done: Callable[[Document], bool],
    says: Callable[[Document], str],
    what: str,
    change: Change,
    namespace: str | None = None,
) -> Document:
    """Wait until ``done``; tell what ``says`` returns whenever that changes.

    Raises:
        DeadlineExceeded: The time is up.
        ObjectNotFound: It is not there (any more).
    """
    from rayctl.client.kube.following import Selection

    where = (namespace or kube.namespace) if resource.namespaced else ""
    told, label, synced_empty = "", f"{resource.kind.lower()}/{name}", True
    for seen in kube.follow(Selection(resource, where, name), change.deadline):
        if seen.change == "SYNCED":
            if synced_empty:
                raise ObjectNotFound(f'{resource.plural} "{name}" not found')
            continue
        synced_empty = False
        if seen.change == "DELETED":
            raise ObjectNotFound(f"{label} was deleted while it was waited for.")
        text = says(seen.object)
        if done(seen.object):
            kube.settings.note(f"{_now()} {label} {clean(text)}".rstrip())
            return seen.object
        if text != told:
            kube.settings.note(f"{_now()} {label} {clean(text)}".rstrip())
            told = text
    last = f": {told}" if told else ""
    raise DeadlineExceeded(
        f"{label} was not {what} within {duration_text(change.timeout_s)}{last}.",
        hint=f"It goes on; `rayctl explain {label}` says what it waits for.",
    )


def wait_ready(
    kube: Kube,
    resource: Resource,
    name: str,
    change: Change,
    namespace: str | None = None,
    enough: Callable[[Document], bool] = lambda _: False,
    rolled_out: bool = False,
) -> None:
    """Wait until an object is ready, for the newest specification; kinds without such a notion are at once.

    ``enough``: of one that has failed: whether what is waited for has been reached all the same. ``rolled_out``: one
    that is ready but keeps what is of an older specification has failed.

    Raises:
        DeadlineExceeded, ObjectNotFound: See `wait_until`.
        ObjectFailed: It has failed for good.
    """
    from rayctl.views.readiness import judge

    def says(document: Document) -> str:
        verdict = judge(document)
        if verdict.ready is not False:
            return "ready"
        return f"{verdict.reason}: {verdict.message}" if verdict.message else verdict.reason

    def done(document: Document) -> bool:
        verdict = judge(document)
        if verdict.outdated and rolled_out:
            raise ObjectFailed(
                f"{resource.kind.lower()}/{name} is ready, but not all of it is as specified: {verdict.outdated}"
            )
        if not verdict.failed:
            return verdict.ready is not False
        if enough(document):
            return True
        raise ObjectFailed(
            f"{resource.kind.lower()}/{name} has failed: {says(document)}",
            hint=f"`rayctl explain {resource.kind.lower()}/{name}` says more.",
        )

    wait_until(kube, resource, name, done, says, "ready", change, namespace)


def wait_gone(
    kube: Kube, resource: Resource, name: str, uid: str, change: Change, namespace: str | None = None
) -> None:
    """Wait until exactly this object is gone.

    Raises:
        DeadlineExceeded: It is still there; says which finalizers hold it.
    """
    from rayctl.client.kube.following import Selection

    where = (namespace or kube.namespace) if resource.namespaced else ""
    label, holders = f"{resource.kind.lower()}/{name}", ""
    there = False
    for seen in kube.follow(Selection(resource, where, name), change.deadline):
        if seen.change == "SYNCED":
            if not there:
                return
            continue
        if seen.change == "DELETED" or seen.object["metadata"].get("uid") != uid:
            return
        there = True
        found = ", ".join(seen.object["metadata"].get("finalizers") or ())
        if found != holders:
            holders = found
            if found:
                kube.settings.note(f"{_now()} {label} waits for {clean(found)}")
    held = f"; its finalizers {holders} have not been taken off" if holders else ""
    raise DeadlineExceeded(
        f"{label} is still there after {duration_text(change.timeout_s)}{held}.",
        hint=f"It goes on. `rayctl explain {label}` says more; a finalizer belongs to a controller, which must run.",
    )


def _now() -> str:
    return datetime.fromtimestamp(time.time(), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
