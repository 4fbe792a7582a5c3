"""``rayctl upgrade``: the control plane moves to a new cluster of its own, and the old one goes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.local import memory_size
from rayctl.cli.output import emit_document, say
from rayctl.cli.values import duration
from rayctl.errors import Conflict, DeadlineExceeded, InvalidRequest, NotFound, ServerUnreachable

if TYPE_CHECKING:
    from rayctl.kube.calls import Transport
    from rayctl.manifests.installation import Installation
    from rayctl.selfhost.upfile import UpFile

__all__ = ["upgrade"]

_DEADLINE_S, _AFTER_S = 300.0, 90.0
"""`rayctl.selfhost.moving.RULES` says so too; what moving and draining take then."""
_EXAMPLES = """\b
Examples:
  rayctl upgrade                                   of `rayctl up`
  rayctl upgrade --context prod --image registry/rayctl:2
  rayctl upgrade --context prod --rollback
"""


def _span(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    return None if value is None else duration(value)


@click.command(epilog=_EXAMPLES)
@click.option("--num-cpus", type=click.IntRange(1), help="CPUs that Ray may use on the new cluster's head.")
@click.option("--memory", callback=memory_size, metavar="SIZE", help="Memory of the new cluster's head.")
@click.option("--image", metavar="IMAGE", help="Of its pods (on Kubernetes): Ray and rayctl.")
@click.option("--ray-version", metavar="VERSION", help="Ray's version in the image (on Kubernetes).")
@click.option("--cpu", metavar="AMOUNT", help="CPUs that the new head's pod asks for (on Kubernetes).")
@click.option("--workers", type=click.IntRange(min=0), help="Worker pods beside it (on Kubernetes).")
@click.option("--deadline", callback=_span, metavar="TIME", help="When to give up if it is not ready (default 5m).")
@click.option("--rollback", is_flag=True, help="Give up the move that is under way; or move to what was before.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until the old cluster has gone.")
@click.option("--kubeconfig", metavar="FILE", envvar="RAYCTL_KUBECONFIG", help="How to reach the Kubernetes cluster.")
@click.option("--context", metavar="NAME", envvar="RAYCTL_CONTEXT", help="Context of the kubeconfig.")
@click.option("-n", "--namespace", metavar="NAME", envvar="RAYCTL_NAMESPACE", help="Where rayctl is installed.")
@click.option("--allow-exec", is_flag=True, envvar="RAYCTL_ALLOW_EXEC", help="Run the kubeconfig's credential program.")
@global_options()
@pass_settings
def upgrade(settings: Settings, rollback: bool, wait: bool, deadline: float | None, **asked: Any) -> None:
    """Move the control plane to a new cluster of its own, without interruption.

    That of `rayctl install --actors` where a kubeconfig or context is named, else that of `rayctl up`.
    A RayCluster with what was chosen comes up beside the old one. Then the HTTP API, the state (runs go on there) and
    the controllers' leases move, and the old cluster goes. Should the new one not become ready, or not answer, all of
    it moves back. The move is recorded in the ConfigMap rayctl-upgrade and goes on without this command.
    """
    from rayctl.selfhost.layout import Layout
    from rayctl.selfhost.upfile import read_up

    where = {name: asked.pop(name) for name in ("kubeconfig", "context", "namespace", "allow_exec")}
    changes = {name: value for name, value in asked.items() if value is not None}
    if "memory" in changes:
        changes["memory"] = f"{changes['memory'] // 2**20}Mi"
    if rollback and changes:
        raise click.UsageError("--rollback takes no other options.")
    limit_s = settings.timeout_s or (deadline or _DEADLINE_S) * 1.1 + _AFTER_S
    order = _Order(changes, rollback, wait, limit_s, deadline)
    up = read_up(Layout.of().up_file)
    named = where["kubeconfig"] or where["context"]
    if named or up is None:
        document = _on_kubernetes(settings, order, where)
    else:
        document = asyncio.run(_local(settings, order, up))
    if settings.output in ("json", "yaml"):
        emit_document(settings, document)
    elif settings.output == "name":
        say(f"raycluster/{document['to']}")


@dataclass(frozen=True)
class _Order:
    changes: dict[str, Any]
    rollback: bool
    wait: bool
    timeout_s: float
    deadline_s: float | None


def _on_kubernetes(settings: Settings, order: _Order, where: dict[str, Any]) -> dict[str, Any]:
    from rayctl.cli.kubernetes import opened
    from rayctl.kube.kinds import CONFIG_MAPS, DEPLOYMENTS
    from rayctl.manifests.access import INSTALLATION
    from rayctl.manifests.installation import NAME, STANDBY, chosen_fields, installed

    with opened(settings, where) as kube:
        namespace = kube.asked_namespace or NAME
        config = kube.find(CONFIG_MAPS, INSTALLATION, namespace)
        if config is None or kube.find(DEPLOYMENTS, STANDBY, namespace) is None:
            raise NotFound(
                f"There is no control plane of actors in {namespace}.",
                code="not-self-hosted",
                hint="`rayctl install --actors` makes one; -n names another namespace.",
            )
        base = installed(namespace, config)
        changes = {**chosen_fields(base), **order.changes}
        return kube.run(lambda transport: _upgrade(settings, transport, base, replace(order, changes=changes)))


async def _local(settings: Settings, order: _Order, up: UpFile) -> dict[str, Any]:
    from rayctl.kube.http import HttpTransport, load_configuration
    from rayctl.manifests.installation import Installation

    if not up.alive("resident"):
        raise ServerUnreachable("rayctl is not running here.", hint="Run `rayctl up`.")
    if not up.kubeconfig:
        raise InvalidRequest(
            "Only a control plane on a cluster of its own can move.",
            code="not-self-hosted",
            hint="`rayctl down`, then `rayctl up`: runs, models and tokens are kept.",
        )
    foreign = set(order.changes) - {"num_cpus", "memory"}
    if foreign:
        raise click.UsageError(f"Only on Kubernetes: {', '.join(sorted(foreign))}.")
    changes = dict(order.changes)
    if "num_cpus" in changes:
        changes["cpu"] = str(changes["num_cpus"])
    transport = HttpTransport(await load_configuration(up.kubeconfig))
    try:
        return await _upgrade(settings, transport, Installation(), replace(order, changes=changes))
    finally:
        await transport.close()


async def _upgrade(settings: Settings, transport: Transport, base: Installation, order: _Order) -> dict[str, Any]:
    from rayctl.selfhost import moving
    from rayctl.selfhost.mover import Mover

    mover = Mover(transport, base)
    move, found = await mover.move()
    if order.rollback:
        wanted = moving.wish_back(move)
        if wanted is None:
            last = move.record.target
            why = f"the move to {last} was taken back already" if move.record.source else "rayctl has not moved yet"
            raise Conflict(f"There is nothing to go back to: {why}.", code="no-upgrade")
    elif not moving.at_rest(move):
        raise Conflict(
            f"A move to {move.target} is under way.",
            code="upgrade-under-way",
            hint="`rayctl upgrade --rollback` gives it up; it goes on without this command.",
        )
    else:
        wanted = moving.wish_new(move, order.changes, order.deadline_s)
    await mover.keep(wanted, found)
    if moving.at_rest(wanted):
        settings.note(f"the move to {move.target} had not begun and is not wanted any more")
        return wanted.record.document()
    settings.note(f"from {move.record.active or move.record.source} to {wanted.target}")
    if not order.wait:
        return wanted.record.document()
    return await _follow(settings, mover, wanted, order.timeout_s)


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
                hint="It goes on without this command; `rayctl upgrade --rollback` gives it up.",
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
