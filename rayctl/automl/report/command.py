"""The command line that hands in the same request again, and the request in a form that fits on a page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

__all__ = ["brief", "submit_command"]

_PLAIN = {
    "time_column": "--time-column",
    "horizon": "--horizon",
    "frequency": "--frequency",
    "weight_column": "--weight-column",
    "class_weight": "--class-weight",
    "max_trials": "--max-trials",
    "max_parallel": "--max-parallel",
    "max_predict_ms": "--max-predict-ms",
    "name": "--name",
    "seed": "--seed",
}
_REPEATED = {"id_columns": "--id-column", "season_length": "--season-length"}
_LISTS = {"features": "--features", "known_future": "--known-future", "levels": "--levels"}
_SECONDS = {"time_budget_s": "--time-budget", "trial_timeout_s": "--trial-timeout"}
_SWITCHES = {"ensemble": None, "stacking": False, "calibrate": None, "reuse": True}  # with what is left unsaid
_VALIDATION = {
    "scheme": ("--validation", "auto"),
    "folds": ("--folds", None),
    "holdout_fraction": ("--holdout-fraction", 0.25),
    "group_column": ("--group-column", None),
}
_RESOURCES = {"cpus": ("--cpus", 1.0), "gpus": ("--gpus", 0.0), "memory_bytes": ("--memory", None)}
_LEVELS = [80, 95]
# In the line by other means, or of the run and not of what is learned.
_KNOWN = {"task", "target", "data", "metric", "custom_metric", "search_space", "validation", "resources", "labels"}
_KNOWN |= {"tenant", "trainer_resources", "continues", "replay_of"}
_KNOWN |= {*_PLAIN, *_REPEATED, *_LISTS, *_SECONDS, *_SWITCHES}
_PICKLES = ("pickled", "pickled_class")


def submit_command(request: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return ``rayctl automl submit …``, quoted for a shell, and the fields of the request that it cannot express."""
    missing: list[str] = []
    words = ["rayctl", "automl", "submit", _data(request.get("data") or {}, missing)]
    words += ["--task", str(request.get("task")), "--target", str(request.get("target"))]
    words += _metric(request, missing)
    words += _simple(request, missing)
    words += _group(request.get("validation") or {}, _VALIDATION)
    words += _search_space(request.get("search_space"), missing)
    resources = request.get("resources") or {}
    words += _group(resources, _RESOURCES)
    for name, value in (resources.get("custom") or {}).items():
        words += ["--resource", f"{name}={_number(value)}"]
    for name, value in (request.get("labels") or {}).items():
        words += ["--label", f"{name}={value}"]
    if request.get("tenant") not in (None, "default"):
        words += ["--tenant", str(request["tenant"])]
    missing += [name for name, value in request.items() if name not in _KNOWN and value not in (None, [], {})]
    return " ".join(shlex.quote(word) for word in words), sorted(missing)


def _data(source: Mapping[str, Any], missing: list[str]) -> str:
    """Return how the data is named; a path is one of the service's machine, not the reader's."""
    if source.get("format"):
        missing.append("data.format")
    for name in ("uri", "upload"):
        if source.get(name):
            return f"{name}:{source[name]}"
    return "DATA"


def _number(value: float) -> str:
    """Return a number exactly, without an exponent."""
    text = format(Decimal(repr(float(value))), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _simple(request: Mapping[str, Any], missing: list[str]) -> list[str]:
    words = []
    for name, option in _PLAIN.items():
        if request.get(name) is not None:
            words += [option, str(request[name])]
    for name, option in _SECONDS.items():
        if request.get(name) is not None:
            words += [option, f"{_number(request[name])}s"]
    for name, option in _REPEATED.items():
        for value in request.get(name) or []:
            words += [option, str(value)]
    words += _lists(request, missing)
    for name, default in _SWITCHES.items():
        if request.get(name) not in (None, default):
            words.append(f"--{name}" if request[name] else f"--no-{name}")
    return words


def _lists(request: Mapping[str, Any], missing: list[str]) -> list[str]:
    words: list[str] = []
    for name, option in _LISTS.items():
        values = [str(value) for value in request.get(name) or []]
        no_levels = name == "levels" and request.get(name) == []  # the option has no form for none at all
        if no_levels or any("," in value for value in values):
            missing.append(name)
        elif values and request[name] != _LEVELS:
            words += [option, ",".join(values)]
    return words


def _metric(request: Mapping[str, Any], missing: list[str]) -> list[str]:
    own = request.get("custom_metric")
    if not own:
        return ["--metric", str(request["metric"])] if request.get("metric") else []
    module, _, function = str(own.get("path") or "").rpartition(".")
    if not module:
        missing.append("custom_metric")
        return []
    words = ["--metric", f"{module}:{function}"]
    words.append("--greater-is-better" if own.get("greater_is_better", True) else "--lower-is-better")
    return [*words, "--needs-proba"] if own.get("needs_proba") else words


def _search_space(entries: Any, missing: list[str]) -> list[str]:
    if not entries:
        return []
    if any(entry.get("pickled_class") for entry in entries):
        missing.append("search_space")
        return []
    return ["--search-space", json.dumps(entries, sort_keys=True, default=str)]


def _group(values: Mapping[str, Any], options: Mapping[str, tuple[str, Any]]) -> list[str]:
    words = []
    for name, (option, default) in options.items():
        if values.get(name) not in (None, default):
            words += [option, _number(values[name]) if isinstance(values[name], float) else str(values[name])]
    return words


def brief(request: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the request without what is large and says nothing: tables in place and pickled classes."""
    if request is None:
        return None

    def shown(name: str, value: Any) -> Any:
        if name in _PICKLES and value:
            return f"<{len(value)} characters>"
        if name == "columns" and isinstance(value, Mapping):
            return {key: f"<{len(values)} values>" for key, values in value.items()}
        if isinstance(value, Mapping):
            return {key: shown(key, item) for key, item in value.items()}
        return [shown("", item) for item in value] if isinstance(value, list) else value

    return {name: shown(name, value) for name, value in request.items()}
