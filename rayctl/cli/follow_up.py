"""``rayctl automl finish | extend | replay``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.output import emit_document, say
from rayctl.cli.values import duration
from rayctl.cli.watch import show

if TYPE_CHECKING:
    from rayctl.client.run import Run

__all__ = ["extend", "finish", "replay"]

_FINISH = """\b
Example:
  rayctl automl finish RUN --wait && rayctl automl result RUN
"""
_EXTEND = """\b
Examples:
  rayctl automl extend RUN --time-budget 2m --watch
  rayctl automl extend RUN --max-trials 20
"""
_REPLAY = """\b
Example:
  rayctl automl replay RUN --watch      the leaderboard must be the same
"""

_watched = click.option(
    "--watch/--no-watch",
    "--wait/--no-wait",
    "watched",
    default=False,
    help="Follow it until it ends; the exit code is the verdict.",
)


@click.command(epilog=_FINISH)
@click.argument("run_id", metavar="RUN")
@click.option("--wait/--no-wait", default=False, help="Wait until it has ended (see --timeout).")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@global_options()
@pass_settings
def finish(settings: Settings, run_id: str, wait: bool, dry_run: bool) -> None:
    """End the search of a run now; it delivers the best it has. Twice, or an ended run, is fine."""
    with settings.connect() as connection:
        run = connection.automl.run(run_id)
        if dry_run:
            say(f"run {run_id} would be finished, is {run.document['state']}")
            return
        run.finish()
        if wait:
            run.wait(settings.timeout_s)
        state = str(run.document["state"])
        if settings.output in ("json", "yaml"):
            emit_document(settings, run.document)
        elif settings.output == "name":
            say(run_id)
        else:
            say(f"run {run_id} {'is being finished' if state == 'running' else state}")


@click.command(epilog=_EXTEND)
@click.argument("run_id", metavar="RUN")
@click.option("--time-budget", metavar="TIME", help="How much longer, for example 2m.")
@click.option("--max-trials", type=click.IntRange(min=1), metavar="N", help="How many trials more.")
@click.option("--idempotency-key", metavar="KEY", help="The same key again returns the same new run.")
@_watched
@global_options()
@pass_settings
def extend(
    settings: Settings,
    run_id: str,
    time_budget: str | None,
    max_trials: int | None,
    idempotency_key: str | None,
    watched: bool,
) -> None:
    """Continue an ended run with more budget, as a new run that takes over all of its trials.

    Prints the id of the new run. The old run keeps its model and its report.
    """
    if time_budget is None and max_trials is None:
        raise click.UsageError("By how much? Give --time-budget, --max-trials, or both.")
    budget_s = None if time_budget is None else duration(time_budget)
    with settings.connect() as connection:
        new = connection.automl.run(run_id).extend(budget_s, max_trials, idempotency_key=idempotency_key)
        _begun(settings, new, "continues", run_id, watched)


@click.command(epilog=_REPLAY)
@click.argument("run_id", metavar="RUN")
@click.option("--idempotency-key", metavar="KEY", help="The same key again returns the same new run.")
@_watched
@global_options()
@pass_settings
def replay(settings: Settings, run_id: str, idempotency_key: str | None, watched: bool) -> None:
    """Repeat exactly what finished in an ended run, as a new run.

    With the same data, seed and versions it has the same scores, also when the run was bounded by time.
    """
    with settings.connect() as connection:
        new = connection.automl.run(run_id).replay(idempotency_key=idempotency_key)
        _begun(settings, new, "repeats", run_id, watched)


def _begun(settings: Settings, new: Run, what: str, old_id: str, watched: bool) -> None:
    """Tell of a new run, and follow it if that is wanted."""
    if watched:
        settings.note(f"run {new.id} {what} {old_id}")
        show(settings, new)
    elif settings.output in ("json", "yaml"):
        emit_document(settings, new.document)
    else:
        say(new.id)
        if settings.for_people:
            settings.note(f"It {what} {old_id}. Follow it with `rayctl automl watch {new.id}`.")
