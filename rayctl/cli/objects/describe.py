"""``rayctl describe``: all about one object, for people."""

from __future__ import annotations

import time

import click

from rayctl.cli.kubernetes import Kube, kubernetes_command
from rayctl.cli.output import clean, emit_document, say

__all__ = ["describe"]


@click.command()
@click.argument("target", metavar="KIND/NAME")
@click.argument("name", required=False, metavar="[NAME]")
@kubernetes_command()
def describe(kube: Kube, target: str, name: str | None) -> None:
    """Show an object: what it is, its conditions, what it owns as a tree, its last events."""
    from rayctl.cli.objects.gathering import gather
    from rayctl.views.describe import description, lines
    from rayctl.views.events import about

    node, seen = gather(kube, kube.target(target, name))
    events = about(seen.events, node.document)[-20:]
    if kube.settings.output == "name":
        say(clean(node.label))
    elif kube.settings.for_people:
        for line in lines(node, events, time.time()):
            for part in line.split("\n"):
                say(clean(part))
    else:
        emit_document(kube.settings, description(node, events))
