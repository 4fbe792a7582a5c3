"""``rayctl wait``: until a condition holds, objects are ready, or are gone."""

from __future__ import annotations

import click

from rayctl.cli.kubernetes import Change, Kube, Named, kubernetes_command
from rayctl.cli.output import clean, say
from rayctl.kube.errors import ObjectNotFound

__all__ = ["wait_command"]

_WAIT_S = 300.0


@click.command("wait")
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME...")
@click.option(
    "--for",
    "goal",
    default="Ready",
    show_default=True,
    metavar="GOAL",
    help="Ready, condition=TYPE[=STATUS], jsonpath={.path}=VALUE, or delete.",
)
@kubernetes_command()
def wait_command(kube: Kube, what: tuple[str, ...], goal: str) -> None:
    """Wait until objects are as they are wanted; exit code 5 if they are not in time, 4 if they never will be.

    A condition that was observed for an older specification does not count, so this is right also just after `apply`.
    """
    change = Change(True, kube.settings.timeout_s or _WAIT_S)
    for named in [kube.target(word) for word in what]:
        _one(kube, named, goal, change)
        say(f"{clean(named.label)} {'deleted' if goal == 'delete' else 'condition met'}")


def _one(kube: Kube, named: Named, goal: str, change: Change) -> None:
    from rayctl.cli.objects.waiting import wait_gone, wait_ready, wait_until
    from rayctl.views.goals import parse_goal

    resource = named.served.resource
    if goal == "delete":
        try:
            uid = kube.get(resource, named.name)["metadata"]["uid"]
        except ObjectNotFound:
            return
        wait_gone(kube, resource, named.name, uid, change)
        return
    if goal.lower() == "ready":
        wait_ready(kube, resource, named.name, change)
        return
    wanted = parse_goal(goal)
    wait_until(kube, resource, named.name, wanted.done, wanted.says, wanted.what, change)
