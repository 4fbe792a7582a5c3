"""``rayctl automl watch``."""

from __future__ import annotations

import sys

import click

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.follow import follow, raise_verdict
from rayctl.cli.output import emit_document, say

__all__ = ["watch"]


@click.command()
@click.argument("run_id", metavar="RUN")
@global_options()
@pass_settings
def watch(settings: Settings, run_id: str) -> None:
    """Follow a run until it ends; the exit code is the verdict.

    In a terminal a live view, elsewhere one line per change. With -o json one event per line.
    Ctrl-C stops watching, not the run.
    """
    with settings.connect() as connection:
        run = connection.automl.get(run_id)
        as_json = settings.output == "json"
        view = follow(settings, run, stream=sys.stdout, events_as_json=as_json)
        if settings.output == "yaml":
            emit_document(settings, view)
        elif settings.output == "name":
            say(run.id)
        raise_verdict(view)
