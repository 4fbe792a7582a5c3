"""What names, labels and other identifiers may look like, in the API's words."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = [
    "dns_label",
    "dns_label_1035",
    "dns_subdomain",
    "label_value",
    "path_segment",
    "qualified_name",
    "random_suffix",
]

SAFE = "bcdfghjklmnpqrstvwxz2456789"
"""The letters of generated names: none that could spell a word or be mistaken."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")

_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'example.com', regex used for validation is"
    f" '{_SUBDOMAIN.pattern}')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with"
    f" an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL.pattern}')"
)
_LABEL_1035_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character,"
    " and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is"
    f" '{_LABEL_1035.pattern}')"
)
_NAME_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric"
    " character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
    " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_KEY_RULE = (
    "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an"
    " alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
    " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g."
    " 'example.com/MyName')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is"
    " '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)

Rule = Callable[[str], list[str]]
"""What is wrong with a text; nothing if it is good."""


def dns_subdomain(text: str) -> list[str]:
    """Most objects' names: RFC 1123 subdomains of at most 253 characters."""
    if len(text) > 253:
        return ["must be no more than 253 characters"]
    return [] if _SUBDOMAIN.fullmatch(text) else [_SUBDOMAIN_RULE]


def dns_label(text: str) -> list[str]:
    """Names of namespaces, services and containers: RFC 1123 labels of at most 63 characters."""
    if "." in text:
        return ["must not contain dots"]
    found = [] if len(text) <= 63 else ["must be no more than 63 bytes"]
    return found + ([] if _LABEL.fullmatch(text) else [_LABEL_RULE])


def dns_label_1035(text: str) -> list[str]:
    """Labels that begin with a letter."""
    found = [] if len(text) <= 63 else ["must be no more than 63 bytes"]
    return found + ([] if _LABEL_1035.fullmatch(text) else [_LABEL_1035_RULE])


def path_segment(text: str) -> list[str]:
    """Names of roles and their bindings: anything that is one part of a path."""
    if text in (".", ".."):
        return [f"may not be '{text}'"]
    return [f"may not contain '{sign}'" for sign in "/%" if sign in text]


def qualified_name(text: str) -> list[str]:
    """Keys of labels and annotations: a name of at most 63 characters, perhaps with a domain and a slash before it."""
    prefix, slash, name = text.rpartition("/")
    if text.count("/") > 1:
        return [_KEY_RULE]
    found: list[str] = []
    if slash:
        if not prefix:
            found.append("prefix part must be non-empty")
        else:
            found.extend(f"prefix part {problem}" for problem in dns_subdomain(prefix))
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > 63:
        found.append("name part must be no more than 63 bytes")
    if not _NAME.fullmatch(name):
        found.append(_NAME_RULE)
    return found


def label_value(text: str) -> list[str]:
    """Values of labels: at most 63 characters, or empty."""
    found = [] if len(text) <= 63 else ["must be no more than 63 bytes"]
    return found + ([] if _VALUE.fullmatch(text) else [_VALUE_RULE])


def random_suffix(choose: Callable[[str], str]) -> str:
    """Return the five characters that follow ``generateName``. ``choose`` picks one of a text's letters."""
    return "".join(choose(SAFE) for _ in range(5))
