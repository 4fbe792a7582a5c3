"""``rayctl scale``: the replicas of anything that has a scale, and of a RayCluster's worker groups."""

from __future__ import annotations

from typing import Any

import click

from rayctl.cli.kubernetes import MANAGER, Change, Kube, Named, kubernetes_command
from rayctl.cli.output import clean, emit_document, say
from rayctl.cluster.scaling import group_patch
from rayctl.errors import Conflict, InvalidRequest
from rayctl.kube.calls import Call

__all__ = ["scale"]

JSON_PATCH = "application/json-patch+json"


@click.command()
@click.argument("target", metavar="KIND/NAME")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--replicas", type=click.IntRange(min=0), required=True, help="How many there shall be.")
@click.option("--group", metavar="NAME", help="Which worker group of a RayCluster (if it has several).")
@click.option("--current-replicas", type=click.IntRange(min=0), help="Only if there are so many now.")
@kubernetes_command(changes=True)
def scale(
    kube: Kube,
    target: str,
    name: str | None,
    replicas: int,
    group: str | None,
    current_replicas: int | None,
    change: Change,
) -> None:
    """Set the number of replicas: `rayctl scale rc/demo --group small --replicas 3`, `rayctl scale rcf/embed …`."""
    named = kube.target(target, name)
    before = kube.get(named.served.resource, named.name)
    if named.served.resource.kind == "RayCluster":
        operations = group_patch(before, group, replicas, current_replicas)
        call = Call("PATCH", kube.path(named.served.resource, named.name), body=operations, content_type=JSON_PATCH)
    else:
        if group:
            raise InvalidRequest("Only RayClusters have groups.", hint="Leave --group away.")
        call = _scale_call(kube, named, before, replicas, current_replicas)
    if not change.only_client:
        kube.request(change.on(call).asking(fieldManager=MANAGER))
    if kube.settings.output in ("json", "yaml"):
        emit_document(kube.settings, {"object": named.label, "group": group, "replicas": replicas})
    else:
        say(clean(named.label) if kube.settings.output == "name" else f"{clean(named.label)} scaled{change.suffix}")
    if change.waits:
        from rayctl.cli.objects.waiting import wait_ready

        wait_ready(kube, named.served.resource, named.name, change, enough=lambda now: _there(now, replicas))


def _there(document: dict[str, Any], replicas: int) -> bool:
    """Tell whether so many replicas are there and available, although their owner has failed: rolled back, say."""
    status = document.get("status") or {}
    return {int(status.get(name) or 0) for name in ("replicas", "availableReplicas")} == {replicas}


def _scale_call(kube: Kube, named: Named, before: dict[str, Any], replicas: int, current: int | None) -> Call:
    if "scale" not in named.served.subresources:
        kinds = [served.label for served in kube.kinds.served if "scale" in served.subresources]
        raise InvalidRequest(
            f"{named.served.resource.kind} has no replicas that could be set.",
            code="no-scale",
            hint=f"These have: raycluster.ray.io (--group), {', '.join(kinds)}.",
        )
    path = kube.path(named.served.resource, named.name, None, "scale")
    live = kube.request(Call.get(path))
    have = int((live.get("spec") or {}).get("replicas") or 0)
    if current is not None and have != current:
        raise Conflict(f"{named.label} has {have} replicas, not {current}.", code="other-replicas")
    body = {"spec": {"replicas": replicas}, "metadata": {"resourceVersion": live["metadata"]["resourceVersion"]}}
    return Call("PATCH", path, body=body, content_type="application/merge-patch+json")
