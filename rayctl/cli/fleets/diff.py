"""``rayctl diff``: what applying a file would change, as the server would store it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from rayctl.cli.fleets.found import read_documents
from rayctl.cli.kubernetes import Change, Kube, kubernetes_command
from rayctl.cli.output import clean, emit_document, say

__all__ = ["diff"]

CHANGES = 10
_NOISE = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid")


@click.command()
@click.option("-f", "--file", "path", type=click.Path(path_type=Path), required=True, help="Manifests; - is stdin.")
@kubernetes_command()
def diff(kube: Kube, path: Path) -> None:
    """Show what `rayctl apply` of a file would change. Writes nothing: the server is asked with dryRun.

    Exit codes: 0 no difference, 10 there are differences.
    """
    answers: list[dict[str, Any]] = []
    for document in read_documents(path):
        metadata = document["metadata"]
        namespace = metadata.get("namespace")
        resource = kube.kinds.of(str(document["apiVersion"]), str(document["kind"])).resource
        live = kube.find(resource, metadata["name"], namespace)
        wanted = kube.apply(document, Change(dry_run="server"), force=True)
        before, after = _plain(live), _plain(wanted)
        label = f"{document['kind'].lower()}/{metadata['name']}"
        answers.append(
            {
                "object": label,
                "exists": live is not None,
                "changes": before != after,
                "lines": _lines(label, before, after),
            }
        )
    if kube.settings.output == "name":
        for answer in answers:
            if answer["changes"]:
                say(str(answer["object"]))
    elif kube.settings.for_people:
        for answer in answers:
            for line in answer["lines"]:
                say(clean(line))
    else:
        emit_document(kube.settings, answers)
    click.get_current_context().exit(CHANGES if any(answer["changes"] for answer in answers) else 0)


def _plain(document: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a person wrote, without what the server keeps for itself."""
    if document is None:
        return {}
    metadata = {key: value for key, value in document["metadata"].items() if key not in _NOISE}
    return {**{key: value for key, value in document.items() if key != "status"}, "metadata": metadata}


def _lines(label: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    import yaml

    def text(value: Mapping[str, Any]) -> list[str]:
        return yaml.safe_dump(value, sort_keys=True, allow_unicode=True).splitlines() if value else []

    return list(difflib.unified_diff(text(before), text(after), f"{label} (live)", f"{label} (file)", lineterm=""))
