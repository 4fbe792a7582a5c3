"""``rayctl tenant create | set | rollback | delete``."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING

import click

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.output import emit_document, say
from rayctl.cli.tenant_read import load_arguments, show_changes
from rayctl.errors import InvalidRequest

if TYPE_CHECKING:
    from rayctl.client.tenants import RegisteredTenant

__all__ = ["create", "delete", "rollback", "set_values"]

_CREATE = """\b
Examples:
  rayctl tenant create pricing.yaml
  rayctl tenant create pricing.yaml --set quota.max_running=2 --note "first version"
"""
_SET = """\b
Examples:
  rayctl tenant set pricing settings.model.depth=6 quota.max_cpus=4
  rayctl tenant set pricing --unset settings.model.depth
  rayctl tenant set pricing --file pricing.yaml --expected 3
"""


def _author() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _tell(settings: Settings, found: RegisteredTenant, what: str) -> None:
    if settings.output == "name":
        say(found.name)
    elif settings.for_people:
        say(f"tenant {found.name} {what} (version {found.version})")
    else:
        emit_document(settings, found.document)


@click.command(epilog=_CREATE)
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--set", "assignments", multiple=True, metavar="PATH=VALUE", help="On top of the file.")
@click.option("--note", default="", help="Why, for the history.")
@click.option("--dry-run", is_flag=True, help="Only check.")
@global_options()
@pass_settings
def create(settings: Settings, file: str, assignments: tuple[str, ...], note: str, dry_run: bool) -> None:
    """Register a tenant from a YAML, TOML or JSON file."""
    config = load_arguments(file, assignments).config
    with settings.connect() as connection:
        if dry_run:
            connection.tenants.check(config)
            say(f"tenant {config.tenant} would be created")
            return
        _tell(settings, connection.tenants.create(config, author=_author(), note=note), "created")


@click.command("set", epilog=_SET)
@click.argument("name", metavar="TENANT")
@click.argument("assignments", metavar="[PATH=VALUE]...", nargs=-1)
@click.option("--file", type=click.Path(dir_okay=False), help="Replace the whole configuration with this file's.")
@click.option("--unset", "removed", multiple=True, metavar="PATH", help="Take a value out.")
@click.option("--expected", type=click.IntRange(min=1), help="Only if this is still the current version.")
@click.option("--note", default="", help="Why, for the history.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@global_options()
@pass_settings
def set_values(
    settings: Settings,
    name: str,
    assignments: tuple[str, ...],
    file: str | None,
    removed: tuple[str, ...],
    expected: int | None,
    note: str,
    dry_run: bool,
) -> None:
    """Change a tenant: a new version, based on the current one.

    If somebody else changes it at the same time, one of the two is refused and nothing is lost.
    """
    if not assignments and file is None and not removed:
        raise click.UsageError("What is to change? Give PATH=VALUE, --unset or --file.")
    from rayctl.tenancy.codec import body_of, parse
    from rayctl.tenancy.frozen import thaw
    from rayctl.tenancy.load import assign, assignment, differences, remove

    with settings.connect() as connection:
        current = connection.tenants.get(name)
        if file is not None:
            document = thaw(body_of(load_arguments(file, (), name).config))
        else:
            document = thaw(body_of(current.config))
        for path in removed:
            remove(document, path)
        for text in assignments:
            path_parts, value = assignment(text)
            assign(document, path_parts, value)
        config = parse(document)
        if config.tenant != name:
            raise InvalidRequest(
                f"A tenant keeps its name: this would make {name} into {config.tenant}.",
                code="tenant-renamed",
                hint=f"Create {config.tenant} as a tenant of its own, and remove {name}.",
            )
        changes = differences(current.config, config)
        if dry_run:
            connection.tenants.check(config)
            show_changes(settings, changes)
            return
        based_on = current.version if expected is None else expected
        found = connection.tenants.update(config, expected=based_on, author=_author(), note=note)
    _tell(settings, found, "changed" if changes else "is unchanged")


@click.command()
@click.argument("name", metavar="TENANT")
@click.argument("version", type=click.IntRange(min=1))
@click.option("--note", default="", help="Why, for the history.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@global_options()
@pass_settings
def rollback(settings: Settings, name: str, version: int, note: str, dry_run: bool) -> None:
    """Make an earlier version the newest again, as a version of its own."""
    from rayctl.tenancy.load import differences

    with settings.connect() as connection:
        current = connection.tenants.get(name)
        if dry_run:
            show_changes(settings, differences(current.config, connection.tenants.get(name, version).config))
            return
        found = connection.tenants.rollback(name, version, expected=current.version, author=_author(), note=note)
    _tell(settings, found, f"is back at the contents of version {version}")


@click.command()
@click.argument("names", metavar="TENANT...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@global_options()
@pass_settings
def delete(settings: Settings, names: tuple[str, ...], yes: bool, dry_run: bool) -> None:
    """Remove tenants and all their versions. Their ended runs stay."""
    with settings.connect() as connection:
        for name in names:
            found = connection.tenants.get(name)
            if dry_run:
                say(f"tenant {name} (version {found.version}) would be removed")
                continue
            if not yes and sys.stdin.isatty():
                click.confirm(f"Remove tenant {name} with its {found.version} versions?", abort=True, err=True)
            connection.tenants.delete(name)
            say(name if settings.output == "name" else f"tenant {name} removed")
