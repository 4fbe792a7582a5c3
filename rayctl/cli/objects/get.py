"""``rayctl get``: objects as tables that the server makes, or as the API's own documents."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from rayctl.cli.kubernetes import Kube, kubernetes_command
from rayctl.cli.output import clean, emit_document, emit_table, say
from rayctl.errors import InvalidRequest

if TYPE_CHECKING:
    from rayctl.client.kube.discovery import Served
    from rayctl.client.kube.following import Seen, Selection

__all__ = ["bare", "get"]

_EXAMPLES = """\b
Examples:
  rayctl get rc                      the Ray clusters of the namespace
  rayctl get rcf/embed -o yaml       one fleet, as the API has it
  rayctl get po -A -l ray.io/cluster=demo -o wide
  rayctl get rc -w                   and then every change
  rayctl get kinds                   what the server has
"""


@click.command(epilog=_EXAMPLES)
@click.argument("what", metavar="KIND[/NAME]")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("-l", "--selector", default="", metavar="LABELS", help="Only with these labels: a=b,c!=d,e.")
@click.option("--field-selector", "fields", default="", metavar="FIELDS", help="Only with these fields.")
@click.option("-w", "--watch", is_flag=True, help="Go on and show every change, until Ctrl-C or --timeout.")
@kubernetes_command(all_namespaces=True)
def get(kube: Kube, what: str, names: tuple[str, ...], selector: str, fields: str, watch: bool) -> None:
    """Show objects. KIND is a kind, plural or short name (rc, rcf, po …), several with commas, or `kinds`."""
    if what == "kinds" and not names:
        _kinds(kube)
        return
    groups = _asked(kube, what, names)
    if selector and any(group[1] for group in groups):
        raise InvalidRequest("Names and a selector exclude each other.", hint="Leave one of them away.")
    if watch:
        if len(groups) != 1:
            raise InvalidRequest("Only one kind at a time can be watched.", hint="Watch them in several terminals.")
        served, chosen = groups[0]
        if len(chosen) > 1:
            raise InvalidRequest("Only one name at a time can be watched.", hint="Use a selector: -l.")
        _watch(kube, served, _selection(kube, served, chosen[0] if chosen else "", selector, fields))
    elif kube.settings.for_people:
        _tables(kube, groups, selector, fields)
    else:
        _documents(kube, groups, selector, fields)


def _asked(kube: Kube, what: str, names: tuple[str, ...]) -> list[tuple[Served, list[str]]]:
    """Return kinds with the names that were asked for (none: all)."""
    found: list[tuple[Served, list[str]]] = []
    if "/" in what:
        for word in (what, *names):
            named = kube.target(word)
            for served, chosen in found:
                if served == named.served:
                    chosen.append(named.name)
                    break
            else:
                found.append((named.served, [named.name]))
        return found
    for word in what.split(","):
        category = kube.kinds.in_category(word)
        found += [(served, list(names)) for served in category] if category else [(kube.kinds.find(word), list(names))]
    if names and len(found) > 1:
        raise InvalidRequest("Names go with one kind only.", hint="Write KIND/NAME KIND/NAME.")
    return found


def _selection(kube: Kube, served: Served, name: str, labels: str, fields: str) -> Selection:
    from rayctl.client.kube.following import Selection

    if name and kube.all_namespaces and served.resource.namespaced:
        raise InvalidRequest("One object has one namespace: -A and a name exclude each other.", hint="Use -n.")
    scope = kube.scope if served.resource.namespaced else ""
    return Selection(served.resource, scope, name, labels, fields)


def _tables(kube: Kube, groups: list[tuple[Served, list[str]]], labels: str, fields: str) -> None:
    from rayctl.client.kube.connection import TABLE
    from rayctl.client.kube.following import table_of
    from rayctl.kube.calls import Call
    from rayctl.views.tables import Row, shown

    printed = 0
    for served, names in groups:
        columns: list[dict[str, Any]] = []
        rows: list[Row] = []
        if names:
            for name in names:
                _selection(kube, served, name, labels, fields)
                table = kube.connection.request(Call.get(kube.path(served.resource, name)), TABLE)
                columns = table["columnDefinitions"]
                rows += [_row(row["object"], row["cells"]) for row in table["rows"]]
        else:
            for seen in table_of(kube.connection, _selection(kube, served, "", labels, fields)):
                columns = list(seen.columns)
                rows.append(_row(seen.object, seen.cells))
        if not rows:
            continue
        if printed:
            say("")
        prefix = f"{served.label}/" if len(groups) > 1 else ""
        namespaces = kube.all_namespaces and served.resource.namespaced
        emit_table(kube.settings, *shown(columns, rows, kube.settings.output == "wide", namespaces, prefix))
        printed += 1
    if not printed:
        what = ", ".join(served.resource.plural for served, _ in groups)
        where = f" in namespace {kube.scope}" if kube.scope and groups[0][0].resource.namespaced else ""
        kube.settings.note(f"No {what}{where}.")


def _row(document: Any, cells: Any) -> Any:
    from rayctl.views.tables import Row

    metadata = document["metadata"]
    return Row(metadata.get("namespace", ""), metadata["name"], tuple(cells))


def _documents(kube: Kube, groups: list[tuple[Served, list[str]]], labels: str, fields: str) -> None:
    from rayctl.client.kube.following import list_all

    found: list[dict[str, Any]] = []
    labelled: list[str] = []
    for served, names in groups:
        if names:
            for name in names:
                _selection(kube, served, name, labels, fields)
                found.append(kube.get(served.resource, name))
        else:
            found += list_all(kube.connection, _selection(kube, served, "", labels, fields))[0]
        labelled += [f"{served.label}/{item['metadata']['name']}" for item in found[len(labelled) :]]
    if kube.settings.output == "name":
        for label in labelled:
            say(clean(label))
        return
    documents = [bare(item) for item in found]
    single = sum(len(names) for _, names in groups) == 1
    listed = {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": documents}
    emit_document(kube.settings, documents[0] if single else listed)


def bare(document: dict[str, Any]) -> dict[str, Any]:
    """Return an object without ``managedFields``, which nobody wants to read."""
    metadata = {name: value for name, value in document["metadata"].items() if name != "managedFields"}
    return {**document, "metadata": metadata}


def _watch(kube: Kube, served: Served, selection: Selection) -> None:
    import time

    from rayctl.client.kube.connection import JSON, TABLE

    settings = kube.settings
    deadline = time.monotonic() + settings.timeout_s if settings.timeout_s else None
    accept = TABLE if settings.for_people else JSON
    from rayctl.client.kube.following import follow

    seen = follow(kube.connection, selection, deadline, accept)
    if not settings.for_people:
        for item in seen:
            if item.change != "SYNCED":
                name = f"{served.label}/{item.object['metadata']['name']}"
                say(clean(name)) if settings.output == "name" else emit_document(settings, bare(item.object))
    elif settings.is_terminal(sys.stdout):
        _rows_as_they_come(kube, seen)
    else:
        _lines(kube, served, seen)


def _rows_as_they_come(kube: Kube, items: Iterator[Seen]) -> None:
    """What is there first, as one table; then a row for every change, in columns that only ever grow."""
    from rayctl.views.tables import shown

    waiting: list[tuple[list[str], str]] | None = []
    widths: list[int] = []
    for seen in items:
        if seen.columns and seen.change != "SYNCED":
            row = _row(seen.object, seen.cells)
            titles, rows = shown(seen.columns, [row], kube.settings.output == "wide", kube.all_namespaces)
            texts = [clean(text) for text in rows[0]]
            widths = widths or [len(title) for title in titles]
            widths = [max(width, len(text)) for width, text in zip(widths, texts, strict=True)]
            mark = "   deleted" if seen.change == "DELETED" else ""
            if waiting is None:
                say(_padded(texts, widths) + mark)
                continue
            waiting.append((texts, mark))
        if waiting and seen.change != "ADDED":
            say(click.style(_padded(titles, widths), bold=True))
            for texts, mark in waiting:
                say(_padded(texts, widths) + mark)
            waiting = None


def _padded(texts: list[str], widths: list[int]) -> str:
    return "   ".join(text.ljust(width) for text, width in zip(texts, widths, strict=True)).rstrip()


def _lines(kube: Kube, served: Served, items: Iterator[Seen]) -> None:
    """One line with a time per change of what the table shows; nothing for changes that it does not show."""
    from rayctl.views.tables import changed_cells

    last: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for seen in items:
        if seen.change == "SYNCED":
            continue
        metadata = seen.object["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        cells = changed_cells(seen.columns, seen.cells, kube.settings.output == "wide")
        if seen.change == "MODIFIED" and last.get(key) == cells:
            continue
        last[key] = cells
        where = f" namespace={key[0]}" if kube.all_namespaces and key[0] else ""
        values = "".join(f" {word}={_quoted(text)}" for word, text in cells)
        say(f"{_now()} {served.label}/{key[1]}{where} event={seen.change.capitalize()}{values}")


def _quoted(text: str) -> str:
    text = clean(text)
    return f'"{text}"' if " " in text or not text else text


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _kinds(kube: Kube) -> None:
    kinds = [served for served in kube.kinds.served if "list" in served.verbs]
    if not kube.settings.for_people:
        if kube.settings.output == "name":
            for served in kinds:
                say(served.label)
            return
        emit_document(
            kube.settings,
            [
                {
                    "name": served.resource.plural,
                    "shortNames": list(served.short_names),
                    "apiVersion": served.resource.api_version,
                    "namespaced": served.resource.namespaced,
                    "kind": served.resource.kind,
                    "verbs": sorted(served.verbs),
                    "categories": list(served.categories),
                }
                for served in kinds
            ],
        )
        return
    titles = ["NAME", "SHORT", "API VERSION", "NAMESPACED", "KIND"]
    wide = kube.settings.output == "wide"
    rows = []
    for served in kinds:
        resource = served.resource
        row = [resource.plural, ",".join(served.short_names), resource.api_version]
        row += ["yes" if resource.namespaced else "no", resource.kind]
        rows.append([*row, ",".join(sorted(served.verbs)), ",".join(sorted(served.subresources))] if wide else row)
    emit_table(kube.settings, [*titles, "VERBS", "SUBRESOURCES"] if wide else titles, rows)
