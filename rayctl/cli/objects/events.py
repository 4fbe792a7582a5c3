"""``rayctl events``: what happened, newest last; and what happens."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

import click

from rayctl.cli.kubernetes import Kube, Named, kubernetes_command
from rayctl.cli.output import clean, emit_document, emit_table, say
from rayctl.clock import format_duration
from rayctl.kube.kinds import EVENTS
from rayctl.views.events import Happened, happened

__all__ = ["events"]


@click.command()
@click.argument("target", metavar="[KIND/NAME]", required=False)
@click.option("-w", "-f", "--watch", is_flag=True, help="Go on and show every new one, until Ctrl-C or --timeout.")
@click.option("--type", "types", type=click.Choice(["Normal", "Warning"]), multiple=True, help="Only these.")
@click.option("--tree", is_flag=True, help="Also those of everything that the object owns.")
@kubernetes_command(all_namespaces=True)
def events(kube: Kube, target: str | None, watch: bool, types: tuple[str, ...], tree: bool) -> None:
    """Show the events of the namespace, or of one object."""
    named = kube.target(target) if target else None
    subjects = _subjects(kube, named, tree)
    if watch:
        _follow(kube, subjects, types)
        return
    documents = kube.list(EVENTS)
    pairs = [(happened(document), document) for document in documents]
    kept = sorted(
        ((event, document) for event, document in pairs if _wanted(event, subjects, types)),
        key=lambda pair: pair[0].last_at,
    )
    if not kube.settings.for_people:
        from rayctl.cli.objects.get import bare

        if kube.settings.output == "name":
            for _, document in kept:
                say(f"event/{clean(document['metadata']['name'])}")
            return
        items = [bare(document) for _, document in kept]
        emit_document(kube.settings, {"apiVersion": "v1", "kind": "List", "items": items})
    elif not kept:
        kube.settings.note("No events.")
    else:
        _table(kube, [event for event, _ in kept])


def _subjects(kube: Kube, named: Named | None, tree: bool) -> set[str] | None:
    """Return the objects whose events are wanted (``pod/x``); None: all."""
    if named is None:
        return None
    own = f"{named.served.resource.kind.lower()}/{named.name}"
    if not tree:
        return {own}
    from rayctl.cli.objects.gathering import gather_node

    return {node.label for node in gather_node(kube, named).walk()}


def _wanted(event: Happened, subjects: set[str] | None, types: Iterable[str]) -> bool:
    kinds = tuple(types)
    return (subjects is None or event.subject in subjects) and (not kinds or event.type in kinds)


def _table(kube: Kube, found: list[Happened]) -> None:
    now = time.time()
    wide = kube.settings.output == "wide"
    titles = ["LAST", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    rows = []
    for event in found:
        times = f" (x{event.count})" if event.count > 1 else ""
        row = [format_duration(now - event.last_at), event.type, event.reason, event.subject, event.message + times]
        row = [event.namespace, *row] if kube.all_namespaces else row
        rows.append([*row, event.source] if wide else row)
    titles = ["NAMESPACE", *titles] if kube.all_namespaces else titles
    emit_table(kube.settings, [*titles, "SOURCE"] if wide else titles, rows)


def _follow(kube: Kube, subjects: set[str] | None, types: tuple[str, ...]) -> None:
    from rayctl.client.kube.following import Selection

    deadline = time.monotonic() + kube.settings.timeout_s if kube.settings.timeout_s else None
    before: list[tuple[Happened, dict[str, Any]]] | None = []
    for seen in kube.follow(Selection(EVENTS, kube.scope), deadline):
        if seen.change == "SYNCED" and before is not None:
            for event, document in sorted(before, key=lambda pair: pair[0].last_at):
                _say(kube, event, document)
            before = None
        if seen.change not in ("ADDED", "MODIFIED"):
            continue
        event = happened(seen.object)
        if not _wanted(event, subjects, types):
            continue
        if before is not None:
            before.append((event, seen.object))
        else:
            _say(kube, event, seen.object)


def _say(kube: Kube, event: Happened, document: dict[str, Any]) -> None:
    if not kube.settings.for_people:
        emit_document(kube.settings, document)
        return
    at = datetime.fromtimestamp(event.last_at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    where = f"{event.namespace}/" if kube.all_namespaces else ""
    say(clean(f"{at} {event.type:7} {where}{event.subject} {event.reason}: {event.message}"))
    sys.stdout.flush()
