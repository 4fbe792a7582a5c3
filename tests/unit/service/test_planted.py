"""The tests of the switchover notice its defects: each planted one, by the test that is there for it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.unit.service import test_expectations, test_interleavings, test_what_goes_wrong
from tests.unit.service.planted import PLANTED, Plant
from tests.unit.service.world import running

TESTS: dict[str, Any] = vars(test_what_goes_wrong) | vars(test_expectations) | vars(test_interleavings)


def calls_of(test: str) -> Iterator[Callable[[], None]]:
    """Yield the calls of a test, one for each set of its parameters."""
    function = TESTS[test]
    marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.name == "parametrize"]
    for values in itertools.product(*(_sets(*mark.args) for mark in marks)):
        arguments = {key: value for one in values for key, value in one.items()}
        yield lambda arguments=arguments: function(**arguments)  # type: ignore[misc]


def _sets(names: str | tuple[str, ...], values: Any) -> list[dict[str, Any]]:
    if isinstance(names, str):
        return [{names: value} for value in values]
    return [dict(zip(names, value, strict=True)) for value in values]


def notices(test: str) -> bool:
    """Whether a test finds what it looks for to be wrong; any other error is none of its findings."""
    for call in calls_of(test):
        try:
            call()
        except (AssertionError, pytest.fail.Exception):
            return True
    return False


@pytest.mark.parametrize(("plant", "test"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_a_defect_of_the_switchover_is_noticed(plant: Plant, test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    running()  # it shows in the test that is there for it, not in every one
    assert notices(test), f"{test} passes with {plant.__name__}"
