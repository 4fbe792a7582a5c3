"""``rayctl logs``: what the containers of a pod said, or of all pods of a Ray cluster."""

from __future__ import annotations

import queue
import re
import threading
from typing import Any

import click

from rayctl.cli.hints import explained
from rayctl.cli.kubernetes import Kube, kubernetes_command
from rayctl.cli.objects.failures import fail_with
from rayctl.cli.output import say
from rayctl.errors import InvalidRequest, NotFound, RayctlError
from rayctl.kube.calls import Call
from rayctl.kube.errors import KubernetesError
from rayctl.kube.kinds import PODS

__all__ = ["logs"]

_SILENCE_S = 3600.0
_CALL_S = 30.0
_EXAMPLES = """\b
Examples:
  rayctl logs demo-head -f
  rayctl logs rc/demo --tail 20          all its pods, each line with the pod's name
  rayctl logs rc/demo --head -c ray-head
"""
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
_CLUSTER, _TYPE = "ray.io/cluster", "ray.io/node-type"


@click.command(epilog=_EXAMPLES)
@click.argument("target", metavar="POD|KIND/NAME")
@click.option("-f", "--follow", is_flag=True, help="Go on as they speak, until they end or Ctrl-C.")
@click.option("-c", "--container", metavar="NAME", help="Which container (default: the first).")
@click.option("--tail", type=click.IntRange(min=0), metavar="LINES", help="Only the last lines (default: all).")
@click.option("--since", metavar="TIME", help="Only those of the last 10m, say.")
@click.option("--previous", is_flag=True, help="Of the container's run before this one.")
@click.option("--timestamps", is_flag=True, help="With times.")
@click.option("--head", is_flag=True, help="Of a RayCluster: only its head.")
@kubernetes_command()
def logs(kube: Kube, target: str, container: str | None, head: bool, follow: bool, **asked: Any) -> None:
    """Show logs."""
    pods = _pods(kube, target, head)
    since = None
    if asked["since"]:
        from rayctl.cli.values import duration

        since = max(1, int(duration(asked["since"])))
    calls: list[tuple[str, Call]] = []
    for pod in pods:
        call = Call.get(kube.path(PODS, pod["metadata"]["name"], None, "log"), _CALL_S).asking(
            container=container or _first(pod),
            follow=follow or None,
            tailLines=asked["tail"],
            sinceSeconds=since,
            previous=asked["previous"] or None,
            timestamps=asked["timestamps"] or None,
        )
        calls.append((pod["metadata"]["name"], call))
    if len(calls) == 1:
        for line in kube.connection.lines(calls[0][1], _SILENCE_S if follow else _CALL_S, accept="*/*"):
            say(_safe(line))
    elif follow:
        _together(kube, calls)
    else:
        failures: list[RayctlError] = []
        for name, call in calls:
            try:
                for line in kube.connection.lines(call, _CALL_S, accept="*/*"):
                    say(f"[{name}] {_safe(line)}")
            except KubernetesError as error:  # one that has not begun yet must not hide what the others say
                failures.append(explained(error, kube.connection.target))
        fail_with(failures)


def _safe(line: str) -> str:
    # Logs may have colours and tabs, and nothing else that moves a terminal.
    parts = _COLOUR.split(line.rstrip("\r"))
    shown = ("".join(char if char.isprintable() or char == "\t" else " " for char in part) for part in parts[::2])
    colours = [*parts[1::2], ""]
    return "".join(text + colour for text, colour in zip(shown, colours, strict=True))


def _first(pod: dict[str, Any]) -> str | None:
    containers = pod["spec"].get("containers") or []
    annotated = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    return annotated or (containers[0]["name"] if len(containers) > 1 else None)


def _pods(kube: Kube, target: str, head: bool) -> list[dict[str, Any]]:
    named = kube.target(target, default="pods")
    kind = named.served.resource.kind
    if head and kind != "RayCluster":
        raise InvalidRequest("--head goes with a RayCluster only.")
    if kind == "Pod":
        return [kube.get(PODS, named.name)]
    if kind == "RayCluster":
        kube.get(named.served.resource, named.name)  # a cluster that is not there is told of as such
        labels = f"{_CLUSTER}={named.name}" + (f",{_TYPE}=head" if head else "")
        found = kube.list(PODS, kube.namespace, labels)
    else:
        from rayctl.cli.objects.gathering import gather_node

        found = [dict(node.document) for node in gather_node(kube, named).walk() if node.kind == "Pod"]
    if not found:
        raise NotFound(
            f"{named.label} has no pods{' of that kind' if head else ''}.",
            code="no-pods",
            hint=f"`rayctl explain {kind.lower()}/{named.name}` says why.",
        )
    order = {"head": 0, "worker": 1}
    return sorted(
        found,
        key=lambda pod: (
            order.get((pod["metadata"].get("labels") or {}).get(_TYPE, ""), 2),
            pod["metadata"]["name"],
        ),
    )


def _together(kube: Kube, calls: list[tuple[str, Call]]) -> None:
    """Follow several logs at once, a line at a time; the first failure is raised once all have ended."""
    arrived: queue.Queue[tuple[str, str | RayctlError | None]] = queue.Queue(maxsize=1000)

    def read(name: str, call: Call) -> None:
        try:
            for line in kube.connection.lines(call, _SILENCE_S, accept="*/*"):
                arrived.put((name, line))
            arrived.put((name, None))
        except RayctlError as error:
            arrived.put((name, error))

    for name, call in calls:
        threading.Thread(target=read, args=(name, call), daemon=True).start()
    failure: RayctlError | None = None
    left = len(calls)
    while left:
        name, item = arrived.get()
        if isinstance(item, str):
            say(f"[{name}] {_safe(item)}")
        else:
            left -= 1
            failure = failure or item
    if failure is not None:
        raise failure
