"""Versions of Ray, as far as they decide something: 2.52 has tokens, 2.53 one health check, 2.57 an embedded store."""

from __future__ import annotations

import re

__all__ = ["at_least", "parse_version"]

_FORM = re.compile(r"\s*v?(\d+)\.(\d+)(?:\.(\d+))?.*", re.DOTALL)


def parse_version(text: str) -> tuple[int, int, int] | None:
    """Return a version's three numbers; None if it cannot be read (``nightly``, empty)."""
    found = _FORM.fullmatch(text)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3] or 0))


def at_least(text: str, major: int, minor: int) -> bool:
    """Return whether a version can be read and is at least this one."""
    found = parse_version(text)
    return found is not None and found >= (major, minor, 0)
