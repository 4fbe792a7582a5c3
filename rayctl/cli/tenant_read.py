"""``rayctl tenant list | show | validate | diff | history``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.output import age, clean, emit, emit_document, emit_table, say

if TYPE_CHECKING:
    from rayctl.tenancy.load import Change, Loaded
    from rayctl.tenancy.model import TenantConfig

__all__ = ["diff", "history", "list_tenants", "load_arguments", "show", "validate"]

_SHOW = """\b
Examples:
  rayctl tenant show pricing
  rayctl tenant show pricing --version 3 -o yaml
  rayctl tenant show --file pricing.yaml --origins      what a file and this shell's environment amount to
"""
_VALIDATE = """\b
Examples:
  rayctl tenant validate pricing.yaml
  rayctl tenant validate pricing.yaml --offline         without the service, and so without the operator's policy
"""
_DIFF = """\b
Examples:
  rayctl tenant diff pricing pricing.yaml       the registered version against a file
  rayctl tenant diff pricing 2 5                two versions
"""


def load_arguments(file: str | None, assignments: Sequence[str], tenant: str | None = None) -> Loaded:
    """Return what a file, this process's environment and ``--set`` amount to. Raises InvalidRequest."""
    from rayctl.tenancy.load import assign, assignment, load

    arguments: dict[str, Any] = {} if tenant is None else {"tenant": tenant}
    for text in assignments:
        path, value = assignment(text)
        assign(arguments, path, value)
    return load(file, os.environ, arguments)


def text_of(value: Any) -> str:
    """Return a value on one line."""
    if isinstance(value, str):
        return clean(value)
    return clean(json.dumps(value, default=str, ensure_ascii=False))


@click.command("list")
@global_options()
@pass_settings
def list_tenants(settings: Settings) -> None:
    """List the registered tenants."""
    with settings.connect() as connection:
        documents = connection.transport.list_tenants()

    def environment(document: Mapping[str, Any]) -> str:
        found = document["config"].get("environment", {})
        count = len(found.get("packages", ()))
        return found.get("isolation", "process") + (f" ({count} package{'s' * (count > 1)})" if count else "")

    emit(
        settings,
        documents,
        rows=documents,
        columns=[
            ("TENANT", lambda d: d["tenant"]),
            ("VERSION", lambda d: str(d["version"])),
            ("ENVIRONMENT", environment),
            ("CHANGED", lambda d: age(d["created_at"])),
            ("BY", lambda d: d["author"]),
        ],
        wide=[("FINGERPRINT", lambda d: d["fingerprint"][:16]), ("NOTE", lambda d: d["note"])],
        empty="No tenants are registered: rayctl tenant create FILE",
    )


@click.command(epilog=_SHOW)
@click.argument("name", metavar="TENANT", required=False)
@click.option("--version", type=click.IntRange(min=1), help="Another version than the current one.")
@click.option("--file", type=click.Path(dir_okay=False), help="Show what this file would mean instead.")
@click.option("--set", "assignments", multiple=True, metavar="PATH=VALUE", help="On top of the file.")
@click.option("--origins", is_flag=True, help="Say of each value where it is from.")
@global_options()
@pass_settings
def show(
    settings: Settings,
    name: str | None,
    version: int | None,
    file: str | None,
    assignments: tuple[str, ...],
    origins: bool,
) -> None:
    """Show a tenant's configuration; defaults included.

    From weak to strong, values come from: defaults, the file, variables RAYCTL_TENANT__PATH__TO__VALUE, --set.
    """
    if (name is None) == (file is None and not assignments):
        raise click.UsageError("Name a registered tenant, or give --file (and --set) to look at one that is not.")
    from rayctl.tenancy.load import leaves

    if name is None:
        loaded = load_arguments(file, assignments)
        config, known, document = loaded.config, loaded.origins, _plain(loaded.config)
    else:
        with settings.connect() as connection:
            found = connection.tenants.get(name, version)
        config, document = found.config, found.document
        said = {place for place, _ in _said(config)}
        known = {place: f"version {found.version}" if place in said else "default" for place, _ in leaves(config)}
    if not settings.for_people:
        emit_document(settings, document | ({"origins": dict(known)} if origins else {}))
        return
    rows = [[place, text_of(value), known[place]] for place, value in leaves(config)]
    titles = ["VALUE", "IS", "FROM"] if origins else ["VALUE", "IS"]
    emit_table(settings, titles, [row if origins else row[:2] for row in rows])


def _said(config: TenantConfig) -> list[tuple[str, Any]]:
    from rayctl.tenancy.load import differences

    return [(change.pointer, change.after) for change in differences(None, config)]


def _plain(config: TenantConfig) -> dict[str, Any]:
    return {"tenant": config.tenant, "version": None, "config": config.model_dump(mode="json", exclude_unset=True)}


@click.command(epilog=_VALIDATE)
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--set", "assignments", multiple=True, metavar="PATH=VALUE", help="On top of the file.")
@click.option("--offline", is_flag=True, help="Do not ask the service.")
@global_options()
@pass_settings
def validate(settings: Settings, file: str, assignments: tuple[str, ...], offline: bool) -> None:
    """Check a file: its form here, and the operator's policy at the service. Nothing is kept."""
    from rayctl.tenancy.codec import fingerprint
    from rayctl.tenancy.policy import Policy, check

    config = load_arguments(file, assignments).config
    if offline:
        check(config, Policy(urls=True, images=("*",)))
    else:
        with settings.connect() as connection:
            connection.tenants.check(config)
    found: dict[str, Any] = {"tenant": config.tenant, "valid": True, "fingerprint": fingerprint(config)}
    if settings.for_people:
        said = "its form is valid (the service was not asked)" if offline else "valid"
        say(f"tenant {config.tenant}: {said}, fingerprint {found['fingerprint'][:16]}")
    elif settings.output == "name":
        say(config.tenant)
    else:
        emit_document(settings, found)


@click.command(epilog=_DIFF)
@click.argument("name", metavar="TENANT")
@click.argument("first", metavar="FILE|VERSION")
@click.argument("second", metavar="[VERSION]", required=False)
@global_options()
@pass_settings
def diff(settings: Settings, name: str, first: str, second: str | None) -> None:
    """Show what a file would change, or what changed between two versions. Exit code 0: nothing; 1: something."""
    from rayctl.tenancy.load import differences

    with settings.connect() as connection:
        if first.isdigit() and not Path(first).exists():
            before = connection.tenants.get(name, int(first)).config
            after = connection.tenants.get(name, int(second) if second else None).config
        else:
            before = connection.tenants.get(name).config
            after = load_arguments(first, ()).config
    changes = differences(before, after)
    show_changes(settings, changes)
    if changes:
        raise SystemExit(1)


def show_changes(settings: Settings, changes: Sequence[Change]) -> None:
    """Print changes."""
    from dataclasses import asdict

    if not settings.for_people:
        document = json.loads(json.dumps([asdict(change) for change in changes], default=str))
        emit_document(settings, document)
        return
    for change in changes:
        if change.before is not None:
            say(f"- {clean(change.pointer)}: {text_of(change.before)}")
        if change.after is not None:
            say(f"+ {clean(change.pointer)}: {text_of(change.after)}")


@click.command()
@click.argument("name", metavar="TENANT")
@global_options()
@pass_settings
def history(settings: Settings, name: str) -> None:
    """Show all versions of a tenant, newest first."""
    with settings.connect() as connection:
        documents = connection.tenants.history(name)

    def changes(document: Mapping[str, Any]) -> str:
        places = [change["pointer"] for change in document["changes"]]
        return ", ".join(places[:4]) + (f" and {len(places) - 4} more" if len(places) > 4 else "")

    emit(
        settings,
        documents,
        rows=documents,
        columns=[
            ("VERSION", lambda d: str(d["version"])),
            ("AGE", lambda d: age(d["created_at"])),
            ("BY", lambda d: d["author"]),
            ("NOTE", lambda d: d["note"]),
            ("CHANGED", changes),
        ],
        wide=[("FINGERPRINT", lambda d: d["fingerprint"][:16])],
    )
