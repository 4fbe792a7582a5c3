"""Commands that steer a rollout: pause, resume, undo, restart, promote, abort."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import click

from rayctl.cli.fleets.found import Found, fleet_name, read
from rayctl.cli.fleets.rollout import show, wait_for
from rayctl.cli.kubernetes import Change, Kube, kubernetes_command
from rayctl.cli.output import clean, say
from rayctl.errors import Conflict, NotFound

__all__ = ["abort", "pause", "promote", "restart", "resume", "undo"]


@click.command()
@click.argument("target", metavar="fleet/NAME")
@kubernetes_command(changes=True)
def pause(kube: Kube, target: str, change: Change) -> None:
    """Let changes of the template wait; the fleet can still be scaled."""
    _carry_out(kube, target, {"spec": {"paused": True}}, change, "paused", waits=False)


@click.command()
@click.argument("target", metavar="fleet/NAME")
@kubernetes_command(changes=True)
def resume(kube: Kube, target: str, change: Change) -> None:
    """Go on with what has waited since `pause`."""
    _carry_out(kube, target, {"spec": {"paused": False}}, change, "resumed")


@click.command()
@click.argument("target", metavar="fleet/NAME")
@click.option("--to-revision", type=click.IntRange(min=0), default=0, help="0: the one before the newest.")
@kubernetes_command(changes=True)
def undo(kube: Kube, target: str, to_revision: int, change: Change) -> None:
    """Give the fleet the template of an earlier revision; `history` lists them."""
    from rayctl.fleet.revisions import merge_to, rollback_target, template_of_revision
    from rayctl.fleet.seen import parse_fleet
    from rayctl.replicaset.template import same_template

    found = read(kube, fleet_name(target))
    assert found.fleet is not None
    seen = parse_fleet({"fleet": found.fleet, "sets": found.sets})
    view = rollback_target(seen, str(to_revision))
    if view is None:
        what = f"revision {to_revision}" if to_revision else "earlier revision"
        raise NotFound(
            f"{target} has no {what}.", code="revision-not-found", hint=f"`rayctl rollout history {target}` lists them."
        )
    template = template_of_revision(view)
    if same_template(template, seen.spec.template):
        raise Conflict(f"{target} has the template of revision {view.revision} already.", code="nothing-to-undo")
    changes = {"spec": {"template": merge_to(seen.spec.template, template)}}
    _carry_out(kube, target, changes, change, f"went back to revision {view.revision}", found=found)


@click.command()
@click.argument("target", metavar="fleet/NAME")
@kubernetes_command(changes=True)
def restart(kube: Kube, target: str, change: Change) -> None:
    """Replace all clusters by new ones, within the limits of the strategy."""
    at = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    changes = {"spec": {"template": {"metadata": {"annotations": {"rayctl.io/restarted-at": at}}}}}
    _carry_out(kube, target, changes, change, "restarts")


@click.command()
@click.argument("target", metavar="fleet/NAME")
@click.option("--full", is_flag=True, help="Not only this step: all that are left.")
@kubernetes_command(changes=True)
def promote(kube: Kube, target: str, full: bool, change: Change) -> None:
    """Let the step pass at which a canary or blue/green rollout waits."""
    from rayctl.fleet.seen import PROMOTE

    found = read(kube, fleet_name(target))
    state = _state(found, target)
    token = f"{state['revision']}:{'full' if full else state.get('step', 0)}"
    text = "promoted fully" if full else f"step {int(state.get('step', 0)) + 1} promoted"
    _carry_out(kube, target, {"metadata": {"annotations": {PROMOTE: token}}}, change, text, found=found)


@click.command()
@click.argument("target", metavar="fleet/NAME")
@kubernetes_command(changes=True)
def abort(kube: Kube, target: str, change: Change) -> None:
    """Give the newest revision up: the last good one takes its place until the template is changed."""
    from rayctl.fleet.seen import ABORT

    found = read(kube, fleet_name(target))
    state = _state(found, target)
    if state.get("stableRevision") in (None, "", state["revision"]):
        raise Conflict(
            f"{target} has no other revision to go back to, or its newest one is complete.",
            code="nothing-to-abort",
            hint=f"`rayctl rollout undo {target}` goes back from a complete rollout.",
        )
    changes = {"metadata": {"annotations": {ABORT: state["revision"]}}}
    _carry_out(kube, target, changes, change, f"revision {state['revision']} given up", found=found)


def _state(found: Found, target: str) -> Mapping[str, Any]:
    assert found.fleet is not None
    state: Mapping[str, Any] = (found.fleet.get("status") or {}).get("rollout") or {}
    if not state.get("revision"):
        raise Conflict(f"{target} has no rollout yet.", code="no-rollout", hint="Is the fleet controller running?")
    return state


def _carry_out(
    kube: Kube,
    target: str,
    changes: dict[str, Any],
    change: Change,
    text: str,
    waits: bool = True,
    found: Found | None = None,
) -> None:
    """Patch the fleet, say so, and wait for the end if that is asked for.

    A command that decided by what it read writes only to that version.
    """
    name = fleet_name(target)
    began = time.monotonic()
    if not change.only_client:
        if found is not None and found.fleet is not None:
            changes.setdefault("metadata", {})["resourceVersion"] = found.fleet["metadata"]["resourceVersion"]
        kube.patch(kube.target(f"rayclusterfleets.orchestration.aibrix.ai/{name}"), changes, change)
    if kube.settings.output == "name":
        say(f"fleet/{name}")
    elif kube.settings.for_people:
        say(clean(f"fleet/{name} {text}{change.suffix}"))
    if change.wait and waits and change.dry_run == "none":
        view = wait_for(kube, name, max(1.0, change.timeout_s - (time.monotonic() - began)))
        from rayctl.fleet.view import EXIT_CODES

        show(kube, view)
        click.get_current_context().exit(EXIT_CODES[view["verdict"]])
