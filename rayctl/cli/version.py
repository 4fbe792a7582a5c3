"""``rayctl version``."""

from __future__ import annotations

import platform
from typing import Any

import click

from rayctl import __version__
from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.output import clean, emit_document, say
from rayctl.errors import RayctlError

__all__ = ["version"]

_PATIENCE_S = 3.0


@click.command()
@click.option("--client", "client_only", is_flag=True, help="Do not ask the service.")
@global_options()
@pass_settings
def version(settings: Settings, client_only: bool) -> None:
    """Show the versions of client and service. A service that is away is no error here."""
    found: dict[str, Any] = {"client": {"rayctl": __version__, "python": platform.python_version()}}
    if not client_only:
        found["server"], found["server_error"] = _server(settings)
    if not settings.for_people:
        emit_document(settings, found)
        return
    say(f"client  {__version__} (Python {platform.python_version()})")
    if found.get("server"):
        server = found["server"]
        others = ", ".join(f"{key} {value}" for key, value in server.items() if key not in ("rayctl", "version"))
        say(
            f"server  {clean(server.get('rayctl') or server.get('version'))}"
            + (f" ({clean(others)})" if others else "")
        )
    elif not client_only:
        say(f"server  – {clean(found['server_error'])}")


def _server(settings: Settings) -> tuple[dict[str, Any] | None, str | None]:
    from rayctl.client.connection import connect

    timeout_s = min(settings.call_timeout_s, _PATIENCE_S)
    try:
        with connect(settings.server, timeout_s=timeout_s, token_file=settings.token_file) as connection:
            ask = getattr(connection.transport, "version", connection.transport.info)
            return ask(), None
    except RayctlError as error:
        return None, error.message
