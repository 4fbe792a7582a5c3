"""Sizes and durations as people write them."""

from __future__ import annotations

import re

from rayctl.errors import InvalidRequest

__all__ = ["format_duration", "parse_duration", "parse_size"]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_size(text: str) -> int:
    """Return the bytes of ``500000000``, ``4GB`` (powers of 1000) or ``4GiB`` (powers of 1024)."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidRequest(f"{text!r} is not a size.", hint="Write bytes, or a number with MB, GB, MiB or GiB.")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** _POWERS[match[2].lower()])


def parse_duration(text: str) -> float:
    """Return the seconds of ``90``, ``90s``, ``2m``, ``1h`` or ``500ms``."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidRequest(f"{text!r} is not a duration.", hint="Write seconds, or a number with ms, s, m or h.")
    return float(match[1]) * _SECONDS[(match[2] or "s").lower()]


def format_duration(seconds: float) -> str:
    """Return a duration in at most two units: ``8s``, ``3m20s``, ``2h05m``, ``4d06h``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"
