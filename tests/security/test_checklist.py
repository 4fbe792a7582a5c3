"""Each item of the checklist is shown by tests that run in CI, and the table says which."""

from __future__ import annotations

import pytest

from tests.security.checklist import DOCUMENT, ITEMS, Item, document, marked


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.code)
def test_an_item_is_shown_by_a_test_that_always_runs(item: Item) -> None:
    assert [one for one in marked() if one.item == item.code and not one.slow]


def test_no_mark_names_something_else() -> None:
    assert {one.item for one in marked()} <= {item.code for item in ITEMS}


def test_the_table_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == document(), "run: python -m tests.security.checklist"
