"""Options that every command has, before or after its name, and what they amount to."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from rayctl.client.connection import Connection

__all__ = ["FORMATS", "Settings", "global_options", "pass_settings"]

FORMATS = ("table", "json", "yaml", "wide", "name")

_CALL_TIMEOUT_S = 30.0

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Settings:
    """The common options of one command line."""

    server: str | None = None
    token_file: str | None = None
    output: str = "table"
    no_color: bool = False
    quiet: bool = False
    verbose: bool = False
    timeout_s: float | None = None

    @property
    def for_people(self) -> bool:
        """Whether a table is wanted, as opposed to something that programs read."""
        return self.output in ("table", "wide")

    @property
    def call_timeout_s(self) -> float:
        """Seconds for one call."""
        return min(_CALL_TIMEOUT_S, self.timeout_s) if self.timeout_s else _CALL_TIMEOUT_S

    def is_terminal(self, stream: Any) -> bool:
        """Whether colours and redrawing make sense on a stream."""
        if self.no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return False
        return bool(getattr(stream, "isatty", bool)())

    def connect(self, tenant: str | None = None) -> Connection:
        """Connect to the service that the options name. Raises ServerUnreachable, InvalidRequest."""
        from rayctl.client.connection import connect

        return connect(self.server, timeout_s=self.call_timeout_s, tenant=tenant, token_file=self.token_file)

    def note(self, text: str) -> None:
        """Say something to a person, on the error stream, unless ``-q``."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)


def pass_settings(command: F) -> F:
    """Give a command its `Settings` as the first argument."""
    return cast(F, click.make_pass_decorator(Settings, ensure=True)(command))


def _duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    from rayctl.cli.values import duration

    return duration(value)


def _store(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if name == "timeout_s":
            value = _duration(ctx, param, value)
        settings = ctx.ensure_object(Settings)  # made by the root command, and shared by all below it
        if value is not None and value is not False:
            setattr(settings, name, value)

    return callback


def _home(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:
        os.environ["RAYCTL_HOME"] = value  # read by the client, the settings of the service, and child processes


def global_options(*, output: bool = True, timeout: bool = True) -> Callable[[F], F]:
    """Add the common options. ``output=False`` for commands whose ``-o`` names a file."""
    options = [
        click.option("--server", metavar="URL", help="Service to talk to (RAYCTL_SERVER).", **_into("server")),
        click.option("--token-file", metavar="FILE", help="File with the bearer token.", **_into("token_file")),
        click.option("--home", metavar="DIR", help="Folder of the local service.", expose_value=False, callback=_home),
    ]
    if output:
        kind = click.Choice(FORMATS)
        options.append(click.option("-o", "--output", type=kind, help="Form of the answer.", **_into("output")))
    options += [
        click.option("--no-color", is_flag=True, help="No colours (NO_COLOR).", **_into("no_color")),
        click.option("-q", "--quiet", is_flag=True, help="Only the answer, no notes.", **_into("quiet")),
        click.option("-v", "--verbose", is_flag=True, help="Show tracebacks.", **_into("verbose")),
    ]
    if timeout:
        text = "Give up after this long, for example 30s or 10m."
        options.append(click.option("--timeout", metavar="TIME", help=text, **_into("timeout_s")))

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _into(name: str) -> dict[str, Any]:
    # Before the command (is_eager) or after it: both store into the same object, and the later one wins.
    return {"expose_value": False, "callback": _store(name), "is_eager": True}
