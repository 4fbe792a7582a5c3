"""Texts of the command line that mean durations, sizes, pairs or whole documents."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

__all__ = ["byte_size", "document", "duration", "number_pairs", "pairs", "percentages"]

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)")
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?")
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def duration(text: str) -> float:
    """Return seconds. (Written again here because importing the models costs a quarter of a second.)"""
    compact = text.strip().lower().replace(" ", "")
    found = list(_PART.finditer(compact))
    total = sum(float(part.group(1)) * _SECONDS[part.group(2)] for part in found)
    if not found or "".join(part.group(0) for part in found) != compact or total <= 0:
        raise click.BadParameter(f"{text!r} is not a duration; write for example 90s, 10m or 1h30m.")
    return total


def byte_size(text: str) -> int:
    """Return bytes: ``2GiB`` or ``2Gi`` is 2·1024³, ``2GB`` or ``2G`` is 2·1000³."""
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None:
        raise click.BadParameter(f"{text!r} is not a size; write for example 512MiB or 2GiB.")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWER[unit])


def pairs(values: tuple[str, ...], what: str) -> dict[str, str]:
    """Return ``key=value`` texts as a mapping."""
    found: dict[str, str] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{what} {text!r} is not of the form key=value.")
        found[key] = value
    return found


def number_pairs(values: tuple[str, ...], what: str) -> dict[str, float]:
    """Return ``key=number`` texts as a mapping."""
    try:
        return {key: float(value) for key, value in pairs(values, what).items()}
    except ValueError:
        raise click.BadParameter(f"{what}: the value after = must be a number.") from None


def percentages(text: str, what: str) -> list[int]:
    """Return ``80,95`` as numbers between 1 and 99."""
    try:
        found = [int(part) for part in text.replace("%", "").split(",") if part.strip()]
    except ValueError:
        found = []
    if not found or not all(0 < level < 100 for level in found):
        raise click.BadParameter(f"{what}: write whole percentages such as 80,95.")
    return found


def document(text: str, what: str) -> Any:
    """Return a JSON text, or the contents of a YAML or JSON file."""
    source = text
    if not text.lstrip().startswith(("{", "[")):
        try:
            source = Path(text).expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not a text file"
            raise click.BadParameter(f"{what}: {text} cannot be read: {reason}.") from None
    try:
        return json.loads(source)
    except ValueError:
        import yaml

        try:
            return yaml.safe_load(source)
        except yaml.YAMLError as error:
            raise click.BadParameter(f"{what} is neither JSON nor YAML: {error}") from None
