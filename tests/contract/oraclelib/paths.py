"""Paths into JSON documents, as written in scenario files.

A path is keys joined by dots. After a key, brackets select inside it:

    metadata.name                          a key of a key
    metadata.labels["app.kubernetes.io/x"] a key that has dots
    spec.containers[0].image               an element by index
    status.conditions[type=Ready].status   the first element whose field has that value
    spec.containers[*].image               every element: the result is a list
"""

import re

ABSENT = "<absent>"

_TOKEN = re.compile(r'\.?(?:([^.\[\]]+)|\["([^"]*)"\]|\[(\*|-?\d+)\]|\[([\w.]+)=([^\]]*)\])')


def parse(path: str) -> list[tuple]:
    """Split a path into steps: ("key", k), ("index", i), ("all",) or ("where", field, value)."""
    steps, position = [], 0
    while position < len(path):
        match = _TOKEN.match(path, position)
        if not match:
            raise ValueError(f"cannot read path {path!r} at character {position}")
        key, quoted, index, field, value = match.groups()
        if key is not None or quoted is not None:
            steps.append(("key", key if key is not None else quoted))
        elif index == "*":
            steps.append(("all",))
        elif index is not None:
            steps.append(("index", int(index)))
        else:
            steps.append(("where", field, value))
        position = match.end()
    return steps


def lookup(document, path: str):
    """Return the value at `path`, or ABSENT."""
    return _follow(document, parse(path))


def _follow(node, steps):
    for number, step in enumerate(steps):
        if step[0] == "key":
            if not isinstance(node, dict) or step[1] not in node:
                return ABSENT
            node = node[step[1]]
        elif not isinstance(node, list):
            return ABSENT
        elif step[0] == "index":
            if not -len(node) <= step[1] < len(node):
                return ABSENT
            node = node[step[1]]
        elif step[0] == "all":
            return [_follow(element, steps[number + 1 :]) for element in node]
        else:
            found = [element for element in node if str(lookup(element, step[1])) == step[2]]
            if not found:
                return ABSENT
            node = found[0]
    return node


def drop(document, path: str) -> None:
    """Remove what `path` points at, in place; nothing happens where it does not exist."""
    *parents, last = parse(path)
    holders = [document]
    for step in parents:
        following = []
        for holder in holders:
            value = holder if step[0] == "all" else _follow(holder, [step])
            following += value if step[0] == "all" and isinstance(value, list) else [value]
        holders = following
    for holder in holders:
        if isinstance(holder, dict) and last[0] == "key":
            holder.pop(last[1], None)
