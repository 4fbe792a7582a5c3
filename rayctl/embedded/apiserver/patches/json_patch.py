"""JSON patch (RFC 6902), with the deviations that kube-apiserver's implementation has.

``replace`` of a map's key that is not there adds it, and a copy or an addition may not go below what is not there.
"""

from __future__ import annotations

from typing import Any

from rayctl.embedded.apiserver.documents import copied

__all__ = ["MAX_OPERATIONS", "PatchFailed", "json_patch"]

MAX_OPERATIONS = 10_000
MAX_COPIED = 3_145_728
"""Bytes that all copies of a patch may make together, about: each could double the document."""


class PatchFailed(Exception):
    """An operation that could not be done."""


def json_patch(document: Any, operations: list[Any]) -> Any:
    """Return the patched document; neither argument is changed.

    Raises:
        PatchFailed: A failed test, a missing path, an unknown operation.
    """
    found, left = copied(document), MAX_COPIED
    for operation in operations:
        if isinstance(operation, dict) and operation.get("op") == "copy":
            left = _left(_find(found, _split(operation.get("from"))), left)
        found = _perform(found, operation)
    return found


def _left(value: Any, left: int) -> int:
    """Return how much may be copied after this value.

    Raises:
        PatchFailed: It is more than what is left.
    """
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            left -= sum(map(len, item))
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        left -= len(item) if isinstance(item, str) else 8
        if left < 0:
            raise PatchFailed(f"the copies have more than {MAX_COPIED} bytes")
    return left


def _perform(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict):
        raise PatchFailed("an operation is not an object")
    kind, path = operation.get("op"), _split(operation.get("path"))
    if kind == "add":
        return _add(document, path, copied(operation.get("value")))
    if kind == "remove":
        return _remove(document, path)[0]
    if kind == "replace":
        return _replace(document, path, copied(operation.get("value")))
    if kind == "test":
        if not _same(_find(document, path, missing=None), operation.get("value")):
            raise PatchFailed(f"test of {operation['path']} failed")
        return document
    if kind == "copy":
        return _add(document, path, copied(_find(document, _split(operation.get("from")))))
    if kind == "move":
        document, value = _remove(document, _split(operation.get("from")))
        return _add(document, path, value)
    raise PatchFailed(f"unknown operation {kind!r}")


def _split(path: Any) -> list[str]:
    if not isinstance(path, str) or (path and not path.startswith("/")):
        raise PatchFailed(f"bad path {path!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


_RAISE: Any = object()


def _find(document: Any, path: list[str], missing: Any = _RAISE) -> Any:
    for index, part in enumerate(path):
        try:
            document = document[part] if isinstance(document, dict) else document[_index(document, part)]
        except (KeyError, IndexError, TypeError):
            if missing is not _RAISE and index == len(path) - 1 and isinstance(document, dict):
                return missing
            raise PatchFailed(f"missing path {path}") from None
    return document


def _index(items: Any, part: str, room: int = 0) -> int:
    if not isinstance(items, list) or not part.lstrip("-").isdigit():
        raise PatchFailed(f"bad index {part!r}")
    at = int(part)
    if part.startswith("-"):
        at += len(items)
    if not 0 <= at < len(items) + room:
        raise PatchFailed(f"index {part} is out of range")
    return at


def _parent(document: Any, path: list[str]) -> Any:
    found = _find(document, path[:-1])
    if not isinstance(found, (dict, list)):
        raise PatchFailed(f"missing path {path}")
    return found


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _parent(document, path)
    if isinstance(parent, dict):
        parent[path[-1]] = value
    elif path[-1] == "-":
        parent.append(value)
    else:
        parent.insert(_index(parent, path[-1], 1), value)
    return document


def _remove(document: Any, path: list[str]) -> tuple[Any, Any]:
    if not path:
        raise PatchFailed("the whole document cannot be removed")
    parent = _parent(document, path)
    if isinstance(parent, dict):
        if path[-1] not in parent:
            raise PatchFailed(f"missing path {path}")
        return document, parent.pop(path[-1])
    return document, parent.pop(_index(parent, path[-1]))


def _replace(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _parent(document, path)
    if isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        parent[_index(parent, path[-1])] = value
    return document


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(_same(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)
