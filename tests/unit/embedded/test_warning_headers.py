"""Warnings tell names that callers have chosen; a header must survive them."""

from __future__ import annotations

from rayctl.embedded.apiserver.presenting import warning_headers


def test_control_characters_do_not_reach_a_header() -> None:
    found = warning_headers(['unknown field "a\r\nX-Evil: 1\x00\x1b\x7f\u0085\\"'])
    assert found == [("Warning", '299 - "unknown field \\"a  X-Evil: 1    \\\\\\""')]
