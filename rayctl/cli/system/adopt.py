"""``rayctl adopt``: take Ray clusters and services over from KubeRay's operator, or give them back to it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from rayctl.cli.kubernetes import MANAGER, Change, Kube, kubernetes_command
from rayctl.cli.output import clean, duration_text, emit_document, emit_table, say
from rayctl.cli.system.handover import judge
from rayctl.errors import Conflict, DeadlineExceeded, InvalidRequest, NotFound, Unavailable
from rayctl.kube.calls import MERGE, Call
from rayctl.kube.errors import Denied
from rayctl.kube.kinds import DEPLOYMENTS, LEASES, PODS, RAY_CLUSTERS, RAY_SERVICES

if TYPE_CHECKING:
    from rayctl.cluster.handover import Handover

__all__ = ["adopt"]

Document = dict[str, Any]
REPLICAS = "rayctl.io/replicas-before-adoption"
"""On an operator's Deployment that `rayctl adopt` has scaled to 0: how many it had."""
_LOOK_S = 1.0
_BACK = "`rayctl adopt --give-back` returns to the operator"
_CONTROLLERS = ("raycluster-controller", "rayservice-controller")
_MARKS = {"kept": "✔", "changes": "!", "refused": "✖", "elsewhere": "-"}
_EXAMPLES = """\b
Examples:
  rayctl adopt --dry-run       what would become of each cluster and service
  rayctl adopt --yes           scale KubeRay's operator to 0 and go on where it stopped
  rayctl adopt --give-back     the operator gets its replicas again; rayctl leaves everything to it

Exit codes: 10 with --dry-run: something that runs would be touched; 6: refused because of that.
"""


@click.command(epilog=_EXAMPLES)
@click.option("--operator", metavar="NAMESPACE/NAME", help="Which operator, if there are several.")
@click.option("--give-back", is_flag=True, help="The other way round.")
@click.option("--force", is_flag=True, help="Also if something that runs is touched.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@kubernetes_command(changes=True, waits=True)
def adopt(kube: Kube, operator: str | None, give_back: bool, force: bool, yes: bool, change: Change) -> None:
    """Take over what KubeRay's operator looks after, in all of its namespaces, without restarting a pod.

    What would be done to each cluster and service is decided by the planners that rayctl's controllers run, before
    anything is changed. rayctl's controllers must be running.
    """
    from rayctl.cluster.controller import operator_of

    deployment = _operator(kube, operator, give_back)
    name = f"{deployment['metadata']['namespace']}/{deployment['metadata']['name']}"
    awake = {**deployment, "spec": {**deployment["spec"], "replicas": 1}}
    namespaces = [found for found in _namespaces(kube) if operator_of(awake, found)]
    found = judge(kube, namespaces, give_back)
    _show(kube, found, name, give_back)
    touched = [item for item in found if item.state in ("changes", "refused")]
    if change.dry_run != "none":
        click.get_current_context().exit(10 if touched else 0)
    if touched and not force:
        raise Conflict(
            f"{len(touched)} of {len(found)} objects would not go on as they are; nothing was changed.",
            code="not-unharmed",
            hint="Change them, or do it all the same with --force.",
        )
    if not give_back:
        _demand_controllers(kube)
    _confirm(f"{'Start' if give_back else 'Stop'} the operator {name}?", yes)
    if give_back:
        _give_back(kube, deployment, change)
    else:
        _take_over(kube, deployment, namespaces, found, change)


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("Without a terminal, `rayctl adopt` needs --yes or --dry-run.")
    click.confirm(question, abort=True, err=True)


# Looking ----------------------------------------------------------------------------------------------


def _operator(kube: Kube, asked: str | None, give_back: bool) -> Document:
    """Return the Deployment of the operator that is meant."""
    from rayctl.cluster.controller import OPERATORS, operator_of

    found = []
    for item in kube.list(DEPLOYMENTS, "", OPERATORS):
        awake = {**item, "spec": {**item["spec"], "replicas": 1}}
        asleep = REPLICAS in (item["metadata"].get("annotations") or {}) and item["spec"].get("replicas") == 0
        is_one = any(operator_of(awake, namespace) for namespace in _namespaces(kube))
        if is_one and asleep == give_back:
            found.append(item)
    names = [f"{item['metadata']['namespace']}/{item['metadata']['name']}" for item in found]
    if asked is not None:
        found = [item for item, name in zip(found, names, strict=True) if name == asked]
    if not found:
        what = "No operator of KubeRay was stopped by `rayctl adopt`" if give_back else "No operator of KubeRay runs"
        text = f"{what} here{f' as {asked}' if asked else ''}."
        hint = "rayctl looks after RayClusters and RayServices already; `rayctl doctor` says whether it can."
        raise NotFound(text, code="no-operator", hint="`rayctl doctor` shows what runs." if give_back else hint)
    if len(found) > 1:
        raise InvalidRequest(
            f"There are several operators: {', '.join(names)}.", code="several-operators", hint="--operator names one."
        )
    return found[0]


def _namespaces(kube: Kube) -> list[str]:
    documents = [*kube.list(RAY_CLUSTERS, ""), *kube.list(RAY_SERVICES, ""), *kube.list(DEPLOYMENTS, "")]
    return sorted({item["metadata"]["namespace"] for item in documents})


def _show(kube: Kube, found: Sequence[Handover], name: str, give_back: bool) -> None:
    if not kube.settings.for_people:
        if kube.settings.output == "name":
            for item in found:
                say(f"{item.ref.kind.lower()}/{item.ref.name}")
        else:
            emit_document(kube.settings, {"operator": name, "objects": [item.document() for item in found]})
        return
    rows = []
    for item in found:
        text = "; ".join((*item.changes, *((item.message,) if item.message else ()))) or "goes on as it is"
        what = f"{item.ref.kind.lower()}/{item.ref.name}"
        kind = "clusters" if item.ref.kind == "RayService" else "pods"
        rows.append([_MARKS[item.state], item.ref.namespace, what, f"{item.keeps} {kind}", text])
    if rows:
        emit_table(kube.settings, ["", "NAMESPACE", "OBJECT", "KEEPS", "WHAT"], rows)
    else:
        say(f"The operator {clean(name)} looks after nothing.")
    for item in found:
        for text in item.writes:
            kube.settings.note(f"{item.ref.kind.lower()}/{item.ref.name}: {clean(text)}")


# Changing ---------------------------------------------------------------------------------------------


def _demand_controllers(kube: Kube) -> None:
    """Refuse to stop the operator while nobody would go on."""
    from rayctl.manifests.installation import NAME
    from rayctl.views.health import check_lease

    for controller in _CONTROLLERS:
        try:
            lease = check_lease(controller, kube.find(LEASES, controller, kube.asked_namespace or NAME), time.time())
        except Denied:
            kube.settings.note(f"Whether {controller} runs could not be seen.")
            continue
        if lease.state != "ok":
            raise Unavailable(
                f"{controller}: {lease.message}; nobody would go on, so nothing was changed.",
                code="no-controllers",
                hint="Start them: `rayctl install`, or `rayctl kube controllers` beside a kubeconfig.",
            )


def _take_over(
    kube: Kube, deployment: Document, namespaces: Sequence[str], before: Sequence[Handover], change: Change
) -> None:
    pods_before = _pods(kube, namespaces)
    replicas = deployment["spec"].get("replicas", 1)
    _scale(kube, deployment, 0, str(replicas))
    say("The operator is stopped.")
    if not change.wait:
        return
    _wait(lambda: _left(kube, deployment), "the operator's pods are gone", change, _BACK)
    _touch(kube, namespaces)
    _wait(lambda: _unsettled(judge(kube, namespaces, False)), "rayctl has looked after everything", change, _BACK)
    pods = _pods(kube, namespaces)
    kept = sum(pods.get(name) == uid for name, uid in pods_before.items())
    clusters = sum(item.ref.kind == "RayCluster" for item in before)
    services = len(before) - clusters
    counts = f"RayClusters: {clusters}, RayServices: {services}"
    say(f"rayctl looks after them. {counts}; {kept} of {len(pods_before)} pods are the same.")
    if kept < len(pods_before):
        gone = sorted("/".join(name) for name, uid in pods_before.items() if pods.get(name) != uid)
        say(f"Gone: {', '.join(map(clean, gone[:10]))}{', …' if len(gone) > 10 else ''}")


def _give_back(kube: Kube, deployment: Document, change: Change) -> None:
    replicas = int(deployment["metadata"]["annotations"][REPLICAS])
    live = _scale(kube, deployment, replicas, None)
    say(f"The operator has {replicas} replicas again; rayctl leaves RayClusters and RayServices to it.")
    if not change.wait or not replicas:
        return

    def missing() -> str:
        found = kube.get(DEPLOYMENTS, live["metadata"]["name"], live["metadata"]["namespace"])
        ready = (found.get("status") or {}).get("readyReplicas") or 0
        return "" if ready else "none of the operator's pods is ready"

    _wait(missing, "the operator is ready", change, "its Deployment says more: `rayctl get deployments -A`")


def _scale(kube: Kube, deployment: Document, replicas: int, remembered: str | None) -> Document:
    """Set the operator's replicas, unless somebody has changed it meanwhile. Raises WriteConflict."""
    metadata = deployment["metadata"]
    changes = {
        "metadata": {"resourceVersion": metadata["resourceVersion"], "annotations": {REPLICAS: remembered}},
        "spec": {"replicas": replicas},
    }
    path = kube.path(DEPLOYMENTS, metadata["name"], metadata["namespace"])
    call = Call("PATCH", path, body=changes, content_type=MERGE, timeout_s=30.0).asking(fieldManager=MANAGER)
    return dict(kube.request(call))


def _left(kube: Kube, deployment: Document) -> str:
    """Say which pods of the operator are still there; empty: none."""
    labels = (deployment["spec"].get("selector") or {}).get("matchLabels") or {}
    selector = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    pods = kube.list(PODS, deployment["metadata"]["namespace"], selector) if selector else []
    return f"{', '.join(pod['metadata']['name'] for pod in pods[:3])} still runs" if pods else ""


def _touch(kube: Kube, namespaces: Sequence[str]) -> None:
    """Have rayctl's controllers look at once, and leave a trace of who took over when."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    changes = {"metadata": {"annotations": {"rayctl.io/adopted-at": at}}}
    for resource in (RAY_SERVICES, RAY_CLUSTERS):
        for namespace in namespaces:
            for item in kube.list(resource, namespace):
                path = kube.path(resource, item["metadata"]["name"], namespace)
                call = Call("PATCH", path, body=changes, content_type=MERGE, timeout_s=30.0)
                kube.request(call.asking(fieldManager=MANAGER))


def _unsettled(found: Sequence[Handover]) -> str:
    # What a service still has to do depends on its clusters' Serve APIs, which were not asked.
    waiting = [
        item.ref.name
        for item in found
        if item.ref.kind == "RayCluster" and not item.settled and item.state in ("kept", "changes")
    ]
    return f"{', '.join(waiting[:3])}{', …' if len(waiting) > 3 else ''} not settled yet" if waiting else ""


def _pods(kube: Kube, namespaces: Sequence[str]) -> dict[tuple[str, str], str]:
    found = [pod["metadata"] for namespace in namespaces for pod in kube.list(PODS, namespace, "ray.io/cluster")]
    return {(item["namespace"], item["name"]): item["uid"] for item in found}


def _wait(says: Callable[[], str], what: str, change: Change, hint: str) -> None:
    told = ""
    while text := says():
        if text != told:
            click.echo(clean(text), err=True)
            told = text
        if time.monotonic() > change.deadline:
            raise DeadlineExceeded(
                f"It was not seen within {duration_text(change.timeout_s)} that {what}: {text}.",
                hint=f"It goes on; {hint}.",
            )
        time.sleep(_LOOK_S)
