"""Quantities of the Kubernetes API are exact numbers."""

from fractions import Fraction

import pytest

from rayctl.core.quantity import format_bytes, format_count, parse_quantity, whole


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1000m", 1),
        ("0.1", Fraction(1, 10)),
        ("100m", Fraction(1, 10)),
        ("1Ki", 1024),
        ("1.5Gi", Fraction(3, 2) * 1024**3),
        ("2k", 2000),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("5.", 5),
        (".5", Fraction(1, 2)),
        ("-1", -1),
        (4, 4),
        (0.25, Fraction(1, 4)),
    ],
)
def test_values(text, value):
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "x", "1 Gi", "1gi", "--1", "1e9999", True, None, [1]])
def test_nonsense(text):
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("amount", "count", "memory", "ceiling"),
    [
        ("0", "0", "0", 0),
        ("1500m", "1500m", "2", 2),
        ("0.0001", "1m", "1", 1),
        ("2Gi", str(2 * 1024**3), "2Gi", 2 * 1024**3),
        ("1536Mi", str(1536 * 1024**2), "1536Mi", 1536 * 1024**2),
        ("1G", "1000000000", "1000000000", 10**9),
    ],
)
def test_back_to_text(amount: str, count: str, memory: str, ceiling: int) -> None:
    found = parse_quantity(amount)
    assert (format_count(found), format_bytes(found), whole(amount)) == (count, memory, ceiling)
