"""From keyword arguments to a checked request, including search spaces and metrics that name classes and functions."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rayctl.automl.hints import hint_for
from rayctl.errors import FieldError, InvalidRequest

if TYPE_CHECKING:
    from rayctl.automl.model import CustomMetric, RunRequest

__all__ = [
    "build_request",
    "custom_metric",
    "further_budget",
    "plain_message",
    "request_document",
    "search_entries",
    "seconds",
]

_DURATIONS = ("time_budget_s", "trial_timeout_s")
_LISTS = ("known_future", "levels")
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*[.:][A-Za-z_]\w*")
_LONGEST_S = 30 * 86400.0
_MOST_TRIALS = 1_000_000
_LOWER_IS_BETTER = ("error", "loss", "deviance", "mae", "mse", "rmse", "mape", "msle", "rmsle", "wape", "brier")


def build_request(fields: Mapping[str, Any]) -> RunRequest:
    """Check the fields of a request and return it. None means: not given.

    ``time_budget`` and ``trial_timeout`` are accepted beside their ``_s`` names; durations may be seconds,
    texts (``"10m"``) or `timedelta`. A ``metric`` that is a function, a text with a colon or a dot
    (``module:function``) or a `CustomMetric` becomes ``custom_metric`` (see there).

    Raises:
        InvalidRequest: with one entry in ``errors`` for each place that is wrong.
    """
    from pydantic import ValidationError

    from rayctl.automl.model import RunRequest

    given = {name: value for name, value in fields.items() if value is not None}
    for name in _DURATIONS:
        short = name.removesuffix("_s")
        if short in given:
            if name in given:
                raise InvalidRequest(f"Give {short} or {name}, not both.", hint=f"Leave out {name}: it is the same.")
            given[name] = given.pop(short)
        if isinstance(given.get(name), timedelta):
            given[name] = given[name].total_seconds()
    if "search_space" in given:
        given["search_space"] = search_entries(given["search_space"])
    for name in _LISTS:
        if isinstance(given.get(name), (str, int)):
            given[name] = [given[name]]
    given = _with_metric(given)
    try:
        return RunRequest.model_validate(given)
    except ValidationError as error:
        raise _invalid([(item["loc"], plain_message(item)) for item in error.errors()]) from None


def plain_message(item: Mapping[str, Any]) -> str:
    """Return what one of pydantic's complaints about a request means, with the nearest name for an unknown field."""
    if item["type"] != "extra_forbidden":
        return str(item["msg"]).removeprefix("Value error, ")
    from difflib import get_close_matches

    from rayctl.automl import model

    place = [part for part in item["loc"] if isinstance(part, str) and part != "body"]
    inside: dict[str, type[model.Document]] = {
        "custom_metric": model.CustomMetric,
        "data": model.DataSource,
        "resources": model.Resources,
        "search_space": model.SearchEntry,
        "trainer_resources": model.Resources,
        "validation": model.Validation,
    }
    known = inside.get(place[0], model.RunRequest) if len(place) > 1 else model.RunRequest
    near = get_close_matches(place[-1], known.model_fields, n=1) if place else []
    return "there is no such field" + (f"; the nearest is {near[0]}" if near else "")


def request_document(request: RunRequest, kind: str) -> dict[str, Any]:
    """Return the request as it is sent: only what was given, so that the service's defaults stay the service's.

    Raises:
        InvalidRequest: something in it cannot be sent that way (pickled classes over HTTP, values without a JSON form).
    """
    pickled = [entry.model for entry in request.search_space or () if entry.pickled_class is not None]
    metric = request.custom_metric
    if kind == "ray":
        document = request.model_dump(exclude_unset=True)
        document["task"] = request.task.value
        return document
    if pickled:
        raise InvalidRequest(
            f"The class {pickled[0]} cannot be imported by name, and classes are not sent over HTTP.",
            code="class-not-importable",
            hint="Put it in a module that the workers have and name it module.Class, or connect with ray://.",
        )
    if metric is not None and metric.pickled is not None:
        raise InvalidRequest(
            f"The metric {metric.name} cannot be imported by name, and functions are not sent over HTTP.",
            code="metric-not-importable",
            hint="Put it in a module that the workers have and name it module:function, or connect with ray://.",
        )
    from pydantic_core import PydanticSerializationError

    try:
        return request.model_dump(mode="json", exclude_unset=True)
    except PydanticSerializationError as error:
        raise InvalidRequest(
            f"The request holds a value that has no JSON form: {error}", hint="Use numbers, texts, lists and mappings."
        ) from None


def custom_metric(
    function: Callable[..., float] | str,
    *,
    greater_is_better: bool | None = None,
    needs_proba: bool | None = None,
    name: str | None = None,
) -> CustomMetric:
    """Make a metric of a function ``f(y_true, y_pred) -> float``, to be passed as ``metric`` of a request.

    Args:
        function: The function, or where workers can import it (``module:function``). A function that they cannot
            import (from a script or a notebook) travels by cloudpickle, over Ray only.
        greater_is_better: Which way is good. None: the function's attribute of this name; else, as scikit-learn names
            its functions, False for names that end in ``_error``, ``_loss`` or ``_deviance``; else True.
        needs_proba: Whether it gets class probabilities, shape (n, classes), instead of labels. None: the function's
            attribute of this name, else False.
        name: How leaderboards call it (default: the function's name).

    Raises:
        InvalidRequest: ``bad-metric``: not a function or path, a scorer, or it cannot be pickled.
    """
    from rayctl.automl.model import CustomMetric

    source: dict[str, Any]
    if isinstance(function, str):
        if not _PATH.fullmatch(function):
            raise _bad_metric(f"{function!r} does not name a function.", "Write module:function.")
        source = {"path": function.replace(":", ".")}
        called = function.replace(":", ".").rpartition(".")[2]
    else:
        if not callable(function):
            raise _bad_metric(f"A {type(function).__name__} is no metric.", "Pass f(y_true, y_pred), or its path.")
        if hasattr(function, "_score_func"):
            raise _bad_metric(
                "This is a scorer of scikit-learn, which wants the model.", "Pass the metric function that it wraps."
            )
        called = getattr(function, "__name__", type(function).__name__).strip("<>")
        source = _function_source(function, called)
    if greater_is_better is None:
        greater_is_better = getattr(function, "greater_is_better", None)
    if greater_is_better is None:
        greater_is_better = not called.lower().endswith(_LOWER_IS_BETTER)
    if needs_proba is None:
        needs_proba = bool(getattr(function, "needs_proba", False))
    return CustomMetric(
        name=(name or called or "metric")[:100],
        greater_is_better=bool(greater_is_better),
        needs_proba=needs_proba,
        **source,
    )


def _function_source(function: Callable[..., float], called: str) -> dict[str, Any]:
    if _importable(function):
        return {"path": f"{function.__module__}.{function.__qualname__}"}
    import cloudpickle

    try:
        return {"pickled": cloudpickle.dumps(function)}
    except Exception as error:  # what a function refers to can refuse in any way
        raise _bad_metric(
            f"The metric {called} cannot be sent: {type(error).__name__}: {error}", "Put it into a module of its own."
        ) from error


def _bad_metric(message: str, hint: str) -> InvalidRequest:
    return InvalidRequest(message, code="bad-metric", hint=hint, errors=[{"pointer": "/metric", "message": message}])


def _with_metric(given: dict[str, Any]) -> dict[str, Any]:
    """Turn a metric that is not a name into ``custom_metric``."""
    metric, custom = given.get("metric"), given.get("custom_metric")
    if metric is not None and not (isinstance(metric, str) and not set(".:") & set(metric)):
        if custom is not None:
            raise InvalidRequest(
                "Give metric or custom_metric, not both.", hint="Leave one out: a function can be given as metric."
            )
        custom = metric
        given = {name: value for name, value in given.items() if name != "metric"}
    if isinstance(custom, str) or callable(custom):
        custom = custom_metric(custom)
    return given if custom is None else {**given, "custom_metric": custom}


def search_entries(space: Any) -> list[dict[str, Any]]:
    """Return a search space as a list of entries; classes become their import path or a pickled class.

    Accepts ``{model: params}``, or a list of names, classes, mappings and `SearchEntry` objects.
    """
    if isinstance(space, Mapping):
        return [_entry(model, params) for model, params in space.items()]
    if isinstance(space, (str, type)) or not isinstance(space, Iterable):
        space = [space]
    entries = []
    for item in space:
        if isinstance(item, Mapping):
            rest = {key: value for key, value in item.items() if key not in ("model", "params")}
            entries.append({**_entry(item.get("model"), item.get("params")), **rest})
        elif hasattr(item, "model_dump"):
            entries.append(item.model_dump(exclude_unset=True))
        else:
            entries.append(_entry(item, None))
    return entries


def _entry(model: Any, params: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"model": model, "params": _plain(params or {})}
    if isinstance(model, type):
        entry["model"] = f"{model.__module__}.{model.__qualname__}"
        if not _importable(model):
            import cloudpickle

            entry["pickled_class"] = cloudpickle.dumps(model)
    return entry


def _importable(thing: Any) -> bool:
    """Whether ``module.name`` finds this very class or function, so that a worker with the same packages does too."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not module or not name or module == "__main__" or "." in name:
        return False
    return getattr(sys.modules.get(module), name, None) is thing


def _plain(value: Any) -> Any:
    """Turn numpy scalars, arrays and ranges, which grids are often written with, into plain values."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [_plain(item) for item in value]
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    return value


def seconds(value: float | str | timedelta | None) -> float | None:
    """Return a duration in seconds. Raises InvalidRequest for a text that is not a duration."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        from rayctl.automl.model import parse_duration

        try:
            return float(parse_duration(value))
        except ValueError as error:
            raise InvalidRequest(
                f"{error}.", code="bad-duration", hint="Write a number with a unit (90s, 10m, 1h30m), or plain seconds."
            ) from None
    return value


def further_budget(
    time_budget: float | str | timedelta | None, max_trials: int | None
) -> tuple[float | None, int | None]:
    """Check by how much a run is to be continued; return seconds and trials.

    Raises:
        InvalidRequest: neither is given (``missing-budget``), or one is not a positive amount.
    """
    time_budget_s = seconds(time_budget)
    if time_budget_s is None and max_trials is None:
        raise InvalidRequest(
            "By how much is the run to be continued?",
            code="missing-budget",
            hint="Give a time budget (2m), a number of further trials, or both.",
        )
    if time_budget_s is not None and not 0 < time_budget_s <= _LONGEST_S:
        raise InvalidRequest(
            f"A time budget of {time_budget_s:g} s is not possible.",
            code="bad-duration",
            hint="Give more than 0 seconds and at most 30 days.",
        )
    if max_trials is not None and not 1 <= max_trials <= _MOST_TRIALS:
        raise InvalidRequest(
            f"{max_trials} further trials are not possible.",
            code="bad-count",
            hint=f"Give a number from 1 to {_MOST_TRIALS:,}.",
        )
    return time_budget_s, max_trials


def _invalid(found: list[tuple[tuple[int | str, ...], str]]) -> InvalidRequest:
    errors = [FieldError(pointer="/" + "/".join(map(str, place)), message=text) for place, text in found]
    first = errors[0]
    where = f"{first['pointer'].lstrip('/')}: " if first["pointer"] != "/" else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return InvalidRequest(f"{where}{first['message']}{more}", hint=hint_for(errors), errors=errors)
