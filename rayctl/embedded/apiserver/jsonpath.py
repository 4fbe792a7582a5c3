"""The JSON paths of printer columns and selectable fields: ``.a.b``, ``[0]``, ``["a.b"]``, ``[?(@.x=="y")]``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["JsonPath"]

_PART = re.compile(
    r"""\.(?P<name>[A-Za-z0-9_$\-/](?:[A-Za-z0-9_$\-/]|\\\.)*)
    |\.(?P<star>\*)
    |\[(?P<index>-?\d+|\*)\]
    |\[(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\]
    |\[\?\(\s*@(?P<inner>[^=!<>]+?)\s*(?:(?P<operator>==|!=|<=|>=|<|>)\s*(?P<value>.*?))?\s*\)\]""",
    re.VERBOSE,
)
_Step = Callable[[Any], Iterable[Any]]


@dataclass(frozen=True)
class JsonPath:
    """A path that has been read."""

    steps: tuple[_Step, ...]

    @staticmethod
    def parse(text: str) -> JsonPath:
        """Read a path.

        Raises:
            ValueError: It cannot be read.
        """
        text = text.strip().strip("{}")
        at = 0
        steps: list[_Step] = []
        if text in ("", "."):
            return JsonPath(())
        while at < len(text):
            found = _PART.match(text, at)
            if found is None:
                raise ValueError(f"cannot read the JSON path {text!r} at {at}")
            steps.append(_step(found))
            at = found.end()
        return JsonPath(tuple(steps))

    def find(self, document: Any) -> list[Any]:
        """Return everything that the path leads to."""
        found = [document]
        for step in self.steps:
            found = [inner for value in found for inner in step(value)]
        return found


def _step(found: re.Match[str]) -> _Step:
    name = found["name"] if found["name"] is not None else found["quoted"]
    if name is not None:
        key = name.replace("\\.", ".")
        return lambda value: [value[key]] if isinstance(value, dict) and key in value else []
    if found["star"] or found["index"] == "*":
        return lambda value: value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    if found["index"] is not None:
        at = int(found["index"])
        return lambda value: [value[at]] if isinstance(value, list) and -len(value) <= at < len(value) else []
    inner, operator = JsonPath.parse(found["inner"]), found["operator"]
    wanted = _literal(found["value"])

    def choose(value: Any) -> Iterable[Any]:
        items = value if isinstance(value, list) else value.values() if isinstance(value, dict) else []
        return [item for item in items if _holds(inner.find(item), operator, wanted)]

    return choose


def _literal(text: str | None) -> Any:
    if text is None:
        return None
    if len(text) >= 2 and text[0] in "'\"" and text[-1] == text[0]:
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _holds(found: list[Any], operator: str | None, wanted: Any) -> bool:
    if not found:
        return False
    if operator is None:
        return True
    value = found[0]
    if operator == "==":
        return bool(value == wanted)
    if operator == "!=":
        return bool(value != wanted)
    try:
        return bool({"<": value < wanted, ">": value > wanted, "<=": value <= wanted, ">=": value >= wanted}[operator])
    except TypeError:
        return False
