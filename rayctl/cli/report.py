"""``rayctl automl report``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.output import clean, duration_text, emit_document, emit_table, number, say, warn
from rayctl.client.figures import share_text

__all__ = ["report"]

_METRICS, _MEMBERS, _FEATURES = 8, 8, 5
_BAR = 20
_EXAMPLES = """\b
Examples:
  rayctl automl report RUN                               a summary, here
  rayctl automl report RUN -o report.html                one page that needs nothing else
  rayctl automl report RUN --plots figures --format png  its pictures
  rayctl automl report RUN --open                        in the browser
"""


@click.command(epilog=_EXAMPLES)
@click.argument("run_id", metavar="RUN")
@click.option("-o", "--output", "target", metavar="FILE", help="Save the page (.html) or the data behind it (.json).")
@click.option("--plots", metavar="DIR", type=click.Path(path_type=Path), help="Save the pictures there.")
@click.option(
    "--format",
    "picture",
    type=click.Choice(["svg", "png", "both"]),
    default="svg",
    show_default=True,
    help="Of the pictures; the main ones are there as PNG too.",
)
@click.option("--open", "opened", is_flag=True, help="Open the page in the browser.")
@global_options(output=False)
@pass_settings
def report(settings: Settings, run_id: str, target: str | None, plots: Path | None, picture: str, opened: bool) -> None:
    """Show the report of an ended run: a summary here, a page, pictures, or all of them.

    The service builds it when it is asked for the first time, which takes some seconds.
    """
    suffix = Path(target).suffix.lower() if target else ""
    if target and suffix not in (".html", ".htm", ".json"):
        raise click.BadParameter("write the name of a .html or .json file.", param_hint="-o")
    with settings.connect() as connection:
        run = connection.automl.run(run_id)
        data = run.report_data()
        if suffix == ".json":
            _write(Path(str(target)), json.dumps(data, indent=2, ensure_ascii=False))
            settings.note(f"data in {target}")
        page = run.report(str(target)) if suffix in (".html", ".htm") else None
        if page is not None:
            settings.note(f"report in {page}")
        if plots is not None:
            saved = run.plots(plots, None if picture == "both" else picture)
            settings.note(f"{len(saved)} {'picture' if len(saved) == 1 else 'pictures'} in {plots}")
        if opened:
            _open(settings, page if page is not None else run.report(_own_folder() / f"{run_id}.html"))
    if not settings.for_people:
        if settings.output == "name":
            say(run_id)
        else:
            emit_document(settings, data)
    else:
        _summary(settings, data)


def _write(path: Path, text: str) -> None:
    from rayctl.client.download import atomic_file

    with atomic_file(path) as stream:
        stream.write(text.encode())


def _own_folder() -> Path:
    import tempfile

    return Path(tempfile.mkdtemp(prefix="rayctl-report-"))  # stays: the browser reads it after this command has ended


def _open(settings: Settings, page: Path) -> None:
    import webbrowser

    if webbrowser.open(page.resolve().as_uri()):
        settings.note(f"opened {page}")
    else:
        settings.note(f"No browser could be started; the report is in {page}.")


def _summary(settings: Settings, data: Mapping[str, Any]) -> None:
    run, verdict = data.get("run") or {}, data.get("verdict") or {}
    took = duration_text(run.get("elapsed_s"))
    say(f"run {clean(run.get('id'))}  {clean(run.get('target'))}  {clean(run.get('state'))} after {took}")
    say(clean(verdict.get("sentence") or "There is no model."))
    counts = verdict.get("counts") or {}
    trials = [f"{counts[state]} {state}" for state in ("done", "failed", "skipped") if counts.get(state)]
    say(f"trials: {', '.join(trials) or 'none'}")
    metrics = (data.get("metrics") or [])[:_METRICS]
    if metrics:
        columns = ["METRIC", "VALUE", "±", "NO MODEL"]
        rows = [
            [_metric(m), number(m.get("value")), number(m.get("std"), 2), number(m.get("constant"))] for m in metrics
        ]
        _table(settings, columns, rows)
    members = (data.get("weights") or {}).get("trials") or []
    if members:
        columns = ["WEIGHT", "MODEL", "TRIAL", "SCORE"]
        rows = [
            [share_text(m.get("weight")), m.get("family"), str(m["trial"]), number(m.get("score"))]
            for m in members[:_MEMBERS]
        ]
        _table(settings, columns, rows)
        _more(members, _MEMBERS)
    features = data.get("importance") or []
    if features:
        top = max(abs(item.get("importance") or 0.0) for item in features) or 1.0
        rows = [[item["feature"], number(item.get("importance"), 3), _bar(item, top)] for item in features[:_FEATURES]]
        _table(settings, ["FEATURE", "IMPORTANCE", ""], rows)
        _more(features, _FEATURES)
    if metrics and run.get("task") != "forecasting":
        settings.note("VALUE is of all validation rows together, ± over folds; the score above is the mean over folds.")
    warn(settings, data.get("warnings") or [])
    if verdict.get("score") is None:
        settings.note(f"`rayctl automl why {clean(run.get('id'))}` says what became of each trial.")


def _metric(item: Mapping[str, Any]) -> str:
    return f"{item['name']} {'↑' if item.get('greater_is_better', True) else '↓'}"


def _more(items: Sequence[Any], shown: int) -> None:
    if len(items) > shown:
        say(f"and {len(items) - shown} more")


def _bar(item: Mapping[str, Any], top: float) -> str:
    return "█" * round(_BAR * max(0.0, item.get("importance") or 0.0) / top)


def _table(settings: Settings, titles: list[str], rows: list[list[Any]]) -> None:
    say("")
    emit_table(settings, titles, rows)
