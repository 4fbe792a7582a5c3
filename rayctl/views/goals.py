"""What can be waited for (``--for``), as a question to an object. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rayctl.core.conditions import parse_conditions
from rayctl.errors import InvalidRequest
from rayctl.views.readiness import condition_holds

__all__ = ["Goal", "parse_goal"]

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """``what`` is wanted, whether it is so (``done``), and how it is now (``says``)."""

    what: str
    done: Callable[[Document], bool]
    says: Callable[[Document], str]


def parse_goal(text: str) -> Goal:
    """Return the goal ``condition=TYPE[=STATUS]`` or ``jsonpath={.path}[=VALUE]``.

    Raises:
        InvalidRequest: It is neither.
    """
    word, _, rest = text.partition("=")
    if word == "condition" and rest:
        return _condition(*rest.partition("=")[::2])
    if word == "jsonpath" and rest.startswith("{") and "}" in rest:
        path, _, value = rest.partition("}")
        return _path(path + "}", value[1:] if value.startswith("=") else None)
    raise InvalidRequest(
        f"{text!r} cannot be waited for.",
        code="bad-goal",
        hint="Write --for=Ready, --for=condition=Ready, --for='jsonpath={.status.phase}=Running' or --for=delete.",
    )


def _condition(kind: str, status: str) -> Goal:
    wanted = status or "True"

    def says(document: Document) -> str:
        found = parse_conditions((document.get("status") or {}).get("conditions"))
        condition = {name.lower(): value for name, value in found.items()}.get(kind.lower())
        if condition is None:
            return f"has no condition {kind} yet"
        text = f"{condition.type}={condition.status} {condition.reason} {condition.message}".rstrip()
        return text if condition_holds(document, kind, condition.status) else f"{text} (of an older specification)"

    return Goal(f"{kind}={wanted}", lambda document: condition_holds(document, kind, wanted), says)


def _path(path: str, value: str | None) -> Goal:
    steps = _steps(path)

    def read(document: Document) -> str | None:
        found: Any = document
        for step in steps:
            try:
                found = found[step]
            except (KeyError, IndexError, TypeError):
                return None
        return None if found is None else str(found).lower() if isinstance(found, bool) else str(found)

    def done(document: Document) -> bool:
        return read(document) is not None if value is None else read(document) == value

    return Goal(f"{path}={value or 'anything'}", done, lambda document: f"{path} is {read(document) or 'not there'}")


def _steps(path: str) -> list[str | int]:
    found: list[str | int] = []
    for part in path.strip("{}").replace("[", ".[").split("."):
        if part.startswith("[") and part.endswith("]") and part[1:-1].isdigit():
            found.append(int(part[1:-1]))
        elif part.startswith("["):
            raise InvalidRequest(f"{path} is more than this reads.", hint="Names and numbers only: {.a.b[0]}.")
        elif part:
            found.append(part)
    return found
