"""Amounts of resources as Kubernetes writes them: ``500m``, ``2``, ``8Gi``."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Any

__all__ = ["format_bytes", "format_count", "parse", "whole"]

_FORM = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([eE][+-]?\d+)|([a-zA-Z]{0,2}))")
_SUFFIXES = {"": Decimal(1), "n": Decimal(10) ** -9, "u": Decimal(10) ** -6, "m": Decimal(10) ** -3}
_SUFFIXES |= {name: Decimal(1000) ** power for power, name in enumerate(("k", "M", "G", "T", "P", "E"), start=1)}
_SUFFIXES |= {name: Decimal(1024) ** power for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)}
_BINARY = ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki")


def parse(value: Any) -> Decimal:
    """Read an amount.

    Raises:
        ValueError: It is not one.
    """
    found = _FORM.fullmatch(str(value).strip())
    if found is None or (found[3] or "") not in _SUFFIXES:
        raise ValueError(f"{value!r} is not an amount of a resource")
    number = Decimal(found[1] + (found[2] or ""))
    return number * _SUFFIXES[found[3] or ""]


def whole(value: Any) -> int:
    """Return an amount rounded up to a whole number.

    Raises:
        ValueError: It is not an amount.
    """
    return int(parse(value).to_integral_value(ROUND_CEILING))


def format_count(amount: Decimal) -> str:
    """Write an amount of CPUs, GPUs and the like: whole, or in thousandths."""
    if amount == amount.to_integral_value():
        return str(int(amount))
    return f"{int((amount * 1000).to_integral_value(ROUND_CEILING))}m"


def format_bytes(amount: Decimal) -> str:
    """Write an amount of memory, with the largest binary suffix that leaves it whole."""
    number = int(amount.to_integral_value(ROUND_CEILING))
    for suffix in _BINARY:
        if number and number % int(_SUFFIXES[suffix]) == 0:
            return f"{number // int(_SUFFIXES[suffix])}{suffix}"
    return str(number)
