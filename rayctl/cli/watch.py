"""``rayctl automl watch``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.follow import follow, raise_verdict
from rayctl.cli.output import emit_document, say

if TYPE_CHECKING:
    from rayctl.client.run import Run

__all__ = ["show", "watch"]


_EXAMPLES = """\b
Examples:
  rayctl automl watch RUN
  rayctl automl watch RUN --timeout 5m -q && rayctl automl result RUN
"""


@click.command(epilog=_EXAMPLES)
@click.argument("run_id", metavar="RUN")
@global_options()
@pass_settings
def watch(settings: Settings, run_id: str) -> None:
    """Follow a run until it ends; the exit code is the verdict.

    In a terminal a live view, elsewhere one line per change. With -o json one event per line.
    Ctrl-C stops watching, not the run.
    """
    with settings.connect() as connection:
        show(settings, connection.automl.get(run_id))


def show(settings: Settings, run: Run) -> None:
    """Follow a run on standard output. Raises RunFailed if it does not succeed."""
    view = follow(settings, run, stream=sys.stdout, events_as_json=settings.output == "json")
    if settings.output == "yaml":
        emit_document(settings, view)
    elif settings.output == "name":
        say(run.id)
    raise_verdict(view)
