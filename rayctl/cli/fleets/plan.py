"""``rayctl plan``: what a fleet's controllers would do, and what it would take; nothing is written."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from rayctl.cli.fleets.found import fleet_name, read, read_documents
from rayctl.cli.kubernetes import Change, Kube, kubernetes_command
from rayctl.cli.output import clean, duration_text, emit_document, say
from rayctl.errors import InvalidRequest

__all__ = ["plan"]

PENDING = 10
_SHOWN = 30
_EXAMPLES = """\b
Examples:
  rayctl plan -f fleet.yaml          what applying this file would lead to
  rayctl plan fleet/embed            what is still to come

Exit codes: 0 nothing to do, 10 changes pending, 4 it would stop before its end.
"""


@click.command(epilog=_EXAMPLES)
@click.argument("target", metavar="[fleet/NAME]", required=False)
@click.option("-f", "--file", "path", type=click.Path(path_type=Path), help="Manifests; - reads standard input.")
@click.option("--all", "everything", is_flag=True, help="Every step, however many.")
@kubernetes_command()
def plan(kube: Kube, target: str | None, path: Path | None, everything: bool) -> None:
    """Show step by step what would happen next to a fleet, and its peak of resources. Writes nothing.

    The steps come from the planners that the controllers run. New clusters are taken to become ready, gates to pass.
    """
    from rayctl.fleet.preview import preview

    if (target is None) == (path is None):
        raise InvalidRequest("What is to be planned?", code="no-target", hint="Name fleet/NAME, or a file with -f.")
    answers = []
    for name, namespace, wanted in _wanted(target, path):
        found = read(kube, name, namespace, must_exist=wanted is None)
        document = dict(found.fleet or {}) if wanted is None else _as_applied(kube, wanted)
        answers.append((document, preview(document, found.sets, found.clusters, time.time())))
    if kube.settings.for_people:
        for document, answer in answers:
            _show(document, answer, everything)
    else:
        documents = [
            {"namespace": d["metadata"]["namespace"], "name": d["metadata"]["name"], **answer.document()}
            for d, answer in answers
        ]
        if kube.settings.output == "name":
            for item in documents:
                say(f"fleet/{item['name']}")
        else:
            emit_document(kube.settings, documents[0] if len(documents) == 1 else documents)
    stopped = any(answer.blocked is not None for _, answer in answers)
    pending = any(answer.steps for _, answer in answers)
    click.get_current_context().exit(4 if stopped else PENDING if pending else 0)


def _wanted(target: str | None, path: Path | None) -> list[tuple[str, str | None, Mapping[str, Any] | None]]:
    if target is not None:
        return [(fleet_name(target), None, None)]
    assert path is not None
    fleets = [item for item in read_documents(path) if item["kind"] == "RayClusterFleet"]
    if not fleets:
        raise InvalidRequest(f"{path} has no RayClusterFleet.", code="no-fleet", hint="Only fleets can be planned.")
    return [(item["metadata"]["name"], item["metadata"].get("namespace"), item) for item in fleets]


def _as_applied(kube: Kube, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fleet as the server would have it after applying the file: with defaults, and what others have set."""
    return kube.apply(wanted, Change(dry_run="server"), force=True)


def _show(document: Mapping[str, Any], answer: Any, everything: bool) -> None:
    old, new = answer.revision
    revision = f"revision {old} → {new}" if old != new else f"revision {new}" if new else ""
    say(f"fleet/{clean(document['metadata']['name'])}  {revision}".rstrip())
    steps: Sequence[Any] = answer.steps
    shown = steps if everything else steps[:_SHOWN]
    width = max((len(step.what) for step in shown), default=0)
    for number, step in enumerate(shown, 1):
        because = f"  {clean(step.because)}" if step.because else ""
        after = f"  after {duration_text(step.after_s)}" if step.after_s else ""
        say(f"{number:>4}  {step.do:<8}{clean(step.what).ljust(width)}{because}{after}".rstrip())
    if len(steps) > len(shown):
        say(f"   …  and {len(steps) - len(shown)} more; --all shows them")
    values = answer.document()
    resources = values["resources"]
    if resources["peak"]:
        before, after = resources["before"] or "nothing", resources["after"] or "nothing"
        say(f"holds    {before} → at most {resources['peak']} → {after}")
    fewest = "" if answer.fewest is None else f", never fewer than {answer.fewest} ready"
    if steps:
        say(f"peak     {answer.most} clusters{fewest}")
    for note in answer.notes:
        say(f"note     {clean(note)}")
    say(f"verdict  {clean(answer.verdict)}")
    if answer.blocked is not None and answer.blocked.hint:
        say(f"hint     {clean(answer.blocked.hint)}")
