"""The group ``rayctl automl``."""

from __future__ import annotations

import click

from rayctl.cli.lazy import LazyGroup

__all__ = ["automl"]

COMMANDS = {
    "submit": ("rayctl.cli.submit:submit", "Hand in a table and train on it."),
    "list": ("rayctl.cli.runs:list_runs", "List runs, newest first."),
    "watch": ("rayctl.cli.watch:watch", "Follow a run until it ends."),
    "leaderboard": ("rayctl.cli.board:leaderboard", "Show the trials of a run, best first."),
    "result": ("rayctl.cli.runs:result", "Show the result of a run."),
    "report": ("rayctl.cli.report:report", "Show or save the report of a run, with plots."),
    "why": ("rayctl.cli.why:why", "Say why a run or a trial ended as it did."),
    "predict": ("rayctl.cli.files:predict", "Predict with the model of a run."),
    "download": ("rayctl.cli.files:download", "Save files of a run's result."),
    "export": ("rayctl.cli.export:export", "Save the model of a run as ONNX."),
    "finish": ("rayctl.cli.follow_up:finish", "End a run now and take its best so far."),
    "extend": ("rayctl.cli.follow_up:extend", "Continue an ended run with more budget."),
    "replay": ("rayctl.cli.follow_up:replay", "Repeat a run exactly."),
    "cancel": ("rayctl.cli.runs:cancel", "Stop runs; what they found so far stays."),
    "delete": ("rayctl.cli.runs:delete", "Remove ended runs and their files."),
    "deploy": ("rayctl.cli.deploy:deploy", "Serve the model of a run."),
    "undeploy": ("rayctl.cli.deploy:undeploy", "Stop serving a model."),
    "deployments": ("rayctl.cli.deploy:deployments", "List the models that are served."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def automl() -> None:
    """Train models on tables and series, compare them, use them."""
