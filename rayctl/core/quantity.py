"""Kubernetes quantities (``500m``, ``2Gi``, ``1e3``): to exact numbers, and back to text."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

__all__ = ["format_bytes", "format_count", "parse_quantity", "whole"]

_FORM = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d{1,3})?")
_SCALE = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
    **{f"{prefix}i": Fraction(1024 ** (power + 1)) for power, prefix in enumerate("KMGTPE")},
}


_BINARY = ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki")


def parse_quantity(value: Any) -> Fraction:
    """Return the number that a quantity means.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Fraction(str(value))
    found = _FORM.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is not a quantity")
    number, suffix = found.groups()
    amount = Fraction(Decimal(number))
    if not suffix:
        return amount
    if suffix in _SCALE:
        return amount * _SCALE[suffix]
    return amount * Fraction(10) ** int(suffix[1:])


def whole(value: Any) -> int:
    """Return a quantity rounded up to a whole number.

    Raises:
        ValueError: It is none.
    """
    return math.ceil(parse_quantity(value))


def format_count(amount: Fraction) -> str:
    """Write an amount of CPUs, GPUs and the like: whole, or in thousandths, rounded up."""
    return str(amount) if amount.denominator == 1 else f"{math.ceil(amount * 1000)}m"


def format_bytes(amount: Fraction) -> str:
    """Write an amount of memory, with the largest binary suffix that leaves it whole."""
    number = math.ceil(amount)
    for suffix in _BINARY:
        if number and number % _SCALE[suffix] == 0:
            return f"{number // _SCALE[suffix]}{suffix}"
    return str(number)
