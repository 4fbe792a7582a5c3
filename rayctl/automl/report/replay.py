"""The command line that hands in the same request again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

__all__ = ["replay"]

_PLAIN = {
    "metric": "--metric",
    "time_column": "--time-column",
    "horizon": "--horizon",
    "frequency": "--frequency",
    "max_trials": "--max-trials",
    "max_parallel": "--max-parallel",
    "name": "--name",
    "seed": "--seed",
}
_REPEATED = {"id_columns": "--id-column", "season_length": "--season-length"}
_SECONDS = {"time_budget_s": "--time-budget", "trial_timeout_s": "--trial-timeout"}
_RESOURCES = {"cpus": ("--cpus", 1.0), "gpus": ("--gpus", 0.0), "memory_bytes": ("--memory", None)}
# Not part of what is learned, or in the line by other means.
_KNOWN = {"task", "target", "data", "features", "search_space", "validation", "resources", "labels"}
_KNOWN |= {"tenant", "trainer_resources"}
_DEFAULTS: dict[str, Any] = {
    "known_future": [],
    "levels": [80, 95],
    "stacking": False,
    "reuse": True,
}


def replay(request: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the line, quoted for a shell, and the fields of the request that it cannot express."""
    missing: list[str] = []
    words = ["rayctl", "automl", "submit", (request.get("data") or {}).get("uri") or "DATA"]
    words += ["--task", str(request.get("task")), "--target", str(request.get("target"))]
    words += _plain(request)
    features = [str(name) for name in request.get("features") or []]
    if any("," in name for name in features):
        missing.append("features")
    elif features:
        words += ["--features", ",".join(features)]
    words += _validation(request.get("validation") or {}, missing)
    if request.get("search_space"):
        words += ["--search-space", json.dumps(request["search_space"], sort_keys=True, default=str)]
    words += _resources(request.get("resources") or {})
    if request.get("tenant") not in (None, "default"):
        words += ["--tenant", str(request["tenant"])]
    known = _KNOWN | set(_PLAIN) | set(_SECONDS) | set(_REPEATED)
    for name, value in sorted(request.items()):
        if name not in known and value not in (None, _DEFAULTS.get(name)):
            missing.append(name)
    return " ".join(shlex.quote(word) for word in words), missing


def _plain(request: Mapping[str, Any]) -> list[str]:
    words = []
    for name, option in _PLAIN.items():
        if request.get(name) is not None:
            words += [option, str(request[name])]
    for name, option in _SECONDS.items():
        if request.get(name) is not None:
            words += [option, f"{request[name]:g}s"]
    for name, option in _REPEATED.items():
        for value in request.get(name) or []:
            words += [option, str(value)]
    return words


def _validation(validation: Mapping[str, Any], missing: list[str]) -> list[str]:
    words = []
    if validation.get("scheme", "auto") != "auto":
        words += ["--validation", str(validation["scheme"])]
    if validation.get("folds"):
        words += ["--folds", str(validation["folds"])]
    if validation.get("group_column") or validation.get("holdout_fraction", 0.25) != 0.25:
        missing.append("validation")
    return words


def _resources(resources: Mapping[str, Any]) -> list[str]:
    words = []
    for name, (option, default) in _RESOURCES.items():
        if resources.get(name) not in (None, default):
            words += [option, f"{resources[name]:g}" if isinstance(resources[name], float) else str(resources[name])]
    for name, value in (resources.get("custom") or {}).items():
        words += ["--resource", f"{name}={value:g}"]
    return words
