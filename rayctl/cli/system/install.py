"""``rayctl install`` and ``rayctl uninstall``: the objects that make rayctl at home on a Kubernetes cluster."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from rayctl.cli.kubernetes import Change, Kube, Named, kubernetes_command
from rayctl.cli.output import clean, emit_document, say
from rayctl.errors import NotFound
from rayctl.kube.calls import Call
from rayctl.kube.errors import ObjectNotFound
from rayctl.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS

if TYPE_CHECKING:
    from rayctl.manifests.installation import Installation

__all__ = ["install", "uninstall"]

Document = dict[str, Any]
_EXAMPLES = """\b
Examples:
  rayctl install --context prod --dry-run           what would be changed there
  rayctl install --dry-run=client -o yaml > all.yaml   render, ask nobody
  rayctl install --context prod --image registry/rayctl:1 --wait
"""


def _chosen(kube: Kube, asked: dict[str, Any]) -> Installation:
    from rayctl.manifests.installation import NAME, Installation

    return Installation(
        namespace=kube.asked_namespace or NAME,
        **{name: value for name, value in asked.items() if value is not None},
    )


@click.command(epilog=_EXAMPLES)
@click.option("--image", metavar="IMAGE", help="Of the control plane's pods: Ray and rayctl of these versions.")
@click.option("--ray-version", metavar="VERSION", help="Ray's version in the image.")
@click.option("--watch-namespace", metavar="NAME", help="Look after this namespace only (default: all).")
@click.option("--workers", type=click.IntRange(min=0), help="Worker pods beside the head (default 0).")
@click.option("--cpu", metavar="AMOUNT", help="CPUs of the head (default 2).")
@click.option("--memory", metavar="AMOUNT", help="Memory of the head (default 4Gi).")
@click.option("--actors", is_flag=True, default=None, help="Run the controllers as actors on it (experimental).")
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
    if change.waits:
        from rayctl.cli.objects.waiting import wait_ready
        from rayctl.kube.kinds import RAY_CLUSTERS
        from rayctl.manifests.installation import NAME

        wait_ready(kube, RAY_CLUSTERS, NAME, change, chosen.namespace)


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
@click.option("--yes", is_flag=True, help="Do not ask.")
@kubernetes_command(changes=True, waits=True)
def uninstall(kube: Kube, purge: bool, yes: bool, change: Change) -> None:
    """Remove what `rayctl install` made. Users' objects stay, and their kinds (unless --purge)."""
    from rayctl.manifests import crd_documents
    from rayctl.manifests.installation import NAME, Installation, documents, everywhere

    chosen = Installation(namespace=kube.asked_namespace or NAME)
    if change.dry_run == "none" and not yes:
        what = "rayctl and ALL fleets, sets, clusters and services" if purge else "rayctl"
        if not sys.stdin.isatty():
            raise click.UsageError("Without a terminal, `rayctl uninstall` needs --yes.")
        click.confirm(f"Remove {what} from {kube.connection.target.server}?", abort=True, err=True)
    # The cluster first: its finalizer needs its controller, which needs its roles.
    found = [*reversed(documents(chosen)), *everywhere(chosen), *(crd_documents() if purge else ())]
    ours = [document for document in found if document["kind"] != "Namespace"]
    if chosen.namespace == NAME:
        ours += [document for document in found if document["kind"] == "Namespace"]
    for document in ours:
        _delete(kube, document, change)


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
