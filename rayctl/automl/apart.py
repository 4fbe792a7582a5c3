"""Two numbers in as few digits as tell them apart. Pure."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["MOST_DIGITS", "apart_by"]

MOST_DIGITS = 10


def apart_by(
    text: Callable[[float | None, int], str], first: float | None, second: float | None, digits: int
) -> tuple[str, str]:
    """Return two numbers as texts that differ if the numbers do, by up to `MOST_DIGITS` digits.

    Args:
        text: (number, digits) → how it is shown.
        first: A number, or None.
        second: Another.
        digits: How many are enough, if they differ in these.
    """
    for more in range(digits, MOST_DIGITS + 1):
        texts = text(first, more), text(second, more)
        if texts[0] != texts[1] or first == second:
            return texts
    return text(first, digits), text(second, digits)
