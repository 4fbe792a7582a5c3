"""A tree of objects as lines of text: mark, name, state, why. Pure."""

from __future__ import annotations

from collections.abc import Callable

from rayctl.views.family import Node
from rayctl.views.readiness import judge

__all__ = ["MARKS", "draw", "line_of", "mark"]

MARKS = {True: "✔", False: "◌", None: "·"}
"""Ready, not ready, neither; a trouble that does not pass by itself is ✖."""
_LASTING = ("CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "Failed", "Error", "OOMKilled", "InvalidImageName")


def mark(node: Node) -> str:
    """Return the sign before an object."""
    verdict = judge(node.document)
    return "✖" if verdict.ready is False and verdict.reason in _LASTING else MARKS[verdict.ready]


def line_of(node: Node) -> str:
    """Return what a tree says about an object: ``✔ pod/x  Ready``."""
    verdict = judge(node.document)
    state = "Ready" if verdict.ready else verdict.reason or ""
    text = f"{mark(node)} {node.label}  {state}".rstrip()
    return f"{text}  {verdict.message}" if verdict.ready is False and verdict.message else text


def draw(node: Node, line: Callable[[Node], str] = line_of) -> list[str]:
    """Return the lines of a tree, the root first."""
    lines = [line(node)]
    for number, child in enumerate(node.children, 1):
        last = number == len(node.children)
        first, *others = draw(child, line)
        lines.append(("└─ " if last else "├─ ") + first)
        lines += [("   " if last else "│  ") + text for text in others]
    return lines
