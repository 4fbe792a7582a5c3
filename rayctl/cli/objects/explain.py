"""``rayctl explain``: why an object is not as it should be, down to the pod, and what can be done."""

from __future__ import annotations

import time

import click

from rayctl.cli.kubernetes import Kube, kubernetes_command
from rayctl.cli.output import clean, duration_text, emit_document, say
from rayctl.views.explanation import Explanation, explain

__all__ = ["explain_command", "show"]


@click.command("explain")
@click.argument("target", metavar="KIND/NAME")
@click.argument("name", required=False, metavar="[NAME]")
@kubernetes_command()
def explain_command(kube: Kube, target: str, name: str | None) -> None:
    """Say why an object is not ready, since when, what it waits for, and what can be done.

    Exit code 0 whatever the answer is; `rayctl wait` has a verdict.
    """
    from rayctl.cli.objects.gathering import gather

    node, seen = gather(kube, kube.target(target, name))
    now = time.time()
    found = explain(node, seen, now)
    if kube.settings.output == "name":
        say(clean(found.subject))
    elif kube.settings.for_people:
        show(found, now)
    else:
        emit_document(kube.settings, found.document())


def show(found: Explanation, now: float) -> None:
    """Print an explanation for a person."""
    since = "" if found.since_at is None else f"   since {duration_text(max(0.0, now - found.since_at))} ago"
    say(clean(found.summary) + since)
    for cause in found.causes:
        reason = f"   [{clean(cause.reason)}]" if cause.reason and cause.reason not in cause.text else ""
        say(f"  because  {clean(cause.text)}{reason}")
    for word, text in found.facts:
        say(f"  {clean(word)}  {clean(text)}")
    width = max((len(item.command) for item in found.advice), default=0)
    for item in found.advice:
        say(f"you can    {clean(item.command).ljust(width)}   {clean(item.effect)}")
