"""Commands that steer a rollout: pause, resume, undo, restart, promote, abort."""

from __future__ import annotations

import time

import click

from rayctl.cli.fleets.found import fleet_name, read
from rayctl.cli.fleets.rollout import show, wait_for
from rayctl.cli.kubernetes import MANAGER, Change, Kube, kubernetes_command
from rayctl.cli.output import clean, say
from rayctl.core.steering import Steered
from rayctl.kube.kinds import FLEETS

__all__ = ["abort", "pause", "promote", "restart", "resume", "undo"]


@click.command()
@click.argument("target", metavar="fleet/NAME")
@kubernetes_command(changes=True)
def pause(kube: Kube, target: str, change: Change) -> None:
    """Let changes of the template wait; the fleet can still be scaled."""
    from rayctl.fleet import steer

    _carry_out(kube, target, steer.pause(), change, waits=False)


@click.command()
@click.argument("target", metavar="fleet/NAME")
@kubernetes_command(changes=True)
def resume(kube: Kube, target: str, change: Change) -> None:
    """Go on with what has waited since `pause`."""
    from rayctl.fleet import steer

    _carry_out(kube, target, steer.resume(), change)


@click.command()
@click.argument("target", metavar="fleet/NAME")
@click.option("--to-revision", type=click.IntRange(min=0), default=0, help="0: the one before the newest.")
@kubernetes_command(changes=True)
def undo(kube: Kube, target: str, to_revision: int, change: Change) -> None:
    """Give the fleet the template of an earlier revision; `history` lists them."""
    from rayctl.fleet import steer

    found = read(kube, fleet_name(target))
    assert found.fleet is not None
    _carry_out(kube, target, steer.undo(found.fleet, found.sets, to_revision), change)


@click.command()
@click.argument("target", metavar="fleet/NAME")
@kubernetes_command(changes=True)
def restart(kube: Kube, target: str, change: Change) -> None:
    """Replace all clusters by new ones, within the limits of the strategy."""
    from rayctl.fleet import steer

    _carry_out(kube, target, steer.restart(time.time()), change)


@click.command()
@click.argument("target", metavar="fleet/NAME")
@click.option("--full", is_flag=True, help="Not only this step: all that are left.")
@kubernetes_command(changes=True)
def promote(kube: Kube, target: str, full: bool, change: Change) -> None:
    """Let the step pass at which a canary or blue/green rollout waits."""
    from rayctl.fleet import steer

    _carry_out(kube, target, steer.promote(kube.get(FLEETS, fleet_name(target)), full), change)


@click.command()
@click.argument("target", metavar="fleet/NAME")
@kubernetes_command(changes=True)
def abort(kube: Kube, target: str, change: Change) -> None:
    """Give the newest revision up: the last good one takes its place until the template is changed."""
    from rayctl.fleet import steer

    _carry_out(kube, target, steer.abort(kube.get(FLEETS, fleet_name(target))), change, wanted="rolled-back")


def _carry_out(
    kube: Kube, target: str, steered: Steered, change: Change, waits: bool = True, wanted: str = "complete"
) -> None:
    """Change the fleet, say so, and wait for the end if that is asked for. ``wanted``: the verdict that is success."""
    name = fleet_name(target)
    began = time.monotonic()
    if not change.only_client:
        kube.request(change.on(steered.call(kube.path(FLEETS, name), MANAGER)))
    if kube.settings.output == "name":
        say(f"fleet/{name}")
    elif kube.settings.for_people:
        say(clean(f"fleet/{name} {steered.text}{change.suffix}"))
    if change.wait and waits and change.dry_run == "none":
        view = wait_for(kube, name, max(1.0, change.timeout_s - (time.monotonic() - began)))
        from rayctl.fleet.view import EXIT_CODES

        show(kube, view)
        click.get_current_context().exit(0 if view["verdict"] == wanted else EXIT_CODES[view["verdict"]])
