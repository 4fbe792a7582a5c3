"""``rayctl automl list | result | cancel | delete``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.output import Column, age, clean, duration_text, emit, emit_document, emit_table, number, say, warn
from rayctl.client.figures import share_text
from rayctl.errors import RayctlError

__all__ = ["cancel", "delete", "list_runs", "result"]

Row = Mapping[str, Any]


def _trials(view: Row) -> str:
    counts = view.get("trials") or {}
    failed = counts.get("failed") or 0
    return f"{counts.get('done') or 0}" + (f" ({failed} failed)" if failed else "")


def _best(view: Row) -> str:
    return "–" if view.get("best_score") is None else f"{number(view['best_score'])} {clean(view.get('best_model'))}"


def ensemble_text(view: Row) -> str:
    """Return score and size of the delivered model, ``0.96 of 3 trials``; a dash where there is none."""
    members = sum(weight > 0 for weight in (view.get("ensemble") or {}).values())
    if not members:
        return "–"
    return f"{number(view.get('ensemble_score'))} of {members} {'trial' if members == 1 else 'trials'}"


def _follows(view: Row) -> str:
    if view.get("continues"):
        return f"continues {view['continues']}"
    return f"repeats {view['replay_of']}" if view.get("replay_of") else "–"


_LIST = """\b
Examples:
  rayctl automl list --state running
  rayctl automl list -o wide                    what was delivered, for whom, and why it ended
"""
_RESULT = """\b
Examples:
  rayctl automl result RUN --wait --timeout 10m
  rayctl automl result RUN -o json | jq .reproduce
"""
_CANCEL = """\b
Example:
  rayctl automl cancel RUN --wait       returns when it has stopped
"""
_DELETE = """\b
Example:
  rayctl automl delete RUN OTHER_RUN --yes
"""

_RUN: list[Column] = [
    ("RUN", lambda view: str(view["id"])),
    ("NAME", lambda view: clean(view.get("name"))),
    ("STATE", lambda view: str(view["state"]) + (" (cancelling)" if _cancelling(view) else "")),
    ("METRIC", lambda view: clean(view.get("metric"))),
    ("BEST", _best),
    ("TRIALS", _trials),
    ("AGE", lambda view: age(view.get("created_at"))),
]
_RUN_WIDE: list[Column] = [
    ("ENSEMBLE", ensemble_text),
    ("FOLLOWS", _follows),
    ("TASK", lambda view: clean(view.get("task"))),
    ("TARGET", lambda view: clean(view.get("target"))),
    ("TENANT", lambda view: clean(view.get("tenant"))),
    ("ELAPSED", lambda view: duration_text(view.get("elapsed_s"))),
    ("REASON", lambda view: clean(view.get("reason"))),
]


def _cancelling(view: Row) -> bool:
    return bool(view.get("cancel_requested")) and view["state"] in ("queued", "running")


@click.command("list", epilog=_LIST)
@click.option(
    "--state",
    type=click.Choice(["queued", "running", "succeeded", "failed", "cancelled"]),
    help="Runs in this state only.",
)
@click.option("--tenant", envvar="RAYCTL_TENANT", help="Runs of this tenant only.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most this many runs.")
@click.option("--all", "everything", is_flag=True, help="All runs, however many.")
@global_options()
@pass_settings
def list_runs(settings: Settings, state: str | None, tenant: str | None, limit: int, everything: bool) -> None:
    """List runs, newest first."""
    with settings.connect() as connection:
        wanted = None if everything else limit + 1
        rows = list(connection.automl.list_documents(state=state, tenant=tenant, limit=wanted))
        more = wanted is not None and len(rows) > limit
        rows = rows[:limit] if more else rows
        emit(settings, rows, rows=rows, columns=_RUN, wide=_RUN_WIDE, empty="No runs.")
        if more:
            settings.note(f"There are more than these {limit}; --all or --limit shows them.")


@click.command(epilog=_RESULT)
@click.argument("run_id", metavar="RUN")
@click.option("--wait/--no-wait", default=False, help="Wait for the run to end (see --timeout).")
@global_options()
@pass_settings
def result(settings: Settings, run_id: str, wait: bool) -> None:
    """Show the result of a run."""
    with settings.connect() as connection:
        run = connection.automl.run(run_id)
        if wait:
            run.wait(settings.timeout_s)
        found = run.result()
        if settings.output == "name":
            say(run_id)
        elif not settings.for_people:
            emit_document(settings, found)
        else:
            _show_result(settings, run_id, found)


def _show_result(settings: Settings, run_id: str, found: Row) -> None:
    view, best = found.get("run") or {}, found.get("best") or {}
    params = " ".join(f"{key}={value}" for key, value in (best.get("params") or {}).items())
    reproduce = found.get("reproduce") or {}
    better = "higher" if view.get("greater_is_better", True) else "lower"
    lines = [
        ("run", run_id),
        ("state", view.get("state")),
        ("best", f"{clean(best.get('model'))} {params}".strip()),
        (
            clean(view.get("metric") or "score"),
            f"{number(best.get('score'))} ± {number(best.get('std'), 2)} ({better} is better)",
        ),
        ("ensemble", _ensemble_line(found)),
        ("trials", _trials(view)),
        ("elapsed", duration_text(view.get("elapsed_s"))),
        ("seed", reproduce.get("seed")),
        ("data", reproduce.get("data_fingerprint")),
    ]
    width = max(len(title) for title, _ in lines)
    for title, value in lines:
        if value is not None:
            say(f"{title.ljust(width)}  {clean(value)}")
    warn(settings, [*(view.get("warnings") or []), *((view.get("data") or {}).get("warnings") or [])])
    files = found.get("artifacts") or []
    if files:
        say("")
        emit_table(settings, ["FILE", "BYTES"], [[item["name"], str(item.get("bytes", "–"))] for item in files])
    forecast = found.get("forecast") or []
    if forecast:
        settings.note(f"{len(forecast)} forecast rows: `rayctl automl predict {run_id}`.")


def _ensemble_line(found: Row) -> str | None:
    """Say what the delivered model consists of, heaviest first; None if it is a single trial."""
    weights = (found.get("ensemble") or {}).get("weights") or {}
    models = {str(row["trial"]): row["model"] for row in found.get("leaderboard") or ()}
    members = sorted(((w, t) for t, w in weights.items() if w > 0), key=lambda item: (-item[0], int(item[1])))
    if len(members) < 2:
        return None
    parts = [f"{share_text(weight)} {models.get(str(trial), '?')} #{trial}" for weight, trial in members]
    return f"{number((found.get('ensemble') or {}).get('score'))} = {', '.join(parts)}"


@click.command(epilog=_CANCEL)
@click.argument("run_ids", metavar="RUN...", nargs=-1, required=True)
@click.option("--wait/--no-wait", default=False, help="Wait until they have ended (see --timeout).")
@click.option("--dry-run", is_flag=True, help="Only say what would be stopped.")
@global_options()
@pass_settings
def cancel(settings: Settings, run_ids: tuple[str, ...], wait: bool, dry_run: bool) -> None:
    """Stop runs; what they found so far stays. Cancelling twice, or an ended run, is fine."""
    with settings.connect() as connection:
        views: list[dict[str, Any]] = []

        def one(run_id: str) -> None:
            run = connection.automl.run(run_id)
            if not dry_run:
                run.cancel()
                if wait:
                    run.wait(settings.timeout_s)
            views.append(run.document)

        failed = _each(run_ids, one)
        if settings.for_people:
            for view in views:
                say(f"run {view['id']} {'would be cancelled, is ' if dry_run else ''}{_cancel_state(view)}")
        elif views:
            emit(settings, views, rows=views, columns=_RUN)
        _finish(failed)


def _cancel_state(view: Row) -> str:
    return "is being cancelled" if _cancelling(view) else str(view["state"])


@click.command(epilog=_DELETE)
@click.argument("run_ids", metavar="RUN...", nargs=-1, required=True)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@global_options()
@pass_settings
def delete(settings: Settings, run_ids: tuple[str, ...], yes: bool, dry_run: bool) -> None:
    """Remove ended runs with their files, for good."""
    if not yes and not dry_run:
        if not sys.stdin.isatty():
            raise click.UsageError("Nobody can be asked here; --yes says that you mean it.")
        click.confirm(f"Remove {', '.join(run_ids)} with all files?", abort=True, err=True)
    with settings.connect() as connection:
        gone: list[dict[str, Any]] = []

        def one(run_id: str) -> None:
            run = connection.automl.run(run_id)
            if dry_run:
                run.fetch()
            else:
                run.delete()
            gone.append({"id": run_id, "deleted": not dry_run})

        failed = _each(run_ids, one)
        if settings.for_people:
            for item in gone:
                say(f"run {item['id']} {'would be deleted' if dry_run else 'deleted'}")
        elif gone:
            emit(settings, gone, rows=gone, columns=[("RUN", lambda item: str(item["id"]))])
        _finish(failed)


def _each(names: tuple[str, ...], act: Callable[[str], None]) -> list[RayctlError]:
    """Do it for all, also after one has failed."""
    failed = []
    for name in names:
        try:
            act(name)
        except RayctlError as error:
            failed.append(error)
    return failed


def _finish(failed: list[RayctlError]) -> None:
    """Raise the last failure, having told the others."""
    for error in failed[:-1]:
        click.echo(f"error: {clean(error.message)}\ncode:  {clean(error.code)}", err=True)
    if failed:
        raise failed[-1]
