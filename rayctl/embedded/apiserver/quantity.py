"""Kubernetes' quantities: ``500m``, ``2``, ``1.5Gi``. Exact arithmetic."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any

__all__ = ["canonical", "format_like", "parse_quantity"]

_SUFFIX = {
    **{"": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")},
    **{"k": Decimal("1e3"), "M": Decimal("1e6"), "G": Decimal("1e9"), "T": Decimal("1e12")},
    **{"P": Decimal("1e15"), "E": Decimal("1e18")},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}
MAX = Decimal(2**63 - 1)
MAX_EXPONENT = 100
_EXACT = Context(prec=100)
_FORM = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]i?|Ki)?)")
_DECIMAL = ("E", "P", "T", "G", "M", "k", "", "m", "u", "n")
_BINARY = ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki")


def parse_quantity(text: Any) -> Decimal:
    """Return the number that a quantity stands for; beyond `MAX` it is that, as in Kubernetes.

    Raises:
        ValueError: It is none.
    """
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise ValueError("quantities must match the regular expression")
    found = _FORM.fullmatch(str(text))
    if found is None or (found[3] or "") not in _SUFFIX:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    number = Decimal(found[1]) * _SUFFIX[found[3] or ""]
    if found[2]:
        number *= Decimal(10) ** max(-MAX_EXPONENT, min(MAX_EXPONENT, int(found[2][1:][:9])))
    return max(-MAX, min(MAX, number))


def canonical(text: Any) -> str:
    """Return a quantity in its shortest form with the same kind of suffix: ``1000m`` becomes ``1``."""
    return format_like(parse_quantity(text), str(text))


def format_like(number: Decimal, model: str) -> str:
    """Return a number as a quantity, with binary suffixes if the model has one."""
    number = number.quantize(Decimal("1e-9"), rounding=ROUND_CEILING, context=_EXACT)
    if not number:
        return "0"
    if model.endswith("i") and number == number.to_integral_value() and abs(number) >= 1024:
        for suffix in _BINARY:
            quotient = number / _SUFFIX[suffix]
            if quotient == quotient.to_integral_value():
                return f"{int(quotient)}{suffix}"
        return str(int(number))
    for suffix in _DECIMAL:
        quotient = number / _SUFFIX[suffix]
        if quotient == quotient.to_integral_value():
            return f"{int(quotient)}{suffix}"
    return str(number)
