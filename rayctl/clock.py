"""Times as texts. "Now" is an argument wherever something is decided; nothing here asks for it."""

from __future__ import annotations

from datetime import datetime, timezone

__all__ = ["format_duration", "iso"]


def iso(seconds: float) -> str:
    """ISO 8601 in UTC with milliseconds, for example ``2026-01-02T03:04:05.678Z``."""
    moment = datetime.fromtimestamp(seconds, tz=timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


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
