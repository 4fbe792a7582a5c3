"""``rayctl tenant warm | environments | check-isolation``: commands that work on the cluster itself, over Ray."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.output import clean, duration_text, emit, emit_document, say

if TYPE_CHECKING:
    from rayctl.client.connection import Connection

__all__ = ["check_isolation", "environments", "warm"]

_RAY = """\b
It needs Ray: --server ray://host:port, `--server ray` for this machine's service, or `--server auto` in the cluster.
"""


def _connect(settings: Settings, tenant: Any = None) -> Connection:
    """Connect over Ray; without --server to this machine's service."""
    from rayctl.client.connection import connect

    return connect(settings.server or "ray", timeout_s=settings.call_timeout_s, tenant=tenant)


@click.command(epilog=_RAY)
@click.argument("names", metavar="TENANT...", nargs=-1, required=True)
@global_options()
@pass_settings
def warm(settings: Settings, names: tuple[str, ...]) -> None:
    """Build the environments of tenants on every node, so that no call waits for it."""
    found = []
    for name in names:
        began = time.monotonic()
        with _connect(settings, name) as connection:
            context = connection.context
            if context.runtime_env is not None:
                context.get(context.submit(lambda: None))  # an environment's first process takes its time as well
        entry: dict[str, Any] = {"tenant": name, "ready": True, "seconds": round(time.monotonic() - began, 3)}
        entry["environment"] = "its own" if context.runtime_env is not None else "the cluster's"
        found.append(entry)
        if settings.for_people:
            say(f"tenant {name}: {entry['environment']} environment is ready ({duration_text(entry['seconds'])})")
        elif settings.output == "name":
            say(name)
    if settings.output in ("json", "yaml"):
        emit_document(settings, found)


@click.command(epilog=_RAY)
@global_options()
@pass_settings
def environments(settings: Settings) -> None:
    """List the environments that rayctl built: their packages, size and last use."""
    with _connect(settings, {"tenant": "operator"}):
        from rayctl.tenancy.cluster import environments as listed

        found = [{"node": node, **entry} for node, entries in listed().items() for entry in entries]

    def used(row: Mapping[str, Any]) -> str:
        return f"{duration_text(max(0.0, time.time() - row['used_at']))} ago"

    emit(
        settings,
        found,
        rows=found,
        columns=[
            ("ENVIRONMENT", lambda row: row["name"]),
            ("SIZE", lambda row: f"{row['bytes'] / 1e6:.1f} MB"),
            ("BUILT IN", lambda row: duration_text(row["seconds"])),
            ("USED", used),
            ("PACKAGES", lambda row: ", ".join(row["requirements"])),
        ],
        wide=[("NODE", lambda row: row["node"][:12])],
        empty="No environment has been built.",
    )


@click.command("check-isolation", epilog=_RAY)
@global_options()
@pass_settings
def check_isolation(settings: Settings) -> None:
    """Run work of two throw-away tenants side by side and compare what they saw; say what Ray does not isolate.

    Exit code 1: a check failed.
    """
    from rayctl.client.tenancy import open_context
    from rayctl.tenancy.isolation import NOT_ISOLATED
    from rayctl.tenancy.isolation import check_isolation as checks

    found = []
    with _connect(settings, {"tenant": "probe"}) as connection:

        def context_of(config: Any) -> Any:
            return open_context(connection.transport, config.tenant, config, connection.has_service)

        for check in checks(context_of, uuid4().hex[:8]):
            found.append(check)
            if settings.for_people:
                word = {True: "pass", False: "FAIL", None: "skip"}[check.passed]
                say(f"{word}  {check.name} ({clean(check.detail)})")
    passed = all(check.passed is not False for check in found)
    if settings.for_people:
        say("\nNot isolated by Ray, so tenants of one cluster have to trust each other with it:")
        for text in NOT_ISOLATED:
            say(f"  - {text}")
    else:
        document = {"passed": passed, "checks": [vars(check) for check in found], "not_isolated": list(NOT_ISOLATED)}
        emit_document(settings, document)
    if not passed:
        raise SystemExit(1)
