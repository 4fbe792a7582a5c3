"""Label selectors, as the Kubernetes API defines them: ``matchLabels`` and ``matchExpressions``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Requirement", "Selector", "parse_selector"]

_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "", "DoesNotExist": "!"}


@dataclass(frozen=True)
class Requirement:
    """One expression: a key, an operator (In, NotIn, Exists, DoesNotExist) and its values."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it. A label that is missing is not in any list."""
        if self.operator == "In":
            return labels.get(self.key) in self.values
        if self.operator == "NotIn":
            return labels.get(self.key) not in self.values
        return (self.key in labels) == (self.operator == "Exists")

    def __str__(self) -> str:
        if self.operator in ("Exists", "DoesNotExist"):
            return f"{_OPERATORS[self.operator]}{self.key}"
        return f"{self.key} {_OPERATORS[self.operator]} ({','.join(self.values)})"


@dataclass(frozen=True)
class Selector:
    """All requirements must hold. An empty one would select everything: check `empty` before using it."""

    labels: tuple[tuple[str, str], ...] = ()
    expressions: tuple[Requirement, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether it has no requirement."""
        return not self.labels and not self.expressions

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        """Whether labels are selected."""
        found = labels or {}
        return all(found.get(key) == value for key, value in self.labels) and all(
            requirement.holds(found) for requirement in self.expressions
        )

    def without(self, key: str) -> Selector:
        """Return it without its wish for one label."""
        return Selector(tuple(pair for pair in self.labels if pair[0] != key), self.expressions)

    def __str__(self) -> str:
        """As in the API's query parameter ``labelSelector``."""
        return ",".join([*(f"{key}={value}" for key, value in self.labels), *map(str, self.expressions)])


def parse_selector(document: Mapping[str, Any] | None) -> Selector:
    """Read a selector; None is an empty one.

    Raises:
        ValueError: An expression is not one.
    """
    found = document or {}
    labels = tuple(sorted((str(key), str(value)) for key, value in (found.get("matchLabels") or {}).items()))
    return Selector(labels, tuple(_requirement(item) for item in found.get("matchExpressions") or ()))


def _requirement(item: Any) -> Requirement:
    if not isinstance(item, Mapping) or not item.get("key"):
        raise ValueError("an expression of the selector has no key")
    operator, values = item.get("operator"), tuple(map(str, item.get("values") or ()))
    if operator not in _OPERATORS:
        raise ValueError(f"the selector's operator is {operator!r}, not one of {', '.join(_OPERATORS)}")
    if (operator in ("In", "NotIn")) != bool(values):
        raise ValueError(f"the selector's operator {operator} needs {'' if not values else 'no '}values")
    return Requirement(str(item["key"]), operator, tuple(sorted(values)))
