"""``rayctl automl leaderboard``, and its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.output import Column, clean, duration_text, emit, number
from rayctl.client.figures import Scale, apart, share_text, size_text, spark, spark_scale

__all__ = ["board_columns", "leaderboard", "reason_text", "score_note", "state_text", "two_scores", "why_not_the_best"]

Row = Mapping[str, Any]


def why_not_the_best(view: Row) -> str:
    """Return why a run delivers an ensemble that scores worse than its best single trial; empty if it does not."""
    ensemble, best = view.get("ensemble_score"), view.get("best_score")
    if ensemble is None or best is None or not (ensemble < best if view.get("greater_is_better") else ensemble > best):
        return ""
    if view.get("max_predict_ms") is not None:
        return "max_predict_ms leaves out what takes longer to predict"
    return "the best of many trials owes part of its score to chance, since it was chosen by it; the average is safer"


def two_scores(view: Row) -> tuple[str, str]:
    """Return the scores of the best single trial and of the delivered model, as texts that differ if they do."""
    return apart(view.get("best_score"), view.get("ensemble_score"))


def score_note(view: Row) -> str:
    """Return what the columns SCORE and ± of a leaderboard are."""
    better = "higher" if view.get("greater_is_better", True) else "lower"
    parts = "windows" if view.get("task") == "forecasting" else "folds"
    return (
        f"SCORE is {clean(view.get('metric'))} ({better} is better), the mean over {parts}; "
        f"± is its standard deviation over {parts}."
    )


def reason_text(row: Row) -> str:
    """Return code and message of a trial that failed or was skipped."""
    error = row.get("error") or {}
    return " ".join(clean(error[key]) for key in ("code", "message") if error.get(key))


def state_text(row: Row) -> str:
    """Return the state with its marks: ``reused`` from an earlier run, ``capped``: time ended fits of it."""
    capped = len(row.get("stopped_at") or {})
    marks = [str(row["state"]), "reused" if row.get("reused") else "", f"capped {capped}" if capped else ""]
    return ", ".join(mark for mark in marks if mark)


def board_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns for these trials; those that would be empty are left out."""
    scale = spark_scale(row.get("fold_scores") or () for row in rows if row.get("state") == "done")
    columns: list[Column | None] = [
        ("#", lambda row: clean(row.get("rank"))),
        ("MODEL", lambda row: str(row["model"])),
        ("SCORE", lambda row: number(row.get("score"))),
        ("±", lambda row: number(row.get("std"), 2)),
        ("WEIGHT", lambda row: share_text(row.get("weight"))) if _any(rows, "weight") else None,
        ("FOLDS", lambda row: _folds(row, scale)) if any(_folds(row, scale) for row in rows) else None,
        ("FIT", lambda row: duration_text(row.get("fit_s"))),
        ("PREDICT", lambda row: duration_text(row.get("predict_s") or None)) if _any(rows, "predict_s") else None,
        ("SIZE", lambda row: clean(size_text(row.get("size_bytes")))) if _any(rows, "size_bytes") else None,
        ("STATE", state_text),
        ("REASON", reason_text) if _any(rows, "error") else None,
    ]
    return [column for column in columns if column is not None]


def _any(rows: Sequence[Row], field: str) -> bool:
    return any(row.get(field) for row in rows)


def _folds(row: Row, scale: Scale | None) -> str:
    return spark(row.get("fold_scores") or (), scale)


_WIDE: list[Column] = [
    ("TRIAL", lambda row: str(row["trial"])),
    ("FOLD SCORES", lambda row: " ".join(number(score) for score in row.get("fold_scores") or ())),
    ("STOPPED", lambda row: " ".join(f"{fold}:{at}" for fold, at in (row.get("stopped_at") or {}).items())),
    ("PARAMS", lambda row: " ".join(f"{key}={value}" for key, value in (row.get("params") or {}).items())),
]

_EXAMPLES = """\b
Examples:
  rayctl automl leaderboard RUN --limit 10
  rayctl automl leaderboard RUN -o wide        parameters and the score of each fold
  rayctl automl why RUN 7                      what became of trial 7, and why
"""


@click.command(epilog=_EXAMPLES)
@click.argument("run_id", metavar="RUN")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many trials.")
@global_options()
@pass_settings
def leaderboard(settings: Settings, run_id: str, limit: int | None) -> None:
    """Show the trials of a run, best first; failed ones with their reason. Also while the run goes on.

    WEIGHT is the share in the delivered model, FOLDS has one block per fold (higher: a larger score). "reused" means
    taken from an earlier run on the same data, "capped 2" that time ended the fits of two folds.
    """
    with settings.connect() as connection:
        run = connection.automl.run(run_id)
        rows = run.leaderboard_documents(limit)
        emit(
            settings,
            rows,
            rows=rows,
            columns=board_columns(rows),
            wide=_WIDE,
            name=lambda row: str(row["trial"]),
            empty="No trial has ended yet.",
        )
        if rows and settings.for_people:
            settings.note(score_note(run.document))
