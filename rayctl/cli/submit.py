"""``rayctl automl submit``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.follow import follow, raise_verdict
from rayctl.cli.output import clean, duration_text, emit_document, emit_table, number, say
from rayctl.cli.values import byte_size, document, duration, number_pairs, pairs

if TYPE_CHECKING:
    from rayctl.client.run import Run

__all__ = ["submit"]

F = TypeVar("F", bound=Callable[..., Any])

_SHOWN_ROWS = 5

_REQUEST_OPTIONS = [
    click.option("--target", required=True, metavar="COLUMN", help="Column to learn."),
    click.option("--task", required=True, type=click.Choice(["classification", "regression", "forecasting"])),
    click.option("--time-column", metavar="COLUMN", help="Series: the column with the time."),
    click.option("--id-column", "id_columns", multiple=True, metavar="COLUMN", help="Series: what tells them apart."),
    click.option("--horizon", type=int, help="Series: how many steps ahead."),
    click.option("--season-length", type=int, multiple=True, help="Series: steps per season (repeatable)."),
    click.option("--frequency", metavar="FREQ", help="Series: distance of the steps, for example D or h."),
    click.option("--features", multiple=True, metavar="A,B", help="Columns to learn from (default: all others)."),
    click.option("--metric", help="What to score by, for example roc_auc, rmse, mase."),
    click.option("--time-budget", metavar="TIME", help="End after this long with the best found."),
    click.option("--max-trials", type=int, help="End after this many trials; alone it makes runs repeatable."),
    click.option("--trial-timeout", metavar="TIME", help="Give up a single trial after this long."),
    click.option("--validation", type=click.Choice(["auto", "kfold", "holdout", "time_series"])),
    click.option("--folds", type=int, help="Number of folds, or of windows for series."),
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


def _request_options(command: F) -> F:
    for option in reversed(_REQUEST_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("data", metavar="DATA")
@_request_options
@click.option("--idempotency-key", metavar="KEY", help="The same key again returns the same run.")
@click.option("--dry-run", is_flag=True, help="Check the request here and print it; send nothing.")
@click.option("--wait/--no-wait", default=False, help="Wait for the end; the exit code is the verdict.")
@global_options()
@pass_settings
def submit(
    settings: Settings, data: str, idempotency_key: str | None, dry_run: bool, wait: bool, **options: Any
) -> None:
    """Hand in a table and train on it.

    DATA is a CSV, Parquet or Arrow file; - for standard input; or the URI of a file that the service may read
    (s3://…, uri:/path/on/the/service).
    """
    fields = _fields(options)
    content: Any = sys.stdin.buffer.read() if data == "-" else data
    if dry_run:
        _dry_run(settings, fields, content)
        return
    with settings.connect() as connection:
        run = connection.automl.submit_request(fields, content, idempotency_key=idempotency_key)
        if not wait:
            _accepted(settings, run)
            return
        settings.note(f"run {run.id} accepted")
        try:
            view = follow(settings, run, stream=sys.stderr)
        except Exception:
            if not settings.for_people:
                _finished(settings, run)  # what is known; the error follows and decides the exit code
            raise
        run.fetch()
        _finished(settings, run)
        raise_verdict(view)


def _fields(options: Mapping[str, Any]) -> dict[str, Any]:
    fields = {key: value for key, value in options.items() if value not in (None, ())}
    for name in ("time_budget", "trial_timeout"):
        if name in fields:
            fields[name] = duration(fields[name])
    for name in ("id_columns", "season_length"):
        if name in fields:
            fields[name] = list(fields[name])
    if "features" in fields:
        fields["features"] = [name for text in fields["features"] for name in text.split(",") if name]
    if "labels" in fields:
        fields["labels"] = pairs(fields["labels"], "--label")
    if "search_space" in fields:
        fields["search_space"] = document(fields["search_space"], "--search-space")
    resources: dict[str, Any] = {key: fields.pop(key) for key in ("cpus", "gpus") if key in fields}
    if "memory" in fields:
        resources["memory_bytes"] = byte_size(fields.pop("memory"))
    if "custom" in fields:
        resources["custom"] = number_pairs(fields.pop("custom"), "--resource")
    if resources:
        fields["resources"] = resources
    validation = {"scheme": fields.pop("validation", None), "folds": fields.pop("folds", None)}
    if any(value is not None for value in validation.values()):
        fields["validation"] = {key: value for key, value in validation.items() if value is not None}
    return fields


def _dry_run(settings: Settings, fields: dict[str, Any], content: Any) -> None:
    from rayctl.automl.request import build_request, request_document
    from rayctl.client.data import for_http, source_of

    source = source_of(content)
    if source is not None:
        fields["data"] = source
    request = request_document(build_request(fields), "http")
    if source is None:
        payload = for_http(content)
        settings.note(f"would send {payload.filename} as {payload.content_type}")
    emit_document(settings, request)


def _accepted(settings: Settings, run: Run) -> None:
    if settings.output in ("json", "yaml"):
        emit_document(settings, _summary(run.document, run.id, []))
        return
    say(run.id)
    if settings.for_people:
        settings.note(f"Follow it with `rayctl automl watch {run.id}`.")


def _finished(settings: Settings, run: Run) -> None:
    view = run.document
    if settings.output == "name":
        say(run.id)
        return
    rows = run.leaderboard_documents(None if not settings.for_people else _SHOWN_ROWS)
    if not settings.for_people:
        emit_document(settings, _summary(view, run.id, rows))
        return
    if view["state"] != "succeeded":
        return  # the verdict says it
    say(
        f"run {run.id} {view['state']} after {duration_text(view.get('elapsed_s'))}: "
        f"{clean(view.get('best_model'))} {clean(view.get('metric'))}={number(view.get('best_score'))}"
    )
    done = [row for row in rows if row.get("score") is not None]
    if done:
        emit_table(
            settings,
            ["#", "MODEL", "SCORE", "±"],
            [[clean(r.get("rank")), r["model"], number(r["score"]), number(r.get("std"), 2)] for r in done],
        )


def _summary(view: Mapping[str, Any], run_id: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    known = {key: view.get(key) for key in ("state", "best_score", "best_model", "metric")}
    return {"run_id": run_id, **known, "leaderboard": rows, "run": dict(view)}
