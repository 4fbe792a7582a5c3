"""The group ``rayctl service``: see and steer the switchovers of RayServices."""

from __future__ import annotations

import time
from typing import Any

import click

from rayctl.cli.kubernetes import MANAGER, Change, Kube, kubernetes_command
from rayctl.cli.lazy import LazyGroup
from rayctl.cli.output import age, clean, duration_text, emit, emit_document, say
from rayctl.cli.verdicts import Going, until_final
from rayctl.core.steering import Steered
from rayctl.errors import InvalidRequest, NotFound
from rayctl.kube.kinds import CONFIG_MAPS, RAY_CLUSTERS, RAY_SERVICES, SERVICES

__all__ = ["abort", "history", "plan", "promote", "rollback", "service", "status", "weight"]

COMMANDS = {
    "status": ("rayctl.cli.service:status", "Both sides, traffic, the switch and its steps, with a verdict."),
    "plan": ("rayctl.cli.service:plan", "What an edit would lead to, before it is made."),
    "history": ("rayctl.cli.service:history", "Revisions that can be returned to, and the last switches."),
    "promote": ("rayctl.cli.service:promote", "Move the traffic now."),
    "abort": ("rayctl.cli.service:abort", "Give the switch up and keep the side that serves."),
    "weight": ("rayctl.cli.service:weight", "Give the new side a share of the traffic and no more."),
    "rollback": ("rayctl.cli.service:rollback", "Return to an earlier specification."),
}
_FINAL = ("serving", "failed", "rolled-back", "invalid")


@click.group(cls=LazyGroup, lazy=COMMANDS)
def service() -> None:
    """See and steer the switchovers of RayServices."""


@click.command()
@click.argument("name", metavar="NAME")
@click.option("--wait/--no-wait", default=False, help="Wait until it serves or has failed (--timeout, 10m).")
@kubernetes_command()
def status(kube: Kube, name: str, wait: bool) -> None:
    """Show both sides of a service, where traffic goes, and the steps of the present switch.

    Exit codes: 0 serving, 4 failed, rolled back or invalid, 5 on its way, or --timeout passed.
    """
    from rayctl.service.view import EXIT_CODES

    view = _wait_for(kube, name, kube.settings.timeout_s or 600.0) if wait else _look(kube, name)
    _show(kube, view)
    click.get_current_context().exit(EXIT_CODES[view["verdict"]])


@click.command()
@click.option("-f", "--file", "path", metavar="FILE", required=True, help="Manifests; - reads standard input.")
@kubernetes_command()
def plan(kube: Kube, path: str) -> None:
    """Say what applying a file would lead to: live, in place or a switch, its steps, and the resources it takes.

    Exit codes: 0 nothing to do, 10 changes pending, 4 it is not valid or would not be acted upon.
    """
    from rayctl.cli.objects.files import manifests

    wanted = [item for item in manifests([path]) if item.get("kind") == "RayService"]
    if not wanted:
        raise InvalidRequest(f"{path} has no RayService.", code="no-service", hint="`rayctl plan` is for fleets.")
    answers = [(item["metadata"]["name"], _preview(kube, item)) for item in wanted]
    if kube.settings.for_people:
        for name, answer in answers:
            _show_preview(name, answer)
    elif kube.settings.output == "name":
        for name, _ in answers:
            say(f"service/{clean(name)}")
    else:
        emit_document(kube.settings, [{"name": name, **answer.document()} for name, answer in answers])
    stopped = any(not answer.pending and answer.kind != "none" for _, answer in answers)
    pending = any(answer.pending for _, answer in answers)
    click.get_current_context().exit(4 if stopped else 10 if pending else 0)


@click.command()
@click.argument("name", metavar="NAME")
@click.option("--revision", type=click.IntRange(min=1), help="Show this revision's specification.")
@click.option("--switches", is_flag=True, help="Show the last switches instead.")
@kubernetes_command()
def history(kube: Kube, name: str, revision: int | None, switches: bool) -> None:
    """Show the revisions of a service, newest first; each is a specification that can be returned to."""
    from rayctl.service.view import history_rows, switch_rows

    document = kube.get(RAY_SERVICES, _name(name))
    if switches:
        rows = switch_rows(document)
        columns = [
            ("SWITCH", lambda row: str(row["serial"])),
            ("FROM", lambda row: row["from"] or "–"),
            ("TO", lambda row: row["to"]),
            ("OUTCOME", lambda row: row["outcome"]),
            ("REASON", lambda row: row.get("reason") or "–"),
            ("AGE", lambda row: age(row.get("startedAt"))),
        ]
        emit(kube.settings, rows, rows=rows, columns=columns)
        return
    rows = history_rows(document, _revisions(kube, document))
    if revision is not None:
        found = _revision(rows, name, revision)
        kube.settings.output = kube.settings.output if not kube.settings.for_people else "yaml"
        emit_document(kube.settings, found["spec"])
        return
    columns = [
        ("REVISION", lambda row: str(row["revision"])),
        ("IMAGE", lambda row: row["image"] or "–"),
        ("CHANGED", lambda row: ",".join(row["changed"])),
        ("AGE", lambda row: age(row["createdAt"])),
    ]
    emit(kube.settings, rows, rows=rows, columns=columns, empty=f"service/{name} has no revisions yet.")


@click.command()
@click.argument("name", metavar="NAME")
@click.option("--retry", is_flag=True, help="Try a change again that was rolled back.")
@kubernetes_command(changes=True)
def promote(kube: Kube, name: str, retry: bool, change: Change) -> None:
    """Move the traffic to the new side as soon as it is ready: no capacity gate, no steps, no waiting for a person."""
    from rayctl.service import steer

    document = kube.get(RAY_SERVICES, _name(name))
    _carry_out(kube, document, steer.retry(document) if retry else steer.promote(document), change)


@click.command()
@click.argument("name", metavar="NAME")
@kubernetes_command(changes=True)
def abort(kube: Kube, name: str, change: Change) -> None:
    """Give the present switch up: traffic returns to the side that served before, the new side is deleted."""
    from rayctl.service import steer

    document = kube.get(RAY_SERVICES, _name(name))
    _carry_out(kube, document, steer.abort(document), change, "rolled-back")


@click.command()
@click.argument("name", metavar="NAME")
@click.argument("percent", metavar="[PERCENT]", type=click.IntRange(0, 100), required=False)
@click.option("--clear", is_flag=True, help="Go on as the strategy says.")
@kubernetes_command(changes=True)
def weight(kube: Kube, name: str, percent: int | None, clear: bool, change: Change) -> None:
    """Give the new side a share of the traffic, and hold it there until it is cleared, promoted or aborted.

    It takes something that divides traffic: the embedded service proxy, or routes of the Gateway API.
    """
    from rayctl.service import steer

    if clear == (percent is not None):
        raise click.UsageError("Give a percentage, or --clear.")
    document = kube.get(RAY_SERVICES, _name(name))
    _carry_out(kube, document, steer.weight(document, percent), change)


@click.command()
@click.argument("name", metavar="NAME")
@click.option("--to-revision", type=click.IntRange(min=1), help="Which (`history`); otherwise the one before.")
@kubernetes_command(changes=True)
def rollback(kube: Kube, name: str, to_revision: int | None, change: Change) -> None:
    """Give a service an earlier specification. While the old side is warm, traffic returns to it without a new one."""
    from rayctl.service import steer

    document = kube.get(RAY_SERVICES, _name(name))
    _carry_out(kube, document, steer.rollback(document, _revisions(kube, document), to_revision), change)


def _preview(kube: Kube, wanted: dict[str, Any]) -> Any:
    from rayctl.service.children import Owner
    from rayctl.service.preview import preview
    from rayctl.service.problems import cluster_problems

    metadata = wanted["metadata"]
    namespace = metadata.get("namespace") or kube.namespace
    live = kube.find(RAY_SERVICES, metadata["name"], namespace)
    if live is None:
        service = {**wanted, "metadata": {**metadata, "namespace": namespace}}
        return preview({"service": service}, service, cluster_problems)
    # The server fills in defaults, which must not look like changes.
    service = kube.apply({**wanted, "metadata": {**metadata, "namespace": namespace}}, Change(dry_run="server"), True)
    found = {
        "service": live,
        "clusters": [item for item in kube.list(RAY_CLUSTERS, namespace) if Owner(live).owns(item)],
        "services": kube.list(SERVICES, namespace),
        "revisions": _revisions(kube, live),
    }
    return preview(found, service, cluster_problems)


def _show_preview(name: str, answer: Any) -> None:
    from rayctl.service.preview import CLASSES

    say(clean(f"service/{name}   {answer.kind}: {CLASSES[answer.kind]}"))
    for number, step in enumerate(answer.steps, 1):
        say(clean(f"  {number}  {step}"))
    for problem in answer.problems:
        say(clean(f"  because  {problem}"))
    for title, amounts in (("now", answer.now), ("in addition", answer.new)):
        if amounts:
            say(clean(f"  {title:<12}" + "   ".join(f"{key} {value}" for key, value in sorted(amounts.items()))))


# Shared ------------------------------------------------------------------------------------------------


def _name(target: str) -> str:
    """Return the name in ``NAME``, ``service/NAME`` or ``rayservice/NAME``."""
    kind, slash, name = target.partition("/")
    if not slash:
        return target
    if kind.lower() not in ("service", "rayservice", "rayservices", "rayservices.ray.io") or not name:
        raise InvalidRequest(f"{target!r} is no RayService.", hint="Write NAME or service/NAME.")
    return name


def _look(kube: Kube, name: str) -> dict[str, Any]:
    from rayctl.service.view import service_view

    document = kube.get(RAY_SERVICES, _name(name))
    return service_view(document, kube.list(RAY_CLUSTERS), kube.list(SERVICES), time.time())


def _show(kube: Kube, view: dict[str, Any]) -> None:
    from rayctl.service.view import lines

    if kube.settings.output == "name":
        say(f"service/{clean(view['name'])}")
    elif not kube.settings.for_people:
        emit_document(kube.settings, view)
    else:
        for line in lines(view, duration_text):
            say(clean(line))


def _wait_for(kube: Kube, name: str, timeout_s: float) -> dict[str, Any]:
    going = Going(
        RAY_SERVICES,
        _name(name),
        f"service/{name}",
        _FINAL,
        lambda: _look(kube, name),
        _line,
        lambda view: _show(kube, view),
    )
    return until_final(kube, going, timeout_s)


def _line(view: dict[str, Any]) -> str:
    switch = view["switch"] or {}
    return (
        f"service/{view['name']} verdict={view['verdict']} step={switch.get('step', '')} "
        f"from={switch.get('from', '')} to={switch.get('to', '')} message={view['message']!r}"
    )


def _revisions(kube: Kube, document: dict[str, Any]) -> list[dict[str, Any]]:
    from rayctl.service.history import SERVICE

    return kube.list(CONFIG_MAPS, labels=f"{SERVICE}={document['metadata']['name']}")


def _revision(rows: list[dict[str, Any]], name: str, number: int) -> dict[str, Any]:
    found = next((row for row in rows if row["revision"] == number), None)
    if found is None:
        raise NotFound(
            f"service/{name} has no revision {number}.",
            code="revision-not-found",
            hint=f"rayctl service history {name}",
        )
    return found


def _carry_out(kube: Kube, document: dict[str, Any], steered: Steered, change: Change, wanted: str = "serving") -> None:
    """Change the service as it was decided, and tell; ``wanted``: the verdict that is success."""
    if not change.only_client:
        kube.request(change.on(steered.call(kube.path(RAY_SERVICES, document["metadata"]["name"]), MANAGER)))
    _told(kube, document, change, steered.text, wanted)


def _told(kube: Kube, document: dict[str, Any], change: Change, told: str, wanted: str = "serving") -> None:
    """Say what was done; wait for its end, whose verdict is the exit code. ``wanted``: the verdict that is success."""
    name = document["metadata"]["name"]
    if kube.settings.output in ("json", "yaml"):
        emit_document(kube.settings, {"object": f"rayservice.ray.io/{name}", "done": told})
    else:
        say(f"service/{name}" if kube.settings.output == "name" else f"service/{name} {told}{change.suffix}")
    if change.wait and change.dry_run == "none":
        from rayctl.service.view import EXIT_CODES

        view = _wait_for(kube, name, change.timeout_s)
        _show(kube, view)
        click.get_current_context().exit(0 if view["verdict"] == wanted else EXIT_CODES[view["verdict"]])
