"""The group ``rayctl rollout``, and its reading commands: status and history."""

from __future__ import annotations

import time
from typing import Any

import click

from rayctl.cli.fleets.found import fleet_name, read
from rayctl.cli.kubernetes import Kube, kubernetes_command
from rayctl.cli.lazy import LazyGroup
from rayctl.cli.output import age, clean, duration_text, emit, emit_document, say
from rayctl.cli.verdicts import Going, until_final

__all__ = ["history", "rollout", "status"]

COMMANDS = {
    "status": ("rayctl.cli.fleets.rollout:status", "Revisions and clusters as a tree, with a verdict."),
    "history": ("rayctl.cli.fleets.rollout:history", "The revisions that can be gone back to."),
    "pause": ("rayctl.cli.fleets.steer:pause", "Let changes of the template wait."),
    "resume": ("rayctl.cli.fleets.steer:resume", "Go on."),
    "undo": ("rayctl.cli.fleets.steer:undo", "Give the fleet the template of an earlier revision."),
    "restart": ("rayctl.cli.fleets.steer:restart", "Replace all clusters by new ones of the same template."),
    "promote": ("rayctl.cli.fleets.steer:promote", "Let the step pass at which a rollout waits."),
    "abort": ("rayctl.cli.fleets.steer:abort", "Give the newest revision up and use the last good one."),
}
_WAIT_S = 600.0
_FINAL = ("complete", "failed", "rolled-back", "invalid")


@click.group(cls=LazyGroup, lazy=COMMANDS)
def rollout() -> None:
    """See and steer the rollouts of fleets."""


@click.command()
@click.argument("target", metavar="fleet/NAME")
@click.option("--wait/--no-wait", default=False, help="Wait until it is complete or has failed (--timeout, 10m).")
@kubernetes_command()
def status(kube: Kube, target: str, wait: bool) -> None:
    """Show revisions and clusters of a fleet as a tree.

    Exit codes: 0 complete, 4 failed or rolled back, 5 still progressing or paused, or --timeout passed.
    """
    name = fleet_name(target)
    view = wait_for(kube, name, kube.settings.timeout_s or _WAIT_S) if wait else look(kube, name)
    show(kube, view)
    from rayctl.fleet.view import EXIT_CODES

    click.get_current_context().exit(EXIT_CODES[view["verdict"]])


def look(kube: Kube, name: str) -> dict[str, Any]:
    """Return the fleet's view as it is now."""
    from rayctl.fleet.view import fleet_view

    found = read(kube, name)
    assert found.fleet is not None
    return fleet_view(found.fleet, found.sets, found.clusters, time.time())


def show(kube: Kube, view: dict[str, Any]) -> None:
    """Print a view in the form that is asked for."""
    from rayctl.fleet.view import tree

    if kube.settings.output == "name":
        say(f"fleet/{view['name']}")
    elif not kube.settings.for_people:
        emit_document(kube.settings, view)
    else:
        for line in tree(view, duration_text):
            say(clean(line))


def wait_for(kube: Kube, name: str, timeout_s: float) -> dict[str, Any]:
    """Wait until a rollout is complete or has failed; tell what changes meanwhile, a line for each.

    Raises:
        DeadlineExceeded: It is still going on.
    """
    from rayctl.kube.kinds import FLEETS

    going = Going(
        FLEETS,
        name,
        f"fleet/{name}",
        _FINAL,
        lambda: look(kube, name),
        _line,
        lambda view: show(kube, view),
        {"paused": f"Nothing happens until `rayctl rollout resume fleet/{name}`."},
    )
    return until_final(kube, going, timeout_s)


def _line(view: dict[str, Any]) -> str:
    return (
        f"fleet/{view['name']} rev={view['revision']} updated={view['updated']}/{view['wanted']} "
        f"ready={view['ready']} verdict={view['verdict']} reason={view['reason']}"
    )


@click.command()
@click.argument("target", metavar="fleet/NAME")
@click.option("--revision", type=click.IntRange(min=1), help="Show this revision's template.")
@kubernetes_command()
def history(kube: Kube, target: str, revision: int | None) -> None:
    """Show the revisions of a fleet, newest first."""
    from rayctl.errors import NotFound
    from rayctl.fleet.seen import parse_fleet
    from rayctl.fleet.view import history as rows_of

    found = read(kube, fleet_name(target))
    assert found.fleet is not None
    if revision is not None:
        from rayctl.fleet.revisions import template_of_revision

        seen = parse_fleet({"fleet": found.fleet, "sets": found.sets})
        view = next((item for item in seen.sets if item.revision == revision), None)
        if view is None:
            hint = f"`rayctl rollout history {target}` lists them."
            raise NotFound(f"{target} has no revision {revision}.", code="revision-not-found", hint=hint)
        kube.settings.output = kube.settings.output if not kube.settings.for_people else "yaml"
        emit_document(kube.settings, template_of_revision(view))
        return
    rows = rows_of(found.fleet, found.sets)
    emit(
        kube.settings,
        rows,
        rows=rows,
        columns=[
            ("REVISION", lambda row: str(row["revision"])),
            ("SET", lambda row: row["set"]),
            ("WANTED", lambda row: str(row["wanted"])),
            ("READY", lambda row: str(row["ready"])),
            ("IMAGES", lambda row: ", ".join(row["images"])),
            ("STATE", lambda row: row["state"] or "–"),
            ("AGE", lambda row: age(row["created_at"])),
        ],
        wide=[("CAUSE", lambda row: row["cause"] or "–")],
        name=lambda row: f"revision/{row['revision']}",
        empty="No revisions yet.",
    )
