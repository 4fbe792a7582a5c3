"""From the name in a request to an estimator: import the class, check it and its parameters, build it.

Only ever called in task processes, because importing a caller's class runs the caller's code. Errors are
`InvalidRequest` (codes ``unknown-model``, ``unknown-parameter``); an engine that meets them while evaluating
turns them into a `TrialError` with the same code.
"""

from __future__ import annotations

import copy
import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from rayctl.automl import own_classes
from rayctl.errors import InvalidRequest

__all__ = [
    "accepted_parameters",
    "build",
    "check_methods",
    "check_parameters",
    "load_class",
    "load_function",
    "takes_weights",
    "unknown_model",
]

_MAX_SEED = 2**31 - 1  # LightGBM and others parse seeds as signed 32-bit integers


def load_class(model: str, pickled_class: bytes | None = None, known: Iterable[str] = ()) -> type:
    """Return the class that a search entry names.

    Args:
        model: An importable path ``package.module.Class``; with ``pickled_class`` just a label.
        pickled_class: The class itself, by cloudpickle.
        known: Short names that exist, for suggestions.

    Raises:
        InvalidRequest: ``unknown-model``.
    """
    if pickled_class is not None:
        return _unpickle_class(model, pickled_class)
    module_name, _, attribute = model.rpartition(".")
    if not module_name:
        raise unknown_model(model, known)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the import runs foreign code: anything can come out
        raise InvalidRequest(
            f"The model {model!r} cannot be imported: {type(error).__name__}: {error}",
            code="unknown-model",
            hint=f"Make {module_name.partition('.')[0]!r} available to the workers through runtime_env.",
        ) from error
    found = getattr(module, attribute, None)
    if not isinstance(found, type):
        what = "is not a class" if found is not None else f"does not exist in {module_name}"
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise InvalidRequest(
            f"The model {model!r} cannot be used: {attribute!r} {what}.",
            code="unknown-model",
            hint=_suggest(attribute, classes) or "Name a class with fit and predict: package.module.Class.",
        )
    return found


def unknown_model(model: str, known: Iterable[str]) -> InvalidRequest:
    """Return the error for a short name that no family has."""
    names = sorted(known)
    return InvalidRequest(
        f"There is no model {model!r}. Known names: {', '.join(names)}.",
        code="unknown-model",
        hint=_suggest(model, names) or "Use one of the names, or an importable path such as package.module.Class.",
    )


def check_methods(cls: type, model: str) -> None:
    """Refuse a class without ``fit`` and ``predict``.

    Raises:
        InvalidRequest: ``unknown-model``, naming what is missing.
    """
    missing = [name for name in ("fit", "predict") if not callable(getattr(cls, name, None))]
    if missing:
        raise InvalidRequest(
            f"The model {model!r} has no method {' and no '.join(missing)}.",
            code="unknown-model",
            hint="A model is a class with fit(X, y) and predict(X), as in scikit-learn.",
        )


def accepted_parameters(cls: type) -> frozenset[str] | None:
    """Return the parameter names that a class takes; None if it takes any."""
    names = set()
    any_name = False
    for parameter in _signature(cls):
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            any_name = True
        elif parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
            names.add(parameter.name)
    if any_name:
        return _lightgbm_names(cls)
    return frozenset(names)


def _signature(cls: type) -> tuple[inspect.Parameter, ...]:
    return _parameters(cls, cls.__init__, cls.__new__)  # type: ignore[misc]


@lru_cache(maxsize=64)
def _parameters(cls: type, init: Any, new: Any) -> tuple[inspect.Parameter, ...]:
    """Look once per class: with many parameters it takes longer than some fits. A class may get other methods."""
    try:
        return tuple(inspect.signature(cls).parameters.values())
    except (TypeError, ValueError):
        return (inspect.Parameter("params", inspect.Parameter.VAR_KEYWORD),)  # not inspectable: let it decide


@lru_cache(maxsize=8)
def _lightgbm_names(cls: type) -> frozenset[str] | None:
    """LightGBM takes any keyword and only warns about unknown ones, but it knows all its names."""
    if cls.__module__ != "lightgbm.sklearn":
        return None
    from lightgbm.basic import _ConfigAliases

    aliases = _ConfigAliases._get_all_param_aliases()
    return frozenset(cls().get_params()) | frozenset(aliases) | {name for group in aliases.values() for name in group}


def check_parameters(cls: type, model: str, params: Iterable[str]) -> None:
    """Refuse parameters that the class does not take.

    Raises:
        InvalidRequest: ``unknown-parameter``, naming the parameter, the model and the accepted names.
    """
    accepted = accepted_parameters(cls)
    if accepted is None:
        return
    # Of `step__name` only the step is known here; the estimator itself checks the rest when it is built.
    unknown = sorted(name for name in params if name not in accepted and name.partition("__")[0] not in accepted)
    if not unknown:
        return
    shown = sorted(accepted)
    listed = ", ".join(shown[:40]) + (", …" if len(shown) > 40 else "")
    raise InvalidRequest(
        f"The model {model!r} has no parameter {', '.join(map(repr, unknown))}. It accepts: {listed or 'none'}.",
        code="unknown-parameter",
        hint=_suggest(unknown[0], shown) or "Leave it out, or choose one of the accepted names.",
        errors=[{"pointer": f"/search_space/{model}/{name}", "message": "unknown parameter"} for name in unknown],
    )


def build(cls: type, model: str, params: Mapping[str, Any], seed: int) -> Any:
    """Return a new estimator: one thread, seeded, with ``params`` (copied, so that trials cannot influence each other).

    ``random_state`` and ``n_jobs`` are set where the class takes them and the caller did not set ``random_state``.

    Raises:
        InvalidRequest: ``unknown-parameter``.
    """
    check_parameters(cls, model, params)
    own = {parameter.name for parameter in _signature(cls)}
    values = copy.deepcopy(dict(params))
    if "random_state" in own:
        values.setdefault("random_state", seed & _MAX_SEED)
    if "n_jobs" in own:
        values["n_jobs"] = 1  # the scheduler gives a task one CPU; more threads only slow the neighbours
    nested = {name: values.pop(name) for name in list(values) if "__" in name and name not in own}
    estimator = cls(**values)
    if nested:
        estimator.set_params(**nested)
    return estimator


def takes_weights(model: Any) -> bool:
    """Whether ``fit`` of a class, or of an object of it, takes ``sample_weight``."""
    try:
        return "sample_weight" in inspect.signature(model.fit).parameters
    except (TypeError, ValueError):
        return False


def load_function(path: str, pickled: bytes | None = None) -> Callable[..., Any]:
    """Return a caller's own metric function, by importable path or by cloudpickle.

    Raises:
        InvalidRequest: ``unknown-metric``.
    """
    try:
        if pickled is not None:
            found = own_classes.load(pickled)
        else:
            module, _, name = path.replace(":", ".").rpartition(".")
            found = getattr(importlib.import_module(module), name)
    except Exception as error:  # the caller's code: anything can come out
        raise InvalidRequest(
            f"The metric {path!r} cannot be loaded: {type(error).__name__}: {error}",
            code="unknown-metric",
            hint="Give an importable path such as package.module.function, available to the workers.",
        ) from error
    if not callable(found):
        raise InvalidRequest(
            f"The metric {path!r} is not a function.",
            code="unknown-metric",
            hint="Name a function that is called as f(y_true, y_pred).",
        )
    return found


def _unpickle_class(model: str, pickled_class: bytes) -> type:
    try:
        found = own_classes.load(pickled_class)
    except Exception as error:  # the caller's code: anything can come out
        raise InvalidRequest(
            f"The class of model {model!r} cannot be loaded: {type(error).__name__}: {error}",
            code="unknown-model",
            hint="Make what it refers to available to the workers through runtime_env.",
        ) from error
    if not isinstance(found, type):
        raise InvalidRequest(
            f"What was sent as model {model!r} is not a class.",
            code="unknown-model",
            hint="Pass the class itself, not an object of it.",
        )
    return found


def _suggest(name: str, known: Iterable[str]) -> str | None:
    candidates = list(known)
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(by_lower[match] for match in close)}?" if close else None
