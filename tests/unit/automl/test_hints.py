"""What is wrong with a field of a request comes with what to do about it."""

from __future__ import annotations

from typing import Any

import pytest

from rayctl.automl.hints import HINTS, hint_for
from rayctl.automl.model import RunRequest
from rayctl.automl.request import build_request
from rayctl.errors import InvalidRequest

# Set by rayctl itself, or free text.
WITHOUT = {"data", "continues", "replay_of", "tenant", "name", "labels"}


def test_every_field_of_a_request_has_a_hint() -> None:
    assert set(RunRequest.model_fields) - WITHOUT <= set(HINTS)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"max_predict_ms": -5}, "milliseconds"),
        ({"max_trials": 0}, "1,000,000"),
        ({"seed": -1}, "4,294,967,295"),
        ({"validation": {"folds": 1}}, "2 to 50"),
        ({"task": "guess"}, "classification, regression or forecasting"),
        ({"resources": {"cpus": -1}}, "from 0 on"),
    ],
)
def test_a_wrong_value_is_told_with_what_would_be_right(wrong: dict[str, Any], hint: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        build_request({"task": "regression", "target": "y"} | wrong)
    assert hint in (caught.value.hint or "")


def test_an_ordinary_word_of_a_message_is_no_field() -> None:
    assert hint_for([{"pointer": "/", "message": "This task needs horizon."}]) == HINTS["horizon"]
    assert hint_for([{"pointer": "/", "message": "The target cannot be reached."}]) is None
