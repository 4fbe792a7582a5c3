"""Quantities: their number, their shortest form, and how far they go."""

from __future__ import annotations

import pytest

from rayctl.embedded.apiserver.quantity import canonical, parse_quantity


@pytest.mark.parametrize(
    ("text", "shortest"),
    [
        *(
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Ki", "1Mi"),
            ("1.5Gi", "1536Mi"),
            ("2e3", "2k"),
            ("-5", "-5"),
            (7, "7"),
        ),
        *(("18446744073709551616", "9223372036854775807"), ("1e999999999", "9223372036854775807")),
        *(
            ("-1E9999999999999", "-9223372036854775807"),
            ("1e-999999999", "1n"),
            ("1e99999999999999999999", "9223372036854775807"),
        ),
        ("9" * 50_000, "9223372036854775807"),
    ],
)
def test_the_shortest_form(text: object, shortest: str) -> None:
    assert canonical(text) == shortest


@pytest.mark.parametrize("text", ["", "x", "1x", "1e", "--1", "1..2", None, True, [], "1 Gi", "0x1"])
def test_what_is_none(text: object) -> None:
    with pytest.raises(ValueError, match="regular expression"):
        parse_quantity(text)
