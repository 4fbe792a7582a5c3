"""Tables that a server made (``meta.k8s.io Table``), as titles and rows of text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Row", "cell", "changed_cells", "shown"]

Definition = Mapping[str, Any]
_MOVING = ("age", "last seen", "duration")
"""Columns that change by themselves: no news."""


@dataclass(frozen=True)
class Row:
    """An object's cells; ``namespace`` is empty for kinds without."""

    namespace: str
    name: str
    cells: tuple[Any, ...]


def cell(value: Any) -> str:
    """Return a cell's text."""
    if value is None:
        return "<none>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return json.dumps(value, separators=(",", ":"))
    return " ".join(str(value).split("\n"))


def shown(
    columns: Sequence[Definition], rows: Sequence[Row], wide: bool = False, namespaces: bool = False, prefix: str = ""
) -> tuple[list[str], list[list[str]]]:
    """Return titles and rows.

    Args:
        columns: The table's definitions.
        rows: Its rows.
        wide: Also the columns of lower priority.
        namespaces: With the namespace in front.
        prefix: Written before names: ``pod/``.
    """
    kept = _kept(columns, wide)
    titles = (["NAMESPACE"] if namespaces else []) + [str(columns[i]["name"]).upper() for i in kept]
    lines = []
    for row in rows:
        texts = [cell(row.cells[i]) if i < len(row.cells) else "" for i in kept]
        if prefix:
            texts = [
                prefix + text if columns[i].get("format") == "name" else text
                for i, text in zip(kept, texts, strict=True)
            ]
        lines.append(([row.namespace] if namespaces else []) + texts)
    return titles, lines


def _kept(columns: Sequence[Definition], wide: bool) -> list[int]:
    return [i for i, column in enumerate(columns) if wide or not column.get("priority")]


def changed_cells(columns: Sequence[Definition], cells: Sequence[Any], wide: bool = False) -> list[tuple[str, str]]:
    """Return what a line about a change says: ``(word, value)`` of each column but the name and what only ages."""
    found = []
    for i in _kept(columns, wide):
        name = str(columns[i]["name"])
        if columns[i].get("format") == "name" or name.lower() in _MOVING or i >= len(cells):
            continue
        found.append((name.lower().replace(" ", "-"), cell(cells[i])))
    return found
