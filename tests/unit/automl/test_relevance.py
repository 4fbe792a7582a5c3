"""Wishes that a task has no use for are named."""

from __future__ import annotations

from typing import Any

import pytest

from rayctl.automl.model import RunRequest
from rayctl.automl.relevance import without_effect

SERIES: dict[str, Any] = {"time_column": "ds", "horizon": 3}


@pytest.mark.parametrize(
    ("task", "fields", "said"),
    [
        ("classification", {"horizon": 4, "frequency": "D"}, "classification: horizon, frequency."),
        ("classification", {"known_future": ["a"], "levels": [50]}, "classification: known_future, levels."),
        ("classification", {"season_length": 7}, "classification: season_length."),
        ("regression", {"class_weight": "balanced", "calibrate": True}, "regression: class_weight, calibrate."),
        ("forecasting", {"class_weight": "balanced", "stacking": True, "calibrate": True, **SERIES},
         "forecasting: class_weight, calibrate, stacking."),
        ("forecasting", {"max_predict_ms": 5, **SERIES}, "forecasting: max_predict_ms."),
        ("forecasting", {"validation": {"group_column": "g"}, "weight_column": "w", **SERIES},
         "forecasting: weight_column, validation.group_column."),
        ("forecasting", {"features": ["a"], **SERIES}, "features (known_future"),
    ],
)  # fmt: skip
def test_wishes_without_effect(task: str, fields: dict[str, Any], said: str) -> None:
    [text] = without_effect(RunRequest.model_validate({"task": task, "target": "y", **fields}))
    assert said in text


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        ("classification", {"class_weight": "balanced", "calibrate": True, "stacking": True, "weight_column": "w"}),
        ("classification", {"time_column": "ds", "id_columns": ["a"], "levels": [95, 80]}),
        ("regression", {"calibrate": False, "features": ["a"], "validation": {"group_column": "g"}}),
        ("forecasting", {"levels": [50], "known_future": ["a"], "season_length": 7, "frequency": "D", **SERIES}),
    ],
)
def test_wishes_that_count(task: str, fields: dict[str, Any]) -> None:
    assert without_effect(RunRequest.model_validate({"task": task, "target": "y", **fields})) == []
