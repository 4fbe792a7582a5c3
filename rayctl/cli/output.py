"""How answers look: documents for programs, tables for people."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import click

from rayctl.cli.context import Settings
from rayctl.client.figures import number_text as number
from rayctl.clock import format_duration

__all__ = ["age", "clean", "duration_text", "emit", "emit_document", "emit_table", "json_text", "number", "say", "warn"]

Column = tuple[str, Callable[[Mapping[str, Any]], str]]
_C1 = re.compile("[\x7f-\x9f]")


def emit(
    settings: Settings,
    document: Any,
    *,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    wide: Sequence[Column] = (),
    name: Callable[[Mapping[str, Any]], str] | None = None,
    empty: str = "",
) -> None:
    """Print an answer in the form that ``-o`` asks for. ``document`` is the service's own JSON."""
    if settings.output in ("json", "yaml"):
        emit_document(settings, document)
    elif settings.output == "name":
        for row in rows:
            say(clean(name(row) if name else columns[0][1](row)))
    elif not rows:
        if empty:
            settings.note(empty)
    else:
        shown = [*columns, *(wide if settings.output == "wide" else ())]
        emit_table(settings, [title for title, _ in shown], [[value(row) for _, value in shown] for row in rows])


def emit_document(settings: Settings, document: Any) -> None:
    """Print JSON, or YAML where that was asked for."""
    if settings.output == "yaml":
        import yaml

        say(yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip("\n"))
    else:
        say(json_text(document, indent=2))


def json_text(document: Any, indent: int | None = None) -> str:
    """Return JSON that is safe on a terminal: what JSON leaves as it is of control characters is escaped as well."""
    return _C1.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(document, indent=indent, ensure_ascii=False))


def emit_table(settings: Settings, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns: as wide as they need to be, never cut, plain unless on a terminal."""
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max(_width(title), *(_width(row[i]) for row in cells)) for i, title in enumerate(titles)]
    right = [all(_is_number(row[i]) for row in cells) for i in range(len(titles))]
    head = _line(titles, widths, right)
    say(click.style(head, bold=True) if settings.is_terminal(sys.stdout) else head)
    for row in cells:
        say(_line(row, widths, right))


def say(text: str) -> None:
    """Print a line of the answer."""
    click.echo(text)


def warn(settings: Settings, warnings: Sequence[str], most: int = 8) -> None:
    """Say what the service warns of, on the error stream, unless ``-q``."""
    for text in warnings[:most]:
        settings.note(f"warning: {clean(text)}")
    if len(warnings) > most:
        settings.note(f"warning: there are {len(warnings) - most} more; see the report of the run.")


def clean(value: Any) -> str:
    """Return text that is safe on a terminal: what comes from models and data may hold control characters."""
    text = "–" if value is None else str(value)
    return "".join(char if char.isprintable() else " " for char in text)


def duration_text(seconds: float | None) -> str:
    """Return ``0.4ms``, ``350ms``, ``4.2s``, ``6m12s``, ``2h05m`` or ``3d04h``."""
    if seconds is None:
        return "–"
    if seconds < 0.01:
        return f"{seconds * 1000:.2g}ms" if seconds >= 0.0001 else f"{seconds * 1000:.1f}ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 10:
        return f"{seconds:.1f}s"
    return format_duration(round(seconds))


def age(at: str | None) -> str:
    """Return how long ago a time (ISO 8601) was, in one unit."""
    if not at:
        return "–"
    try:
        then = datetime.fromisoformat(at.replace("Z", "+00:00"))
    except ValueError:
        return clean(at)
    if then.tzinfo is None:
        then = then.replace(tzinfo=timezone.utc)
    passed = max(0.0, (datetime.now(timezone.utc) - then).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if passed >= size:
            return f"{passed // size:.0f}{unit}"
    return f"{passed:.0f}s"


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for wide letters, none for marks on others."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    gaps = [" " * (w - _width(c)) for c, w in zip(cells, widths, strict=True)]
    padded = (gap + c if r else c + gap for c, gap, r in zip(cells, gaps, right, strict=True))
    return "  ".join(padded).rstrip()


def _is_number(text: str) -> bool:
    plain = text.lstrip("-<").replace("e-", "")  # not dates, ranges and names such as 2030-01-02
    return text == "–" or (plain[:1].isdigit() and " " not in plain and "-" not in plain)
