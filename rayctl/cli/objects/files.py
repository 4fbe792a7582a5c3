"""Manifests from files, folders and standard input, as documents in the order in which they should be applied."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from rayctl.errors import InvalidRequest

__all__ = ["manifests", "parse"]

_ENDINGS = (".yaml", ".yml", ".json")
_LARGEST = 32 * 1024 * 1024
_FIRST = ("Namespace", "CustomResourceDefinition", "ServiceAccount", "Role", "ClusterRole", "ConfigMap", "Secret")
"""Kinds that others need; the rest keeps its order."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def manifests(names: Iterable[str]) -> list[dict[str, Any]]:
    """Return the documents of files, of folders (their YAML and JSON files, by name) and of ``-``.

    Raises:
        InvalidRequest: One cannot be read, or is no Kubernetes object; or there is none at all.
    """
    found = [document for name in names for document in _read(name)]
    if not found:
        raise InvalidRequest("There is no object in what -f names.", hint="Name a file, a folder of YAML files, or -.")
    order = {kind: number for number, kind in enumerate(_FIRST)}
    return sorted(found, key=lambda document: order.get(document["kind"], len(order)))


def _read(name: str) -> Iterator[dict[str, Any]]:
    if name == "-":
        yield from parse(sys.stdin.read(_LARGEST + 1), "standard input")
        return
    path = Path(name).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in _ENDINGS and file.is_file())
        if not files:
            raise InvalidRequest(f"The folder {path} has no YAML or JSON file.")
    else:
        files = [path]
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise InvalidRequest(f"{file} cannot be read: {reason}.", code="file-unreadable") from error
        yield from parse(text, str(file))


def parse(text: str, source: str) -> Iterator[dict[str, Any]]:
    """Yield the objects in a text of YAML or JSON documents; lists are taken apart.

    Raises:
        InvalidRequest: It is something else.
    """
    if len(text) > _LARGEST:
        raise InvalidRequest(f"{source} is larger than {_LARGEST >> 20} MiB.", code="file-too-large")
    try:
        for number, document in enumerate(yaml.load_all(text, Loader=_LOADER), 1):
            if document is not None:
                yield from _checked(document, f"{source}, document {number}")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        what = getattr(error, "problem", None) or "it is not YAML"
        raise InvalidRequest(f"{source}{where}: {what}.", code="not-yaml") from error
    except RecursionError as error:
        raise InvalidRequest(f"{source} is nested too deeply.", code="not-yaml") from error


def _checked(document: Any, source: str) -> Iterator[dict[str, Any]]:
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str) or not document.get("apiVersion"):
        raise InvalidRequest(
            f"{source} is no Kubernetes object: it needs apiVersion, kind and metadata.name.", code="not-an-object"
        )
    if document["kind"].endswith("List") and isinstance(document.get("items"), list):
        for number, item in enumerate(document["items"], 1):
            yield from _checked(item, f"{source}, item {number}")
        return
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not name:
        hint = "A name that the server makes up (generateName) cannot be applied twice; give a name."
        raise InvalidRequest(f"{source} ({document['kind']}) has no metadata.name.", code="no-name", hint=hint)
    yield document
