"""Kubernetes quantities (``500m``, ``2Gi``, ``1e3``) as exact numbers."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

__all__ = ["parse_quantity"]

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


def parse_quantity(value: str | int | float) -> Fraction:
    """Return the number that a quantity means.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a quantity")
    if isinstance(value, (int, float)):
        return Fraction(str(value))
    found = _FORM.fullmatch(value.strip())
    if found is None:
        raise ValueError(f"{value!r} is not a quantity")
    number, suffix = found.groups()
    amount = Fraction(Decimal(number))
    if not suffix:
        return amount
    if suffix in _SCALE:
        return amount * _SCALE[suffix]
    return amount * Fraction(10) ** int(suffix[1:])
