"""Which versions of rayctl work together: a client and a cluster at most one minor version apart. Pure."""

from __future__ import annotations

import re

from rayctl.errors import UnsupportedEnvelope

__all__ = ["MINORS_APART", "check_versions"]

MINORS_APART = 1


def check_versions(here: str, there: str) -> None:
    """Refuse versions of rayctl that are too far apart: another major one, or more than one minor step.

    Raises:
        UnsupportedEnvelope: ``version-window``.
    """

    ours, theirs = _parts(here), _parts(there)
    if ours is None or theirs is None or ours[0] != theirs[0] or abs(ours[1] - theirs[1]) > MINORS_APART:
        raise UnsupportedEnvelope(
            f"This process has rayctl {here}, the cluster has {there}; they may be one minor version apart.",
            code="version-window",
            hint="Install a version here that is closer to the cluster's, or upgrade the cluster.",
        )


def _parts(text: str) -> tuple[int, int] | None:
    """Return (major, minor) of ``1.2.3``, ``1.2``, ``1.2rc1``; None: it is no version."""
    found = re.match(r"(\d+)(?:\.(\d+))?(?![\d])", text)
    return None if found is None else (int(found[1]), int(found[2] or 0))
