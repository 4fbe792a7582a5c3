"""``rayctl tenant warm | environments | check-isolation``: commands that work on the cluster itself, over Ray."""

from __future__ import annotations

import re
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
    from rayctl.tenancy.cluster import start_process

    found = []
    for name in names:
        began = time.monotonic()
        with _connect(settings, name) as connection:
            connection.tenants.get(name)  # elsewhere a mere name is enough; here it is most likely misspelt
            context = connection.context
            if context.runtime_env is not None:
                start_process(context)  # which takes its time as well
        entry: dict[str, Any] = {"tenant": name, "ready": True, "seconds": round(time.monotonic() - began, 3)}
        entry["environment"] = "its own" if context.runtime_env is not None else "the cluster's"
        found.append(entry)
        if settings.for_people:
            say(f"tenant {name}: {entry['environment']} environment is ready ({duration_text(entry['seconds'])})")
        elif settings.output == "name":
            say(name)
    if settings.output in ("json", "yaml"):
        emit_document(settings, found)


def _bytes(text: str) -> int:
    """Return the bytes of ``500MB``, ``2GB``, ``0``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", text.strip())
    if found is None:
        raise click.BadParameter("write a size like 500MB, 2GB or 0", param_hint="--keep")
    return int(float(found[1]) * 1000 ** " kMGT".index(found[2] or " "))


def _size(count: float) -> str:
    return (
        f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
    )


@click.command(epilog=_RAY)
@click.option("--keep", metavar="SIZE", help="First remove those used longest ago, beyond this size on each node.")
@global_options()
@pass_settings
def environments(settings: Settings, keep: str | None) -> None:
    """List the environments that rayctl built: their packages, size and last use.

    With --keep, environments are removed until those of a node take no more than SIZE, for example 2GB or 0. What a
    process runs in, or was asked for in the last ten minutes, stays; what is needed again is built again.
    """
    most = None if keep is None else _bytes(keep)
    with _connect(settings, {"tenant": "operator"}):
        from rayctl.tenancy import cluster

        removed = {} if most is None else cluster.prune(most)
        found = [{"node": node, **entry} for node, entries in cluster.environments().items() for entry in entries]
    for node, names in removed.items():
        settings.note(f"{len(names)} environments removed from node {node[:12]}")

    def used(row: Mapping[str, Any]) -> str:
        return "now" if row["in_use"] else f"{duration_text(max(0.0, time.time() - row['used_at']))} ago"

    emit(
        settings,
        found,
        rows=found,
        columns=[
            ("ENVIRONMENT", lambda row: row["name"]),
            ("SIZE", lambda row: _size(row["bytes"])),
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
