"""Which versions of rayctl work together: a client and a cluster at most one minor version apart. Pure."""

from __future__ import annotations

from rayctl.errors import UnsupportedEnvelope

__all__ = ["MINORS_APART", "check_versions"]

MINORS_APART = 1


def check_versions(here: str, there: str) -> None:
    """Refuse versions of rayctl that are too far apart: another major one, or more than one minor step.

    Raises:
        UnsupportedEnvelope: ``version-window``.
    """

    def parts(text: str) -> tuple[int, int]:
        major, minor, *_ = [*text.split("."), "0"]
        return int(major), int("".join(char for char in minor if char.isdigit()) or 0)

    ours, theirs = parts(here), parts(there)
    if ours[0] != theirs[0] or abs(ours[1] - theirs[1]) > MINORS_APART:
        raise UnsupportedEnvelope(
            f"This process has rayctl {here}, the cluster has {there}; they may be one minor version apart.",
            code="version-window",
            hint="Install a version here that is closer to the cluster's, or upgrade the cluster.",
        )
