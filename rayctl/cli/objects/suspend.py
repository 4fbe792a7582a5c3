"""``rayctl suspend`` and ``rayctl resume``: whatever has ``spec.suspend``."""

from __future__ import annotations

from typing import Any

import click

from rayctl.cli.kubernetes import Change, Kube, kubernetes_command
from rayctl.cli.output import clean, emit_document, say
from rayctl.errors import InvalidRequest

__all__ = ["resume", "suspend"]

Document = dict[str, Any]


@click.command()
@click.argument("target", metavar="KIND/NAME")
@click.argument("name", required=False, metavar="[NAME]")
@kubernetes_command(changes=True)
def suspend(kube: Kube, target: str, name: str | None, change: Change) -> None:
    """Take away an object's pods and keep its specification; `rayctl resume` brings them back."""
    _set(kube, target, name, True, change)


@click.command()
@click.argument("target", metavar="KIND/NAME")
@click.argument("name", required=False, metavar="[NAME]")
@kubernetes_command(changes=True)
def resume(kube: Kube, target: str, name: str | None, change: Change) -> None:
    """Bring back what `rayctl suspend` has taken away."""
    _set(kube, target, name, False, change)


def _set(kube: Kube, target: str, name: str | None, wanted: bool, change: Change) -> None:
    named = kube.target(target, name)
    before = kube.get(named.served.resource, named.name)
    had = bool((before.get("spec") or {}).get("suspend"))
    word = "suspended" if wanted else "resumed"
    if had == wanted:
        word = f"already {'suspended' if wanted else 'not suspended'}"
    elif not change.only_client:
        changes = {"spec": {"suspend": wanted}}
        # Asked without consequence first: kinds without this field drop it and say nothing.
        tried = kube.patch(named, changes, Change(dry_run="server"))
        if bool((tried.get("spec") or {}).get("suspend")) != wanted:
            raise InvalidRequest(
                f"{named.served.resource.kind} cannot be suspended.",
                code="no-suspend",
                hint="Fleets are stopped in their rollout with `rayctl rollout pause`; scaled with `rayctl scale`.",
            )
        if change.dry_run == "none":
            kube.patch(named, changes)
    if kube.settings.output in ("json", "yaml"):
        emit_document(kube.settings, {"object": named.label, "suspend": wanted, "changed": had != wanted})
    else:
        say(clean(named.label) if kube.settings.output == "name" else f"{clean(named.label)} {word}{change.suffix}")
    if change.waits:
        _wait(kube, named, wanted, change)


def _wait(kube: Kube, named: Any, wanted: bool, change: Change) -> None:
    from rayctl.cli.objects.waiting import wait_ready, wait_until
    from rayctl.views.readiness import condition_holds, judge

    if not wanted:
        wait_ready(kube, named.served.resource, named.name, change)
        return

    def done(document: Document) -> bool:
        return any(condition_holds(document, kind) for kind in ("RayClusterSuspended", "Suspended"))

    def says(document: Document) -> str:
        return "suspended" if done(document) else judge(document).reason or "not suspended yet"

    wait_until(kube, named.served.resource, named.name, done, says, "suspended", change)
