"""What is wrong with a RayCluster: where, and in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Problem", "told"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        code: A word: ``InvalidRayClusterMetadata``, ``InvalidRayClusterSpec`` or ``InvalidRayClusterStatus``.
        path: Where in the document: ``spec.headGroupSpec``.
        message: What, and what to do instead.
    """

    code: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def told(problems: Iterable[Problem]) -> str:
    """Return all problems as one text."""
    return "; ".join(str(problem) for problem in problems)
