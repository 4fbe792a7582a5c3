"""Quantities of the Kubernetes API are exact numbers."""

from fractions import Fraction

import pytest

from rayctl.core.quantity import parse_quantity


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


@pytest.mark.parametrize("text", ["", "x", "1 Gi", "1gi", "--1", "1e9999", True])
def test_nonsense(text):
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quantity(text)
