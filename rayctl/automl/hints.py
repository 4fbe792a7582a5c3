"""What to do about a field of a request that is not valid. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rayctl.errors import FieldError

__all__ = ["HINTS", "hint_for"]

_DURATION = "Give seconds, or a text such as 90s, 10m or 2h: more than 0"
_YES_OR_NO = "Give true or false."
_ENVIRONMENT = 'Give one of Ray\'s runtime environments as an object, for example {"pip": ["package==1.0"]}.'
HINTS = {
    "task": "Choose classification, regression or forecasting.",
    "target": "Name the column that is to be predicted.",
    "features": "Give a list of column names; leave it out for all columns.",
    "weight_column": "Name the column that has the weight of each row, or leave it out.",
    "search_space": "Map each model to its parameters, each with a list of values; leave it out for the usual models.",
    "metric": "Give the name of a metric, for example roc_auc or rmse; leave it out for the task's usual one.",
    "custom_metric": "Give a name and the function's importable path, and whether greater is better.",
    "validation": "scheme is auto, kfold, holdout or time_series; folds are 2 to 50; holdout_fraction lies in (0, 1).",
    "ensemble": "Give true, false, or leave it out.",
    "stacking": _YES_OR_NO,
    "calibrate": "Give true, false, or leave it out.",
    "class_weight": "Give balanced, or leave it out.",
    "max_predict_ms": "Give milliseconds for 1,000 rows, more than 0; leave it out for no bound.",
    "reuse": _YES_OR_NO,
    "time_budget": f"{_DURATION}, at most 30 days.",
    "time_budget_s": f"{_DURATION}, at most 30 days.",
    "max_trials": "Give a whole number from 1 to 1,000,000.",
    "trial_timeout": f"{_DURATION}.",
    "trial_timeout_s": f"{_DURATION}.",
    "seed": "Give a whole number from 0 to 4,294,967,295.",
    "resources": "cpus and gpus are numbers from 0 on, memory_bytes is a whole number from 1 on.",
    "trainer_resources": "cpus and gpus are numbers from 0 on, memory_bytes is a whole number from 1 on.",
    "runtime_env": _ENVIRONMENT,
    "trainer_runtime_env": _ENVIRONMENT,
    "max_parallel": "Give a whole number from 1 on; leave it out for as many as there are CPUs.",
    "horizon": "Give how many steps ahead are to be forecast, a whole number from 1 on: 12 for a year of months.",
    "levels": "Give percentages between 1 and 99, for example [80, 95] (the default); [] for no prediction intervals.",
    "season_length": "Give steps of one season, whole numbers from 1 on: 12 for months, [24, 168] for hours. Leave it "
    "out to have it found.",
    "frequency": "Write for example h, 15min, D, B, W, M, Q, Y, or a whole number for integer times. Leave it out to "
    "have it found.",
    "time_column": "Name the column that has the time of each row.",
    "id_columns": "Name the columns that tell the series apart; none if there is one series.",
    "known_future": "Name the columns whose values over the horizon are known beforehand: prices, holidays, plans.",
}
_ORDINARY_WORDS = frozenset({"task", "target", "features", "metric", "resources", "reuse", "seed", "validation"})
"""In a message these need not mean the field."""


def hint_for(errors: Sequence[FieldError]) -> str | None:
    """Return the hint for the first of these defects that has one, None if none has.

    A defect of the whole request (pointer ``/`` or empty) is about the first field that its message names.
    """
    for error in errors:
        field = error["pointer"].lstrip("/").partition("/")[0]
        named = (
            [field] if field else [name for name in re.findall(r"\w+", error["message"]) if name not in _ORDINARY_WORDS]
        )
        found = next((HINTS[name] for name in named if name in HINTS), None)
        if found is not None:
            return found
    return None
