"""``rayctl automl deploy | undeploy | deployments``."""

from __future__ import annotations

import click

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.output import Column, clean, emit, say

__all__ = ["deploy", "deployments", "undeploy"]

_COLUMNS: list[Column] = [
    ("NAME", lambda item: str(item["name"])),
    ("STATE", lambda item: clean(item.get("state"))),
    ("ROUTE", lambda item: clean(item.get("route"))),
    ("RUN", lambda item: clean(item.get("run_id"))),
]

_DEPLOY = """\b
Example:
  rayctl automl deploy RUN --name churn          predictions at its route, see `deployments`
"""
_UNDEPLOY = """\b
Example:
  rayctl automl undeploy churn
"""
_DEPLOYMENTS = """\b
Example:
  rayctl automl deployments -o json
"""


@click.command(epilog=_DEPLOY)
@click.argument("run_id", metavar="RUN")
@click.option("--name", help="Name of the deployment (default: made from the run).")
@click.option("--dry-run", is_flag=True, help="Only check that the run has a model.")
@global_options()
@pass_settings
def deploy(settings: Settings, run_id: str, name: str | None, dry_run: bool) -> None:
    """Serve the model of a finished run."""
    with settings.connect() as connection:
        run = connection.automl.run(run_id)
        if dry_run:
            run.result()
            say(f"run {run_id} has a model and would be deployed")
            return
        made = run.deploy(name)
        emit(settings, made, rows=[made], columns=_COLUMNS)


@click.command(epilog=_UNDEPLOY)
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@global_options()
@pass_settings
def undeploy(settings: Settings, name: str, dry_run: bool) -> None:
    """Stop serving a model. The run and its files stay."""
    if dry_run:
        say(f"deployment {name} would be removed")
        return
    with settings.connect() as connection:
        connection.automl.undeploy(name)
        done = {"name": name, "removed": True}
        if settings.for_people:
            say(f"deployment {name} removed")
        else:
            emit(settings, done, rows=[done], columns=_COLUMNS[:1])


@click.command(epilog=_DEPLOYMENTS)
@global_options()
@pass_settings
def deployments(settings: Settings) -> None:
    """List the models that are served."""
    with settings.connect() as connection:
        found = connection.automl.deployments()
        emit(settings, found, rows=found, columns=_COLUMNS, empty="Nothing is deployed.")
