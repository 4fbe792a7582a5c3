"""``rayctl automl why``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.explain import explain_run, explain_trial
from rayctl.cli.output import clean, emit_document, emit_table, say
from rayctl.errors import NotFound

__all__ = ["why"]

_EXAMPLES = """\b
Examples:
  rayctl automl why RUN           why it ended as it did, and what became of its trials
  rayctl automl why RUN 7         the same for trial 7 (column TRIAL of `leaderboard -o wide`)
"""


@click.command(epilog=_EXAMPLES)
@click.argument("run_id", metavar="RUN")
@click.argument("trial", metavar="[TRIAL]", type=click.IntRange(min=0), required=False)
@global_options()
@pass_settings
def why(settings: Settings, run_id: str, trial: int | None) -> None:
    """Say why a run ended as it did, and why trials failed, were skipped or were given up; and what can be done."""
    with settings.connect() as connection:
        run = connection.automl.run(run_id)
        view, rows = run.fetch(), run.leaderboard_documents()
    if trial is None:
        found = explain_run(view, rows)
    else:
        row = next((row for row in rows if row["trial"] == trial), None)
        if row is None:
            raise NotFound(
                f"Run {run_id} has no trial {trial} that has ended.",
                code="trial-not-found",
                hint=f"`rayctl automl leaderboard {run_id} -o wide` lists them.",
            )
        found = explain_trial(view, row, rows)
    if settings.output == "name":
        say(run_id if trial is None else str(trial))
    elif settings.for_people:
        _show(settings, found)
    else:
        emit_document(settings, found)


def _show(settings: Settings, found: Mapping[str, Any]) -> None:
    say(clean(found["summary"]))
    for text in found["because"]:
        say(f"  because  {clean(text)}")
    outcomes = found.get("outcomes") or []
    if outcomes:
        say("")
        emit_table(
            settings,
            ["TRIALS", "STATE", "CODE", "MEANING"],
            [[str(item["count"]), item["state"], item["code"] or "–", item["meaning"]] for item in outcomes],
        )
        for item in outcomes:
            if item["example"]:
                first = item["example"]
                say(f"  {item['code']}: trial {first['trial']} ({clean(first['model'])}): {clean(first['message'])}")
    if found["you_can"]:
        say("")
        width = max(len(item["command"]) for item in found["you_can"])
        for item in found["you_can"]:
            say(f"you can  {clean(item['command']).ljust(width)}  {clean(item['effect'])}")
