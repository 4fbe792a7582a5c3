"""Label and field selectors: read once, then matched against many objects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rayctl.embedded.apiserver.errors import bad_request
from rayctl.embedded.apiserver.names import label_value, qualified_name

__all__ = ["FieldSelector", "LabelSelector", "Reader", "parse_fields", "parse_labels"]

MAX_TERMS = 100
_WORD = re.compile(r"\s*(==|!=|=|!|\(|\)|,|>|<|[^\s=!(),<>]+)")
Reader = Callable[[Mapping[str, Any]], str]
"""Object → the text that a field selector compares."""


@dataclass(frozen=True)
class _Term:
    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        if self.operator == "exists":
            return value is not None
        if self.operator == "absent":
            return value is None
        if self.operator == "in":
            return value is not None and value in self.values
        if self.operator == "notin":
            return value is None or value not in self.values
        if value is None or not re.fullmatch(r"[+-]?\d+", value):
            return False
        wanted = int(self.values[0])
        return int(value) > wanted if self.operator == ">" else int(value) < wanted


@dataclass(frozen=True)
class LabelSelector:
    """All terms must hold."""

    terms: tuple[_Term, ...] = ()

    def matches(self, document: Mapping[str, Any]) -> bool:
        """Whether an object is selected."""
        labels = document["metadata"].get("labels") or {}
        return all(term.matches(labels) for term in self.terms)


def parse_labels(text: str) -> LabelSelector:
    """Read a label selector.

    Raises:
        ApiError: 400, with what cannot be understood.
    """
    if not text.strip():
        return LabelSelector()
    if text.count(",") > MAX_TERMS * 10:
        raise bad_request(f"a label selector may have at most {MAX_TERMS} terms")
    try:
        terms = _Parser(text).terms()
    except ValueError as error:
        raise bad_request(f"unable to parse requirement: {error}") from None
    if len(terms) > MAX_TERMS:
        raise bad_request(f"a label selector may have at most {MAX_TERMS} terms")
    return LabelSelector(tuple(terms))


class _Parser:
    def __init__(self, text: str) -> None:
        self._words: list[str] = []
        at = 0
        stripped = text.rstrip()
        while at < len(stripped):
            found = _WORD.match(stripped, at)
            if found is None:
                raise ValueError(f"unexpected character at {at}")
            self._words.append(found[1])
            at = found.end()
        self._at = 0

    def _peek(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def _next(self) -> str:
        word = self._peek()
        self._at += 1
        return word

    def terms(self) -> list[_Term]:
        found = [self._term()]
        while self._peek():
            word = self._next()
            if word != ",":
                raise ValueError(f"found '{word}', expected: ',' or 'end of string'")
            found.append(self._term())
        return found

    def _term(self) -> _Term:
        negated = self._peek() == "!"
        if negated:
            self._next()
        key = self._next()
        if not key or key in ("=", "==", "!=", ",", "(", ")", ">", "<"):
            raise ValueError(f"found '{key}', expected: !, identifier, or 'end of string'")
        problems = qualified_name(key)
        if problems:
            raise ValueError(f'key: Invalid value: "{key}": {"; ".join(problems)}')
        if negated or self._peek() in ("", ","):
            return _Term(key, "absent" if negated else "exists")
        operator = self._next()
        if operator in ("in", "notin"):
            return _Term(key, operator, self._set(key))
        if operator in ("=", "==", "!="):
            value = "" if self._peek() in ("", ",") else self._next()
            self._check(key, value)
            return _Term(key, "notin" if operator == "!=" else "in", (value,))
        if operator in (">", "<"):
            value = self._next()
            if not re.fullmatch(r"[+-]?\d+", value):
                raise ValueError(f"for 'Gt', 'Lt' operators, the value must be an integer: {value!r}")
            return _Term(key, operator, (value,))
        raise ValueError(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")

    def _set(self, key: str) -> tuple[str, ...]:
        if self._next() != "(":
            raise ValueError("found '', expected: '('")
        values: list[str] = []
        after_value = False
        while True:
            word = self._next()
            if word == ")":
                if not after_value:
                    values.append("")
                return tuple(values)
            if word == ",":
                if not after_value:
                    values.append("")
                after_value = False
            elif not word or after_value:
                raise ValueError(f"found '{word}', expected: ',' or ')'")
            else:
                self._check(key, word)
                values.append(word)
                after_value = True

    @staticmethod
    def _check(key: str, value: str) -> None:
        problems = label_value(value)
        if problems:
            raise ValueError(f'values[0][{key}]: Invalid value: "{value}": {"; ".join(problems)}')


@dataclass(frozen=True)
class FieldSelector:
    """(reader, wanted value, whether it must be equal) for every term."""

    terms: tuple[tuple[Reader, str, bool], ...] = ()

    def matches(self, document: Mapping[str, Any]) -> bool:
        """Whether an object is selected."""
        return all((reader(document) == wanted) is equal for reader, wanted, equal in self.terms)


def parse_fields(text: str, readers: Mapping[str, Reader], group_version: str, kind: str) -> FieldSelector:
    """Read a field selector; ``readers`` are the fields that this kind can be selected by.

    Raises:
        ApiError: 400, with what cannot be understood.
    """
    if text.count(",") > MAX_TERMS:
        raise bad_request(f"a field selector may have at most {MAX_TERMS} terms")
    terms: list[tuple[Reader, str, bool]] = []
    for term in re.split(r"(?<!\\),", text):
        if not term:
            continue
        found = re.fullmatch(r"([^=!]+?)(==|!=|=)(.*)", term, re.DOTALL)
        if found is None:
            raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
        name, operator, value = found.groups()
        reader = readers.get(name)
        if reader is None:
            raise bad_request(f"field label not supported: {name}" if not kind else _unknown(name, group_version, kind))
        terms.append((reader, re.sub(r"\\([\\,=])", r"\1", value), operator != "!="))
    return FieldSelector(tuple(terms))


def _unknown(name: str, group_version: str, kind: str) -> str:
    del group_version, kind
    return f"field label not supported: {name}"
