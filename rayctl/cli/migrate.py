"""The group ``rayctl migrate``: old manifests and objects to what replaces them."""

from __future__ import annotations

import difflib
import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.lazy import LazyGroup
from rayctl.cli.output import clean, emit_document, say
from rayctl.errors import InvalidRequest

__all__ = ["gcs_ft", "migrate"]

CHANGES = 10
COMMANDS = {
    "gcs-ft": ("rayctl.cli.migrate:gcs_ft", "Fault tolerance of Ray's GCS: from the annotation to the options.")
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def migrate() -> None:
    """Bring old manifests and objects to what replaces them."""


@click.command("gcs-ft")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--live", metavar="NAME", help="A RayCluster that runs, instead of a file.")
@click.option(
    "--write", is_flag=True, help="Change the file or the object; without it, only what would change is shown."
)
@click.option("--kubeconfig", metavar="FILE", envvar="RAYCTL_KUBECONFIG", help="How to reach the cluster.")
@click.option("--context", metavar="NAME", envvar="RAYCTL_CONTEXT", help="Context of the kubeconfig.")
@click.option("-n", "--namespace", metavar="NAME", envvar="RAYCTL_NAMESPACE", help="Namespace.")
@global_options()
@pass_settings
def gcs_ft(settings: Settings, file: Path | None, live: str | None, write: bool, **where: Any) -> None:
    """Rewrite the annotation ray.io/ft-enabled, and what belongs to it, as gcsFaultToleranceOptions.

    The difference is shown; with --write the file (comments and order stay) or the object (in one update) is changed.

    Exit codes: 0 done or nothing to do, 2 refused, 10 there is something to change and --write was not given.
    """
    if (file is None) == (live is None):
        raise click.UsageError("Name a file, or an object with --live.")
    if file is not None:
        text, new, found = _file(file)
        difference = _difference(str(file), text, new)
        _tell(settings, found, difference)
        if write and difference:
            file.write_text(new, encoding="utf-8")
    else:
        assert live is not None
        difference = _object(settings, live, write, where)
    if difference and not write:
        click.get_current_context().exit(CHANGES)


def _file(path: Path) -> tuple[str, str, list[Any]]:
    """Return a file's text before and after, and what became of its documents."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from rayctl.cluster.gcs_ft.migrate import migrate as rewrite

    text = path.read_text(encoding="utf-8")
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=_sequence_indent(text), offset=_sequence_indent(text) - 2)
    try:
        documents = list(yaml.load_all(text))
    except YAMLError as error:
        raise InvalidRequest(f"{path} is not YAML: {error}", code="not-yaml") from error
    found = [rewrite(document) for document in documents if isinstance(document, dict)]
    if not any(one.done for one in found):
        return text, text, found
    out = io.StringIO()
    yaml.dump_all(documents, out)
    return text, out.getvalue(), found


def _sequence_indent(text: str) -> int:
    """Return how the file indents lists: 2 (``- a`` under its key) or 4."""
    lines = text.splitlines()
    for line, after in pairwise(lines):
        stripped = after.lstrip()
        if line.rstrip().endswith(":") and stripped.startswith("- "):
            return 2 if len(after) - len(stripped) == len(line) - len(line.lstrip()) else 4
    return 2


def _object(settings: Settings, name: str, write: bool, where: dict[str, Any]) -> list[str]:
    from rayctl.cli.kubernetes import MANAGER, opened
    from rayctl.cluster.gcs_ft.migrate import migrate as rewrite
    from rayctl.kube.calls import Call

    with opened(settings, where) as kube:
        named = kube.target(name, default="raycluster")
        before = kube.get(named.served.resource, named.name)
        after = _copy(before)
        found = rewrite(after, live=True)
        difference = _difference(named.label, _shown(before), _shown(after))
        _tell(settings, [found], difference)
        if write and difference:
            # Whole and with its resourceVersion: every state in between would be refused, and would freeze it.
            path = kube.path(named.served.resource, named.name)
            kube.request(Call("PUT", path, body=after).asking(fieldManager=MANAGER))
            if settings.for_people:
                say(f"{clean(named.label)} migrated")
    return difference


def _copy(document: dict[str, Any]) -> dict[str, Any]:
    import copy

    return copy.deepcopy(document)


def _shown(document: dict[str, Any]) -> str:
    import yaml

    metadata = document["metadata"]
    shown = {"metadata": {name: metadata[name] for name in ("name", "annotations") if name in metadata}}
    return str(yaml.safe_dump({**shown, "spec": document["spec"]}, sort_keys=False))


def _difference(label: str, before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), label, f"{label} (migrated)", lineterm="")
    return list(lines)


def _tell(settings: Settings, found: list[Any], difference: list[str]) -> None:
    """Print what happens and why; refusals end the command."""
    if settings.for_people:
        for one in found:
            for text in one.notes:
                click.echo(f"note: {clean(one.name)}: {clean(text)}", err=True)
        for line in difference:
            say(clean(line))
        if not difference and not any(one.refused for one in found):
            say("Nothing to migrate.")
    elif settings.output != "name":
        answers = [{"object": one.name, "done": one.done, "notes": one.notes, "refused": one.refused} for one in found]
        emit_document(settings, {"documents": answers, "changes": bool(difference), "lines": difference})
    refused = [f"{one.name}: {text}" for one in found for text in one.refused]
    if refused:
        raise InvalidRequest(
            "This cannot be migrated safely.",
            code="migration-refused",
            hint=refused[0] if len(refused) == 1 else "Nothing was changed.",
            errors=[{"pointer": one.name, "message": text} for one in found for text in one.refused],
        )
