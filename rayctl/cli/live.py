"""The live view of one run in a terminal: a header with one bar, and the best trials."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rayctl.cli.output import clean, duration_text, number
from rayctl.cli.progress import Progress
from rayctl.client.figures import share_text, spark, spark_scale

__all__ = ["live_view", "render"]

_ROWS = 8
_BAR = 20
_CLOCK_S = 1.0
_REDRAW_S = 0.25
_STYLE = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "running": "cyan", "queued": "dim"}


@contextmanager
def live_view(progress: Progress, stream: TextIO) -> Iterator[Callable[[bool], None]]:
    """Show the run; the yielded function redraws: at most 4 times a second, and only when something changed."""
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    started = time.monotonic()
    elapsed_0, view_0 = float(progress.view.get("elapsed_s") or 0.0), progress.view
    drawn_at, waiting = 0.0, True

    def elapsed() -> float:
        nonlocal elapsed_0, started, view_0
        if progress.view is not view_0:
            elapsed_0, started, view_0 = float(progress.view.get("elapsed_s") or 0.0), time.monotonic(), progress.view
        return elapsed_0 + (time.monotonic() - started if progress.state == "running" else 0.0)

    with Live(render(progress, elapsed()), console=console, auto_refresh=False) as live:

        def update(changed: bool) -> None:
            nonlocal drawn_at, waiting
            waiting = waiting or changed
            now = time.monotonic()
            due = now - drawn_at >= (_REDRAW_S if waiting else _CLOCK_S)
            if due and (waiting or progress.state == "running"):
                live.update(render(progress, elapsed()), refresh=True)
                drawn_at, waiting = now, False

        try:
            yield update
        finally:
            live.update(render(progress, elapsed()), refresh=True)


def render(progress: Progress, elapsed_s: float) -> Group:
    """Return the view as it is now."""
    view = progress.view
    head = Text()
    head.append(clean(view.get("name") or view["id"]), style="bold")
    if view.get("name"):
        head.append(f"  {view['id']}")
    head.append(f"  {clean(view.get('target'))}  tenant {clean(view.get('tenant'))}  ")
    head.append(progress.state, style=_STYLE.get(progress.state, ""))
    if progress.state == "queued" and view.get("queue_position") is not None:
        head.append(f"  position {view['queue_position']} in the queue")
    if view.get("reason"):
        head.append(f"  {clean(view['reason'])}")
    return Group(head, _numbers(progress, elapsed_s), _table(progress))


def _numbers(progress: Progress, elapsed_s: float) -> Text:
    view, done = progress.view, progress.count("done")
    tried = done + progress.count("failed") + progress.count("skipped")
    budget_s, most = view.get("time_budget_s"), view.get("max_trials")
    shares = [elapsed_s / budget_s] if budget_s else []
    if most:
        shares.append(tried / most)
    text = Text()
    if shares:
        filled = round(min(1.0, max(shares)) * _BAR)
        text.append("█" * filled + "░" * (_BAR - filled) + " ", style="cyan")
    text.append(duration_text(elapsed_s) + (f" of {duration_text(budget_s)}" if budget_s else ""))
    text.append(f"   {done}" + (f" of {most}" if most else "") + " trials")
    for count, word in (
        (progress.running, "running"),
        (progress.count("failed"), "failed"),
        (progress.count("skipped"), "skipped"),
    ):
        if count:
            text.append(f" · {count} {word}")
    score, model = progress.best
    if score is not None:
        text.append(f" · best {number(score)} {clean(model)}", style="bold")
    ensemble, members = progress.ensemble
    if ensemble is not None:
        text.append(f" · ensemble {number(ensemble)} of {len(members)}", style="bold green")
    return text


def _table(progress: Progress) -> Table:
    arrow = "↑" if progress.view.get("greater_is_better", True) else "↓"
    table = Table(box=None, pad_edge=False, show_header=bool(progress.rows))
    table.add_column("#", justify="right")
    table.add_column("model")
    table.add_column(Text(f"{clean(progress.view.get('metric'))} {arrow}"), justify="right")
    _, weights = progress.ensemble
    top = progress.top(_ROWS)
    scale = spark_scale(row.get("fold_scores") or () for row in top)
    for title in ("±", *(["weight"] if weights else []), "fit", "predict"):
        table.add_column(title, justify="right")
    table.add_column("folds" if any(len(row.get("fold_scores") or ()) > 1 for row in top) else "")
    for place, row in enumerate(top, start=1):
        table.add_row(
            str(place),
            Text(clean(row["model"])),
            number(row["score"]),
            number(row.get("std"), 2),
            *([share_text(weights.get(row["trial"]))] if weights else []),
            duration_text(row.get("fit_s")),
            duration_text(row.get("predict_s")),
            Text(spark(row.get("fold_scores") or (), scale)),
        )
    return table
