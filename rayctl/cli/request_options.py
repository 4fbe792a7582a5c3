"""The options that make a request, and the fields they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from rayctl.cli.values import byte_size, document, duration, number_pairs, pairs, percentages

__all__ = ["request_fields", "request_options"]

F = TypeVar("F", bound=Callable[..., Any])
Fields = dict[str, Any]

_REQUEST_OPTIONS = [
    click.option("--target", required=True, metavar="COLUMN", help="Column to learn."),
    click.option(
        "--task",
        required=True,
        type=click.Choice(["classification", "regression", "forecasting"]),
        help="What to predict: a class, a number, or the next steps of series.",
    ),
    click.option("--time-column", metavar="COLUMN", help="Series: the column with the time."),
    click.option("--id-column", "id_columns", multiple=True, metavar="COLUMN", help="Series: what tells them apart."),
    click.option("--horizon", type=int, help="Series: how many steps ahead."),
    click.option("--season-length", type=int, multiple=True, help="Series: steps per season (repeatable)."),
    click.option("--frequency", metavar="FREQ", help="Series: distance of the steps, for example D or h."),
    click.option("--features", multiple=True, metavar="A,B", help="Columns to learn from (default: all others)."),
    click.option("--known-future", multiple=True, metavar="A,B", help="Series: columns whose future is known."),
    click.option("--levels", metavar="80,95", help="Series: prediction intervals, in percent."),
    click.option("--weight-column", metavar="COLUMN", help="Column with the weight of each row."),
    click.option(
        "--metric",
        metavar="NAME|MODULE:FUNCTION",
        help="What to score by, or your own (default: roc_auc, log_loss for more classes, rmse, mase).",
    ),
    click.option("--greater-is-better/--lower-is-better", default=None, help="Direction of a metric of your own."),
    click.option("--needs-proba", is_flag=True, help="A metric of your own gets class probabilities."),
    click.option("--time-budget", metavar="TIME", help="End after this long with the best found."),
    click.option("--max-trials", type=int, help="End after this many trials; alone it makes runs repeatable."),
    click.option("--trial-timeout", metavar="TIME", help="Give up a single trial after this long."),
    click.option(
        "--validation",
        type=click.Choice(["auto", "kfold", "holdout", "time_series"]),
        help="How trials are scored (default auto: k folds, for series the last windows).",
    ),
    click.option("--folds", type=int, help="Number of folds, or of windows for series."),
    click.option("--holdout-fraction", type=float, help="Share of the rows in the test part of a holdout."),
    click.option("--group-column", metavar="COLUMN", help="Rows with the same value stay together in the folds."),
    click.option("--ensemble/--no-ensemble", default=None, help="Deliver a combination of trials, or the best one."),
    click.option("--stacking/--no-stacking", default=None, help="A second model learns the combination."),
    click.option("--calibrate/--no-calibrate", default=None, help="Correct class probabilities."),
    click.option("--class-weight", type=click.Choice(["balanced"]), help="Weigh rare classes up."),
    click.option("--max-predict-ms", type=float, help="Most milliseconds that 1,000 rows may take to predict."),
    click.option("--reuse/--no-reuse", default=None, help="Take finished folds of earlier runs on the same data."),
    click.option("--search-space", metavar="FILE|JSON", help="Models and parameters to try."),
    click.option("--seed", type=int, help="Seed of everything random (default 0)."),
    click.option("--cpus", type=float, help="CPUs per trial."),
    click.option("--gpus", type=float, help="GPUs per trial."),
    click.option("--memory", metavar="SIZE", help="Memory per trial, for example 2GiB."),
    click.option("--resource", "custom", multiple=True, metavar="NAME=N", help="Custom Ray resource per trial."),
    click.option("--max-parallel", type=int, help="Most trials at the same time."),
    click.option("--name", help="Name of the run, for people."),
    click.option("--label", "labels", multiple=True, metavar="K=V", help="Label of the run (repeatable)."),
    click.option("--tenant", envvar="RAYCTL_TENANT", help="Whom the run belongs to."),
]


def request_options(command: F) -> F:
    """Add the options that make a request."""
    for option in reversed(_REQUEST_OPTIONS):
        command = option(command)
    return command


def _split(texts: tuple[str, ...]) -> list[str]:
    return [name for text in texts for name in text.split(",") if name]


# How the texts of an option become the value of its field; the others are taken as they are.
_CONVERT: dict[str, Callable[[Any], Any]] = {
    "time_budget": duration,
    "trial_timeout": duration,
    "id_columns": list,
    "season_length": list,
    "features": _split,
    "known_future": _split,
    "levels": lambda text: percentages(text, "--levels"),
    "labels": lambda texts: pairs(texts, "--label"),
    "search_space": lambda text: document(text, "--search-space"),
}


def request_fields(options: Mapping[str, Any]) -> Fields:
    """Return the fields of the request that these options stand for. Raises click's usage errors."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    _metric(given)
    _resources(given)
    _validation(given)
    return {name: _CONVERT[name](value) if name in _CONVERT else value for name, value in given.items()}


def _metric(given: Fields) -> None:
    """Put a metric of the caller's own together from its path and its options."""
    direction, proba = given.pop("greater_is_better", None), given.pop("needs_proba", False)
    name = given.get("metric") or ""
    if ":" in name or "." in name:
        from rayctl.automl.request import custom_metric

        given["metric"] = custom_metric(name, greater_is_better=direction, needs_proba=proba)
    elif direction is not None or proba:
        raise click.UsageError("Direction and --needs-proba are for a metric of your own (--metric module:function).")


def _resources(given: Fields) -> None:
    resources: Fields = {name: given.pop(name) for name in ("cpus", "gpus") if name in given}
    if "memory" in given:
        resources["memory_bytes"] = byte_size(given.pop("memory"))
    if "custom" in given:
        resources["custom"] = number_pairs(given.pop("custom"), "--resource")
    if resources:
        given["resources"] = resources


def _validation(given: Fields) -> None:
    scheme = {"scheme": given.pop("validation")} if "validation" in given else {}
    rest = {name: given.pop(name) for name in ("folds", "holdout_fraction", "group_column") if name in given}
    if scheme or rest:
        given["validation"] = scheme | rest
