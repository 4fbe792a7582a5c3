"""What must not be in logs: values under the names of secrets, and values that are known to be secrets. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["HIDDEN", "Redactor", "is_secret_name"]

HIDDEN = "[redacted]"
_SHORTEST = 6
"""A known secret shorter than this is not looked for in texts: it would hide words."""
_DEEPEST = 20
_NAMES = re.compile(
    r"(?i)(^|[_\-.\s/])(auth|authorization|cookie|credential|credentials|passphrase|passwd|password|pwd|secret|secrets"
    r"|token|tokens|api[_-]?key|apikey|access[_-]?key|private[_-]?key|client[_-]?key|signature)($|[_\-.\s/])"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_HARMLESS = re.compile(r"(?i)(file|path|name|ref|count|id|s|ttl|url|mode|type|at)$")
_IN_TEXT = re.compile(
    r"(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9+/._~=-]{6,}"
    r"|(\b[\w.-]*(?:password|passwd|secret|token|api[_-]?key|access[_-]?key)[\w.-]*['\"]?\s*[:=]\s*['\"]?)[^\s'\",;&)}\]]+"
    r"|(://[^\s/:@]*:)[^\s/@]+(?=@)"
    r"|(\bname['\"]?\s*:\s*['\"]?[\w.-]*(?:password|passwd|secret|token|api[_-]?key|access[_-]?key)[\w.-]*"
    r"(?<!_path)(?<!_file)(?<!_mode)['\"]?[\s,]+['\"]?value['\"]?\s*:\s*['\"]?)[^\s'\",;&)}\]]+"
)


def is_secret_name(name: str) -> bool:
    """Whether what has this name is a secret: ``authToken``, ``REDIS_PASSWORD``; not ``token_file``."""
    words = _CAMEL.sub("_", name)
    if not _NAMES.search(words):
        return False
    last = re.split(r"[_\-.\s/]", words)[-1]
    return not _HARMLESS.fullmatch(last)


class Redactor:
    """Hides secrets. ``known``: values that are secrets wherever they appear."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        for value in known:
            self.learn(value)

    def learn(self, value: str) -> None:
        """Hide this value from now on."""
        if len(value) >= _SHORTEST:
            self._known.add(value)

    def text(self, text: str) -> str:
        """Return a text without secrets: known ones, tokens after ``Bearer``, ``password=…``, in URLs."""
        for value in self._known:
            if value in text:
                text = text.replace(value, HIDDEN)
        return _IN_TEXT.sub(lambda match: "".join(part or "" for part in match.groups()) + HIDDEN, text)

    def value(self, value: Any, name: str = "", depth: int = 0) -> Any:
        """Return a JSON value without secrets; what is deeper than 20 levels, or no JSON, becomes text."""
        if name and is_secret_name(name) and value not in (None, "", True, False):
            if isinstance(value, Mapping) and value and set(value) <= {"value", "valueFrom"}:  # as Kubernetes has it
                return {
                    key: HIDDEN if key == "value" else self.value(item, key, depth + 1) for key, item in value.items()
                }
            return HIDDEN
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if depth >= _DEEPEST:
            return "…"
        if isinstance(value, Mapping):
            if str(value.get("kind", "")) == "Secret":
                value = {key: HIDDEN if key in ("data", "stringData") else item for key, item in value.items()}
            if is_secret_name(str(value.get("name", ""))) and "value" in value:
                value = {**value, "value": HIDDEN}  # an environment variable of a container
            return {str(key): self.value(item, str(key), depth + 1) for key, item in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
            return [self.value(item, "", depth + 1) for item in value]
        return self.text(repr(value) if isinstance(value, (bytes, bytearray)) else str(value))
