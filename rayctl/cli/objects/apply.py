"""``rayctl apply``: manifests to the server, by server-side apply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from rayctl.cli.hints import conflicts, explained
from rayctl.cli.kubernetes import MANAGER, Change, Kube, kubernetes_command
from rayctl.cli.objects.failures import fail_with
from rayctl.cli.output import clean, emit_document, say
from rayctl.errors import InvalidRequest, RayctlError
from rayctl.kube.errors import KubernetesError, WriteConflict

if TYPE_CHECKING:
    from rayctl.client.kube.discovery import Served

__all__ = ["apply", "apply_document", "established"]

Document = dict[str, Any]
_EXAMPLES = """\b
Examples:
  rayctl apply -f cluster.yaml --wait
  rayctl apply -f manifests/ --dry-run          the server checks it and keeps nothing
  helm template x | rayctl apply -f -
"""
_ESTABLISH_S = 30.0


@click.command(epilog=_EXAMPLES)
@click.option("-f", "--filename", "files", multiple=True, required=True, help="File, folder, or - for standard input.")
@click.option("--force-conflicts", is_flag=True, help="Take over fields that somebody else owns.")
@kubernetes_command(changes=True)
def apply(kube: Kube, files: tuple[str, ...], force_conflicts: bool, change: Change) -> None:
    """Create or change objects so that they are as the files say.

    Fields that were applied before and are no longer in the file are removed. Fields that others own and that
    differ are conflicts (exit code 6): nothing of that object is changed.
    """
    from rayctl.cli.objects.files import manifests

    documents = manifests(files)
    _check_namespaces(kube, documents)
    if change.only_client:
        for document in documents:
            say(f"{document['kind'].lower()}/{clean(document['metadata']['name'])} read{change.suffix}")
        return
    done: list[tuple[Served, Document]] = []
    failures: list[RayctlError] = []
    for document in documents:
        label = f"{document['kind'].lower()}/{document['metadata']['name']}"
        try:
            served, result, word = apply_document(kube, document, change, force_conflicts)
        except RayctlError as error:
            failures.append(_told(kube, error, label))
            continue
        done.append((served, result))
        if kube.settings.for_people:
            say(f"{served.label}/{clean(result['metadata']['name'])} {word}{change.suffix}")
        elif kube.settings.output == "name":
            say(f"{served.label}/{clean(result['metadata']['name'])}")
    _documents(kube, [result for _, result in done])
    fail_with(failures)
    if change.waits:
        from rayctl.cli.objects.waiting import wait_ready

        for served, result in done:
            metadata = result["metadata"]
            wait_ready(kube, served.resource, metadata["name"], change, metadata.get("namespace"), rolled_out=True)


def _check_namespaces(kube: Kube, documents: list[Document]) -> None:
    source = click.get_current_context().get_parameter_source("namespace")
    if source is not ParameterSource.COMMANDLINE:
        return
    for document in documents:
        own = document["metadata"].get("namespace")
        if own and own != kube.namespace:
            raise InvalidRequest(
                f"{document['kind']} {document['metadata']['name']} is of namespace {own}, not {kube.namespace}.",
                code="other-namespace",
                hint="Leave -n away, or the namespace out of the file.",
            )


def apply_document(kube: Kube, document: Document, change: Change, force: bool) -> tuple[Served, Document, str]:
    """Apply one document; return its kind, the result, and ``created``, ``configured`` or ``unchanged``.

    Raises:
        KubernetesError, NotFound: It was refused; the kind is not there.
    """
    served = kube.kinds.of(str(document["apiVersion"]), str(document["kind"]))
    metadata = document["metadata"]
    if served.resource.namespaced and not metadata.get("namespace"):
        document = {**document, "metadata": {**metadata, "namespace": kube.namespace}}
    before = kube.find(served.resource, metadata["name"], metadata.get("namespace"))
    try:
        result = kube.apply(document, change, force)
    except WriteConflict as error:
        if force or not _only_ours(error):
            raise
        # What `rayctl scale` or `suspend` has set before: the newer word of the same person counts.
        result = kube.apply(document, change, force=True)
    if before is None:
        word = "created"
    else:
        word = "unchanged" if _without_marks(before) == _without_marks(result) else "configured"
    if served.resource.kind == "CustomResourceDefinition" and change.dry_run == "none":
        established(kube, served, metadata["name"])
    return served, result, word


def _only_ours(error: WriteConflict) -> bool:
    owned = conflicts(error)
    return bool(owned) and all(owner.split(" ")[0] == MANAGER for _, owner in owned)


def _without_marks(document: Document) -> Document:
    metadata = {
        name: value
        for name, value in document["metadata"].items()
        if name not in ("managedFields", "resourceVersion", "generation")
    }
    return {**document, "metadata": metadata, "status": None}


def established(kube: Kube, served: Served, name: str) -> None:
    """Wait until a kind that was just defined is served, and forget what the server had before.

    Raises:
        DeadlineExceeded: It is not served.
    """
    from rayctl.cli.objects.waiting import wait_until
    from rayctl.views.readiness import condition_holds

    def done(document: Document) -> bool:
        return condition_holds(document, "Established")

    wait_until(kube.quiet(), served.resource, name, done, lambda _: "", "served", Change(timeout_s=_ESTABLISH_S))
    kube.forget_kinds()


def _told(kube: Kube, error: RayctlError, label: str) -> RayctlError:
    """Return the error with who owns what, if it is a conflict of fields."""
    if isinstance(error, WriteConflict):
        owned = conflicts(error)
        if owned:
            error.message = f"{label}: others own fields that differ here."
            error.errors = tuple({"pointer": field, "message": f"owned by {owner}"} for field, owner in owned)
            error.hint = "Leave these fields out of the file, or take them over with --force-conflicts."
            if len(owned) == 1:
                error.message = f"{label}: {owned[0][0]} is owned by {owned[0][1]} and differs here."
    elif label.partition("/")[2] not in error.message:
        error.message = f"{label}: {error.message}"
    if isinstance(error, KubernetesError):
        error = explained(error, kube.connection.target)
    return error


def _documents(kube: Kube, results: list[Document]) -> None:
    if kube.settings.output not in ("json", "yaml") or not results:
        return
    from rayctl.cli.objects.get import bare

    found = [bare(result) for result in results]
    emit_document(kube.settings, found[0] if len(found) == 1 else {"apiVersion": "v1", "kind": "List", "items": found})
