"""``rayctl install`` and ``rayctl uninstall``: the objects that make rayctl at home on a Kubernetes cluster."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from rayctl.cli.kubernetes import Change, Kube, Named, kubernetes_command
from rayctl.cli.output import clean, emit_document, say
from rayctl.errors import DeadlineExceeded, NotFound
from rayctl.kube.calls import Call
from rayctl.kube.errors import ObjectNotFound
from rayctl.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS

if TYPE_CHECKING:
    from rayctl.manifests.installation import Installation

__all__ = ["install", "uninstall"]

Document = dict[str, Any]
_LOOK_S = 0.5
_EXAMPLES = """\b
Examples:
  rayctl install --context prod --dry-run           what would be changed there
  rayctl install --dry-run=client -o yaml > all.yaml   render, ask nobody
  rayctl install --context prod --image registry/rayctl:1 --actors --wait
"""


def _chosen(kube: Kube, asked: dict[str, Any]) -> Installation:
    from rayctl.manifests.installation import NAME, Installation

    chosen = Installation(
        namespace=kube.asked_namespace or NAME,
        **{name: value for name, value in asked.items() if value is not None},
    )
    if chosen.actors and asked["num_cpus"] is None and not chosen.workers:
        from rayctl.core.quantity import parse_quantity

        return replace(chosen, num_cpus=max(1, int(parse_quantity(chosen.cpu))))
    return chosen


@click.command(epilog=_EXAMPLES)
@click.option("--image", metavar="IMAGE", help="Of the control plane's pods: Ray and rayctl of these versions.")
@click.option("--ray-version", metavar="VERSION", help="Ray's version in the image.")
@click.option("--watch-namespace", metavar="NAME", help="Look after this namespace only (default: all).")
@click.option("--workers", type=click.IntRange(min=0), help="Worker pods beside the head (default 0).")
@click.option("--cpu", metavar="AMOUNT", help="CPUs of the head (default 2).")
@click.option("--memory", metavar="AMOUNT", help="Memory of the head (default 4Gi).")
@click.option("--actors", is_flag=True, default=None, help="Run AutoML, its HTTP API and the controllers on it.")
@click.option("--num-cpus", type=click.IntRange(min=0), help="CPUs of the head for tasks (with --actors: those of it).")
@click.option("--storage", metavar="SIZE", help="Of the volume with the state, with --actors (default 10Gi).")
@click.option("--storage-class", metavar="NAME", help="Its class (default: the cluster's own).")
@click.option(
    "--access-mode",
    type=click.Choice(["ReadWriteOnce", "ReadWriteMany"]),
    help="Many: `rayctl upgrade` may use another node; Once: the same one (default).",
)
@kubernetes_command(changes=True)
def install(kube: Kube, change: Change, **asked: Any) -> None:
    """Apply definitions of kinds, accounts, roles, leases, the RayCluster of the control plane and its service.

    The same again changes nothing. Kinds that KubeRay has defined are left as they are. -n chooses the namespace
    (default: rayctl-system).
    """
    from rayctl.manifests import crd_documents
    from rayctl.manifests.installation import documents

    chosen = _chosen(kube, asked)
    crds, others = crd_documents(), documents(chosen)
    if change.only_client:
        _render(kube, [*crds, *others])
        return
    done = [_apply(kube, document, change) for document in crds if not _kept(kube, document)]
    done += [_apply(kube, document, change) for document in others]
    if kube.settings.output in ("json", "yaml"):
        emit_document(kube.settings, {"objects": [{"object": label, "result": word} for label, word in done]})
    elif kube.settings.for_people:
        counts = {word: sum(found == word for _, found in done) for word in ("created", "configured", "unchanged")}
        text = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        say(f"rayctl {'would be' if change.dry_run != 'none' else 'is'} installed in {chosen.namespace}: {text}.")
        say("Check it:  rayctl doctor")
    if change.waits and chosen.actors:
        _wait_until_it_runs(kube, chosen.namespace, change)
    elif change.waits:
        from rayctl.cli.objects.waiting import wait_ready
        from rayctl.kube.kinds import RAY_CLUSTERS
        from rayctl.manifests.installation import NAME

        wait_ready(kube, RAY_CLUSTERS, NAME, change, chosen.namespace)


def _wait_until_it_runs(kube: Kube, namespace: str, change: Change) -> None:
    """Wait until the standby says that all is there; tell what it says meanwhile."""
    from rayctl.kube.kinds import CONFIG_MAPS
    from rayctl.manifests.access import STATUS

    told = ""
    while True:
        data = (kube.find(CONFIG_MAPS, STATUS, namespace) or {}).get("data") or {}
        if data.get("state") == "ready":
            say(f"rayctl runs on raycluster/{clean(data['cluster'])}.")
            return
        text = data.get("reason") or "rayctl-standby has not said anything yet"
        if text != told:
            kube.settings.note(clean(text))
            told = text
        if time.monotonic() > change.deadline:
            raise DeadlineExceeded(
                f"rayctl does not run yet: {clean(text)}.",
                hint=f"It goes on; `rayctl doctor`, and `rayctl logs deploy/rayctl-standby -n {namespace}`, tell more.",
            )
        time.sleep(_LOOK_S)


def _render(kube: Kube, found: list[Document]) -> None:
    if kube.settings.output == "json":
        emit_document(kube.settings, {"apiVersion": "v1", "kind": "List", "items": found})
    elif kube.settings.output == "name":
        for document in found:
            say(f"{document['kind'].lower()}/{document['metadata']['name']}")
    else:
        from rayctl.manifests.text import render

        say("---\n".join(render(document, head=False) for document in found).rstrip())


def _kept(kube: Kube, document: Document) -> bool:
    """Whether a definition is there that is not ours: KubeRay's, say."""
    name = document["metadata"]["name"]
    live = kube.find(CUSTOM_RESOURCE_DEFINITIONS, name)
    if live is None:
        return False
    managers = {str(entry.get("manager")) for entry in live["metadata"].get("managedFields") or ()}
    if "rayctl" in managers:
        return False
    kube.settings.note(f"{name} is kept as {', '.join(sorted(managers - {'kube-apiserver'})) or 'somebody'} made it.")
    return True


def _apply(kube: Kube, document: Document, change: Change) -> tuple[str, str]:
    from rayctl.cli.objects.apply import apply_document

    label = f"{document['kind'].lower()}/{document['metadata']['name']}"
    try:
        _, _, word = apply_document(kube, document, change, force=True)
    except (NotFound, ObjectNotFound):
        if change.dry_run != "server":
            raise
        word = "created"  # its kind or its namespace would be there by then
    if kube.settings.output == "name":
        say(label)
    elif kube.settings.for_people and word != "unchanged":
        say(f"{clean(label)} {word}{change.suffix}")
    return label, word


@click.command()
@click.option("--purge", is_flag=True, help="Also the kinds, and with them every fleet, set, cluster and service.")
@click.option("--keep-data", is_flag=True, help="Keep the volume with the state, the tokens, and the namespace.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@kubernetes_command(changes=True, waits=True)
def uninstall(kube: Kube, purge: bool, keep_data: bool, yes: bool, change: Change) -> None:
    """Remove what `rayctl install` made. Users' objects stay, and their kinds (unless --purge)."""
    from rayctl.manifests import crd_documents
    from rayctl.manifests.installation import NAME, Installation, cluster, documents, entry

    namespace = kube.asked_namespace or NAME
    chosen = Installation(namespace=namespace, actors=True)
    if change.dry_run == "none" and not yes:
        what = "rayctl and ALL fleets, sets, clusters and services" if purge else "rayctl"
        kept = "" if keep_data else ", with all runs and models,"
        if not sys.stdin.isatty():
            raise click.UsageError("Without a terminal, `rayctl uninstall` needs --yes.")
        click.confirm(f"Remove {what}{kept} from {kube.connection.target.server}?", abort=True, err=True)
    found = documents(chosen)
    # First who would make the cluster anew; then the cluster: a finalizer needs its controller, which needs its roles.
    first = [document for document in found if document["kind"] == "Deployment"]
    for document in first:
        _delete(kube, document, change)
    _wait_for_pods(kube, namespace, _STANDBY_PODS, change)
    clusters = _clusters(kube, namespace, cluster(chosen))
    for document in [*clusters, entry(chosen)]:
        _delete(kube, document, change)
    if clusters and change.waits:
        names = ", ".join(document["metadata"]["name"] for document in clusters)
        _wait_for_pods(kube, namespace, f"ray.io/cluster in ({names})", change)
    last = ("Namespace", "PersistentVolumeClaim", "Secret") if keep_data else ("Namespace",)
    rest = [*reversed(found), *_bindings(kube), *(crd_documents() if purge else ())]
    for document in rest:
        if document["kind"] not in ("Deployment", *last):
            _delete(kube, document, change)
    if namespace == NAME and not keep_data:
        _delete(kube, found[0], change)


_OURS = "app.kubernetes.io/part-of=rayctl"
_STANDBY_PODS = "app.kubernetes.io/name=rayctl-standby"


def _clusters(kube: Kube, namespace: str, usual: Document) -> list[Document]:
    """Return the control plane's own clusters: during a move there are two, after it one of another name."""
    from rayctl.kube.kinds import RAY_CLUSTERS

    with suppress(NotFound, ObjectNotFound):
        names = {found["metadata"]["name"] for found in kube.list(RAY_CLUSTERS, namespace, _OURS)}
        return [{**usual, "metadata": {**usual["metadata"], "name": name}} for name in sorted(names)]
    return []


def _bindings(kube: Kube) -> list[Document]:
    """Return the bindings in namespaces that rayctl was to look after."""
    from rayctl.kube.kinds import ROLE_BINDINGS

    own = {"apiVersion": ROLE_BINDINGS.api_version, "kind": ROLE_BINDINGS.kind}
    return [{**own, "metadata": found["metadata"]} for found in kube.list(ROLE_BINDINGS, "", _OURS)]


def _wait_for_pods(kube: Kube, namespace: str, labels: str, change: Change) -> None:
    from rayctl.kube.kinds import PODS

    while change.dry_run == "none" and (left := kube.list(PODS, namespace, labels)):
        if time.monotonic() > change.deadline:
            raise DeadlineExceeded(
                f"{left[0]['metadata']['name']} is still there.", hint="`rayctl uninstall` again goes on from there."
            )
        time.sleep(_LOOK_S)


def _delete(kube: Kube, document: Document, change: Change) -> None:
    from rayctl.cli.objects.waiting import wait_gone

    metadata = document["metadata"]
    try:
        served = kube.kinds.of(document["apiVersion"], document["kind"])
        live = kube.get(served.resource, metadata["name"], metadata.get("namespace"))
    except NotFound:
        return
    except ObjectNotFound:
        return
    labels = live["metadata"].get("labels") or {}
    if document["kind"] != "CustomResourceDefinition" and labels.get("app.kubernetes.io/part-of") != "rayctl":
        kube.settings.note(f"{document['kind'].lower()}/{metadata['name']} is not rayctl's, and stays.")
        return
    uid = live["metadata"]["uid"]
    named = Named(served, metadata["name"])
    if not change.only_client:
        body: Document = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}
        if change.dry_run == "server":
            body["dryRun"] = ["All"]
        path = kube.path(served.resource, metadata["name"], metadata.get("namespace"))
        kube.request(change.on(Call("DELETE", path, body=body, timeout_s=30.0)))
    say(f"{clean(named.label)} deleted{change.suffix}")
    if change.waits:
        wait_gone(kube, served.resource, metadata["name"], uid, change, metadata.get("namespace"))
