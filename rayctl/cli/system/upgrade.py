"""``rayctl upgrade``: the control plane moves to a new cluster of its own, and the old one goes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import click

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.local import memory_size
from rayctl.cli.output import emit_document, say
from rayctl.errors import Conflict, DeadlineExceeded, InvalidRequest, ServerUnreachable

__all__ = ["upgrade"]

_TIMEOUT_S = 360.0


@click.command()
@click.option("--num-cpus", type=click.IntRange(1), help="CPUs that Ray may use on the new cluster.")
@click.option("--memory", callback=memory_size, metavar="SIZE", help="Memory of the new cluster.")
@click.option("--rollback", is_flag=True, help="Give up the move that is under way; or move to what was before.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until the old cluster has gone.")
@global_options()
@pass_settings
def upgrade(settings: Settings, num_cpus: int | None, memory: int | None, rollback: bool, wait: bool) -> None:
    """Move the control plane that `rayctl up --kubernetes` brought up to a new cluster, without interruption.

    A RayCluster with the rayctl and Ray of today comes up beside the old one. Then the HTTP API, the state (runs go on
    there) and the controllers' leases move, and the old cluster goes. Should the new one not become ready, or not
    answer, all of it moves back.
    """
    from rayctl.selfhost.layout import Layout
    from rayctl.selfhost.upfile import read_up

    up = read_up(Layout.of().up_file)
    if up is None or not up.alive("resident"):
        raise ServerUnreachable("rayctl is not running here.", hint="Run `rayctl up --kubernetes`.")
    if not up.kubeconfig:
        raise InvalidRequest(
            "Only a control plane on a cluster of its own can move.",
            code="not-self-hosted",
            hint="`rayctl down`, then `rayctl up --kubernetes`: runs, models and tokens are kept.",
        )
    changes: dict[str, Any] = {}
    if num_cpus is not None:
        changes |= {"num_cpus": num_cpus, "cpu": str(num_cpus)}
    if memory is not None:
        changes["memory"] = f"{memory // 2**20}Mi"
    if rollback and changes:
        raise click.UsageError("--rollback takes no other options.")
    timeout_s = settings.timeout_s or _TIMEOUT_S
    document = asyncio.run(_upgrade(settings, up.kubeconfig, changes, rollback, wait, timeout_s))
    if settings.output in ("json", "yaml"):
        emit_document(settings, document)
    elif settings.output == "name":
        say(f"raycluster/{document['to']}")


async def _upgrade(
    settings: Settings, kubeconfig: str, changes: dict[str, Any], rollback: bool, wait: bool, timeout_s: float
) -> dict[str, Any]:
    from rayctl.kube.http import HttpTransport, load_configuration
    from rayctl.manifests.installation import Installation
    from rayctl.selfhost import moving
    from rayctl.selfhost.mover import Mover

    transport = HttpTransport(await load_configuration(kubeconfig))
    try:
        mover = Mover(transport, Installation())
        move, found = await mover.move()
        if rollback:
            wanted = moving.wish_back(move)
            if wanted is None:
                raise Conflict("There is nothing to go back to: rayctl has not moved yet.", code="no-upgrade")
        elif not moving.at_rest(move):
            raise Conflict(
                f"A move to {move.target} is under way.",
                code="upgrade-under-way",
                hint="`rayctl status` shows it; `rayctl upgrade --rollback` gives it up.",
            )
        else:
            wanted = moving.wish_new(move, changes)
        await mover.keep(wanted, found)
        settings.note(f"from {move.record.active or move.record.source} to {wanted.target}")
        return await _follow(settings, mover, wanted, timeout_s) if wait else wanted.record.document()
    finally:
        await transport.close()


async def _follow(settings: Settings, mover: Any, wanted: Any, timeout_s: float) -> dict[str, Any]:
    """Tell every step until the move has ended and the side that is left has gone."""
    from rayctl.selfhost import moving
    from rayctl.service.record import Phase

    began, asked = time.monotonic(), time.time() - 1.0
    told: set[tuple[float, str]] = set()
    while True:
        move, _ = await mover.move()
        record = move.record
        for line in record.trace:
            if line.at > asked and (line.at, line.step) not in told:
                told.add((line.at, line.step))
                settings.note(f"[{time.monotonic() - began:5.1f}s] {line.step}: {line.message}".rstrip(": "))
        begun = record.serial > wanted.record.serial or not wanted.record.phase.ended
        if begun and moving.at_rest(move) and not await mover.exists(record.retiring):
            break
        if time.monotonic() - began > timeout_s:
            raise DeadlineExceeded(
                f"The move is not at its end: {record.step}.",
                hint="It goes on in the background: see `rayctl status`; `rayctl upgrade --rollback` gives it up.",
            )
        await asyncio.sleep(0.5)  # between two looks at what another process does
    took = time.monotonic() - began
    if record.phase is Phase.ROLLED_BACK and not move.abort:
        raise Conflict(
            f"The move to {record.target} was taken back: {record.message or record.reason}.",
            code="upgrade-rolled-back",
            hint=f"rayctl runs on {record.source} as before; `kubectl describe raycluster` and the logs tell more.",
        )
    if settings.for_people:
        say(f"rayctl runs on raycluster/{record.active} ({took:.0f} s).")
    document: dict[str, Any] = record.document()
    return document
