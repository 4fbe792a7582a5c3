"""``rayctl automl submit``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from rayctl.cli.board import two_scores, why_not_the_best
from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.follow import follow, raise_verdict
from rayctl.cli.output import clean, duration_text, emit_document, emit_table, number, say, warn
from rayctl.cli.request_options import request_fields, request_options
from rayctl.client.figures import share_text

if TYPE_CHECKING:
    from rayctl.client.run import Run

__all__ = ["submit"]

_SHOWN_ROWS = 5

_EXAMPLES = """\b
Examples:
  rayctl automl submit churn.csv --target churned --task classification --time-budget 2m --wait
  rayctl automl submit churn.csv --target churned --task classification --metric f1 --class-weight balanced
  rayctl automl submit sales.parquet --target units --task forecasting --time-column day \\
      --id-column shop --horizon 28 --known-future price,holiday --levels 50,90
  rayctl automl submit prices.csv --target price --task regression --no-ensemble --max-trials 20 --seed 7
  rayctl automl submit prices.csv --target price --task regression --metric sklearn.metrics:mean_pinball_loss
"""


@click.command(epilog=_EXAMPLES)
@click.argument("data", metavar="DATA")
@request_options
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
    fields = request_fields(options)
    content: Any = sys.stdin.buffer.read() if data == "-" else data
    if dry_run:
        _dry_run(settings, fields, content)
        return
    with settings.connect() as connection:
        run = connection.automl.submit_request(fields, content, idempotency_key=idempotency_key)
        if settings.for_people:
            warn(settings, (run.document.get("data") or {}).get("warnings") or [])
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
    metric = clean(view.get("metric"))
    best, delivered = two_scores(view)
    say(
        f"run {run.id} {view['state']} after {duration_text(view.get('elapsed_s'))}: "
        f"{clean(view.get('best_model'))} {metric}={best}"
    )
    members = [int(trial) for trial, weight in (view.get("ensemble") or {}).items() if weight > 0]
    if members and (len(members) > 1 or view.get("best_trial") not in (None, members[0])):
        what = f"an ensemble of {len(members)} trials" if len(members) > 1 else f"trial {members[0]} alone"
        say(f"the model is {what}: {metric}={delivered}")
        if why := why_not_the_best(view):
            settings.note(f"({why})")
    warn(settings, view.get("warnings") or [])
    done = [row for row in rows if row.get("score") is not None]
    if done:
        emit_table(
            settings,
            ["#", "MODEL", "SCORE", "±", "WEIGHT"],
            [
                [
                    clean(r.get("rank")),
                    r["model"],
                    number(r["score"]),
                    number(r.get("std"), 2),
                    share_text(r.get("weight")),
                ]
                for r in done
            ],
        )
    if failed := view["trials"]["failed"]:
        trials = "1 trial" if failed == 1 else f"{failed} trials"
        settings.note(f"{trials} failed: `rayctl automl leaderboard {run.id}` says why.")
    if skipped := view["trials"].get("skipped"):
        trials = "1 trial was" if skipped == 1 else f"{skipped} trials were"
        settings.note(f"{trials} given up or not run to the end: `rayctl automl why {run.id}` says why.")
    settings.note(f"`rayctl automl report {run.id} --open` shows more.")


def _summary(view: Mapping[str, Any], run_id: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    known = {key: view.get(key) for key in ("state", "best_score", "best_model", "metric")}
    return {"run_id": run_id, **known, "leaderboard": rows, "run": dict(view)}
