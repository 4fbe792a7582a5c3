"""From keyword arguments to a checked request, including search spaces that name classes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rayctl.errors import FieldError, InvalidRequest

if TYPE_CHECKING:
    from rayctl.automl.model import RunRequest

__all__ = ["build_request", "request_document", "search_entries", "seconds"]

_DURATIONS = ("time_budget_s", "trial_timeout_s")


def build_request(fields: Mapping[str, Any]) -> RunRequest:
    """Check the fields of a request and return it. None means: not given.

    ``time_budget`` and ``trial_timeout`` are accepted beside their ``_s`` names; durations may be seconds,
    texts (``"10m"``) or `timedelta`.

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
                raise InvalidRequest(f"Give {short} or {name}, not both.")
            given[name] = given.pop(short)
        if isinstance(given.get(name), timedelta):
            given[name] = given[name].total_seconds()
    if "search_space" in given:
        given["search_space"] = search_entries(given["search_space"])
    try:
        return RunRequest.model_validate(given)
    except ValidationError as error:
        raise _invalid([(item["loc"], item["msg"]) for item in error.errors()]) from None


def request_document(request: RunRequest, kind: str) -> dict[str, Any]:
    """Return the request as it is sent: only what was given, so that the service's defaults stay the service's.

    Raises:
        InvalidRequest: something in it cannot be sent that way (pickled classes over HTTP, values without a JSON form).
    """
    pickled = [entry.model for entry in request.search_space or () if entry.pickled_class is not None]
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
    from pydantic_core import PydanticSerializationError

    try:
        return request.model_dump(mode="json", exclude_unset=True)
    except PydanticSerializationError as error:
        raise InvalidRequest(
            f"The request holds a value that has no JSON form: {error}", hint="Use numbers, texts, lists and mappings."
        ) from None


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


def _importable(cls: type) -> bool:
    """Whether ``module.Class`` finds this very class, so that a worker with the same packages finds it as well."""
    if cls.__module__ == "__main__" or "." in cls.__qualname__:
        return False
    return getattr(sys.modules.get(cls.__module__), cls.__qualname__, None) is cls


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
            raise InvalidRequest(f"{error}.", code="bad-duration") from None
    return value


def _invalid(found: list[tuple[tuple[int | str, ...], str]]) -> InvalidRequest:
    errors = [
        FieldError(pointer="/" + "/".join(map(str, place)), message=text.removeprefix("Value error, "))
        for place, text in found
    ]
    first = errors[0]
    where = f"{first['pointer'].lstrip('/')}: " if first["pointer"] != "/" else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return InvalidRequest(f"{where}{first['message']}{more}", errors=errors)
