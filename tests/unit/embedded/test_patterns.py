"""Patterns of schemas: which could take for ever, and that they do not."""

from __future__ import annotations

import time
from unittest import mock

import pytest

from rayctl.embedded.apiserver.schema import patterns, rules

LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"


@pytest.mark.parametrize(
    ("pattern", "nested"),
    [
        (r"^a+$", False),
        (r"^(a|b)*c{2,5}$", False),
        (r"^(ab{1,3})+$", False),
        (r"(a+)+$", True),
        (r"^(a*b?)*$", True),
        (r"^((x|y+)z)*$", True),
        (r"^(?:(?:a)+?)*$", True),
        (LABEL, True),
    ],
)
def test_nesting(pattern: str, nested: bool) -> None:
    assert patterns.is_nested(pattern) == nested


@pytest.mark.parametrize("with_re2", [False, True])
@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (LABEL, "a.b-c.d", True),
        (LABEL, "a..b", False),
        (r"^a+$", "aaa", True),
        (r"b", "abc", True),
        (r"(x+)+$", "ax", True),
    ],
)
def test_both_ways_agree(pattern: str, text: str, found: bool, with_re2: bool) -> None:
    patterns._compiled.cache_clear()
    if with_re2:
        pytest.importorskip("cel_expr_python")
        assert patterns.matches(pattern, text) == found
    else:
        with mock.patch.object(rules, "_environment", return_value=None):
            assert patterns.matches(pattern, text) == found
    patterns._compiled.cache_clear()


def test_a_text_made_for_it_does_not_take_for_ever() -> None:
    pytest.importorskip("cel_expr_python")
    began = time.thread_time()
    assert not patterns.matches(r"^(a+)+$", "a" * 5_000 + "!")
    assert not patterns.matches(r"^(\w*\s?)*$", "word " * 1_000 + "!")
    assert time.thread_time() - began < 1.0


def test_without_re2_long_texts_do_not_match_nested_patterns() -> None:
    patterns._compiled.cache_clear()
    with mock.patch.object(rules, "_environment", return_value=None):
        assert patterns.matches(r"^(ab*)+$", "a" * patterns.LONGEST)
        assert not patterns.matches(r"^(ab*)+$", "a" * (patterns.LONGEST + 1))
    patterns._compiled.cache_clear()
