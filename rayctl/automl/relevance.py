"""Which wishes of a request say nothing about its task: nobody should believe that they were followed."""

from __future__ import annotations

from collections.abc import Iterator

from rayctl.automl.model import RunRequest, TaskType

__all__ = ["without_effect"]

_USUAL_LEVELS = [80, 95]


def without_effect(request: RunRequest) -> list[str]:
    """Return a warning that names the fields of the request which its task has no use for; empty if there are none."""
    ignored = list(_of_series(request) if request.task is TaskType.FORECASTING else _of_tables(request))
    if not ignored:
        return []
    return [f"Without effect on {request.task.value}: {', '.join(ignored)}."]


def _of_series(request: RunRequest) -> Iterator[str]:
    if request.features is not None:
        yield "features (known_future names the columns to learn from)"
    if request.weight_column is not None:
        yield "weight_column"
    if request.validation.group_column is not None:
        yield "validation.group_column"
    if request.class_weight is not None:
        yield "class_weight"
    if request.calibrate:
        yield "calibrate"
    if request.stacking:
        yield "stacking"
    if request.max_predict_ms is not None:
        yield "max_predict_ms"


def _of_tables(request: RunRequest) -> Iterator[str]:
    for name in ("horizon", "season_length", "frequency"):
        if getattr(request, name) is not None:
            yield name
    if request.known_future:
        yield "known_future"
    if request.levels != _USUAL_LEVELS:
        yield "levels"
    if request.task is TaskType.REGRESSION:
        if request.class_weight is not None:
            yield "class_weight"
        if request.calibrate:
            yield "calibrate"
