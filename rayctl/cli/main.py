"""Entry point of the ``rayctl`` command: the groups, the common options, and how errors end."""

from __future__ import annotations

import sys
from typing import Any

import click

from rayctl.cli.context import Settings, global_options
from rayctl.cli.lazy import LazyGroup
from rayctl.errors import RayctlError

__all__ = ["cli", "main"]

_INTERRUPTED = 130


class RootGroup(LazyGroup):
    """Turns errors into three lines (what, why or what to do, code) and the error's exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RayctlError as error:
            _report(ctx, error)
            ctx.exit(error.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)
        except Exception as error:
            _report(
                ctx,
                RayctlError(
                    f"Unexpected failure: {type(error).__name__}: {error}",
                    hint="This is a defect of rayctl; -v shows where it happened.",
                ),
            )
            ctx.exit(RayctlError.exit_code)


def _report(ctx: click.Context, error: RayctlError) -> None:
    from rayctl.cli.output import clean

    settings = ctx.find_object(Settings)
    if settings is not None and settings.verbose:
        import traceback

        traceback.print_exc(file=sys.stderr)
    lines = [f"error: {clean(error.message)}"]
    if len(error.errors) > 1:
        lines += [f"  {clean(item['pointer'])}: {clean(item['message'])}" for item in error.errors]
    if error.hint:
        lines.append(f"hint:  {clean(error.hint)}")
    lines.append(f"code:  {clean(error.code)}")
    click.echo("\n".join(lines), err=True)


COMMANDS = {
    "automl": ("rayctl.cli.automl:automl", "Train models: submit, watch, leaderboard, report, predict, deploy."),
    "tenant": ("rayctl.cli.tenant:tenant", "Applications that share the cluster: configuration, environment, quota."),
    "get": ("rayctl.cli.objects.get:get", "Show Kubernetes objects: tables, documents, changes."),
    "describe": ("rayctl.cli.objects.describe:describe", "All about one object."),
    "explain": ("rayctl.cli.objects.explain:explain_command", "Why an object is not ready, and what can be done."),
    "events": ("rayctl.cli.objects.events:events", "What happened."),
    "logs": ("rayctl.cli.objects.logs:logs", "What pods said."),
    "apply": ("rayctl.cli.objects.apply:apply", "Create or change objects as files say."),
    "delete": ("rayctl.cli.objects.delete:delete", "Delete objects."),
    "scale": ("rayctl.cli.objects.scale:scale", "Set a number of replicas."),
    "suspend": ("rayctl.cli.objects.suspend:suspend", "Take away an object's pods, keep the object."),
    "resume": ("rayctl.cli.objects.suspend:resume", "Bring them back."),
    "wait": ("rayctl.cli.objects.wait:wait_command", "Wait until objects are ready, or gone."),
    "cluster": ("rayctl.cli.objects.cluster:cluster", "Ray clusters: how to connect."),
    "plan": ("rayctl.cli.fleets.plan:plan", "What would happen next to a fleet, and what it would take."),
    "rollout": ("rayctl.cli.fleets.rollout:rollout", "Rollouts of fleets: status, history, pause, undo, promote …"),
    "service": ("rayctl.cli.service:service", "Switchovers of RayServices: status, promote, abort, weight, rollback …"),
    "diff": ("rayctl.cli.fleets.diff:diff", "What applying a file would change."),
    "migrate": ("rayctl.cli.migrate:migrate", "Old manifests and objects to what replaces them."),
    "adopt": ("rayctl.cli.system.adopt:adopt", "Take clusters and services over from KubeRay, or give them back."),
    "kube": ("rayctl.cli.kube:kube", "A Kubernetes API for machines without Kubernetes."),
    "install": ("rayctl.cli.system.install:install", "Put rayctl on a Kubernetes cluster."),
    "uninstall": ("rayctl.cli.system.install:uninstall", "Take it away."),
    "upgrade": ("rayctl.cli.system.upgrade:upgrade", "Move rayctl to a new cluster of its own."),
    "doctor": ("rayctl.cli.system.doctor:doctor", "Check an installation on Kubernetes."),
    "up": ("rayctl.cli.local:up", "Start rayctl on this machine."),
    "down": ("rayctl.cli.local:down", "Stop what `up` started."),
    "status": ("rayctl.cli.local:status", "Show what runs and what needs attention."),
    "env": ("rayctl.cli.local:env", "Print environment variables for other programs."),
    "completion": ("rayctl.cli.completion:completion", "Print the completion script for bash, zsh or fish."),
    "version": ("rayctl.cli.version:version", "Show the versions of client and service."),
}


@click.group(
    cls=RootGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@global_options()
def cli() -> None:
    """rayctl: AutoML as a service and fleets of Ray clusters.

    Exit codes: 0 done, 1 unexpected failure, 2 usage or refused as invalid, 3 not found, 4 failed for good,
    5 timed out (it goes on), 6 conflict, 7 not allowed, 8 server unreachable, 10 changes pending.

    \b
    Completion of commands and options, for this shell:
      eval "$(rayctl completion bash)"
    """


def main() -> None:
    """Run the command line and exit."""
    cli.main(prog_name="rayctl")
