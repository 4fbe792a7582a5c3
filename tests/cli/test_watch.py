"""Following runs: lines without a terminal, JSON lines, the live view, and the verdict."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable

import pytest
from click.testing import Result
from rich.console import Console

from rayctl.cli import follow
from rayctl.cli.live import live_view, render
from rayctl.cli.progress import Progress

from .scripted import ROWS

Run = Callable[..., Result]
Submit = Callable[..., str]

GOLDEN = """\
AT run=r1 state=queued trials=0 failed=0 position=1
AT run=r1 state=running trials=0 failed=0
AT run=r1 state=running trials=1 failed=0 best=0.9 model=lightgbm
AT run=r1 state=running trials=1 failed=1 best=0.9 model=lightgbm
AT run=r1 state=running trials=2 failed=1 best=0.95 model=linear
AT run=r1 state=succeeded trials=2 failed=1 best=0.95 model=linear
"""


def test_lines_without_a_terminal(run: Run, submit: Submit) -> None:
    result = run("automl", "watch", submit())
    assert result.exit_code == 0, result.stderr
    assert re.sub(r"(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", "AT ", result.stdout) == GOLDEN
    assert result.stderr == ""


def test_one_event_per_line_as_json(run: Run, submit: Submit) -> None:
    result = run("automl", "watch", submit(), "-o", "json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["seq"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert [event["kind"] for event in events] == ["state", "state", "trial", "trial", "trial", "done"]
    assert set(events[0]) == {"run_id", "seq", "at", "kind", "data"}


def test_the_verdict_is_the_exit_code(run: Run, submit: Submit) -> None:
    failed = run("automl", "watch", submit("fail"))
    assert failed.exit_code == 4
    assert "reason='every trial failed'" in failed.stdout
    slow = submit("slow")
    late = run("automl", "watch", slow, "--timeout", "300ms")
    assert late.exit_code == 5
    assert "it goes on" in late.stderr
    run("automl", "cancel", slow)
    cancelled = run("automl", "watch", slow)
    assert cancelled.exit_code == 4
    assert cancelled.stderr.splitlines()[-1] == "code:  run-cancelled"


def test_interruption_leaves_the_run_alone(run: Run, submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    slow = submit("slow")
    monkeypatch.setattr(follow, "_lines", interrupted)
    result = run("automl", "watch", slow)
    assert result.exit_code == 130
    assert f"Run {slow} goes on." in result.stderr
    assert run("automl", "list", "-o", "json").stdout.count('"running"') >= 1


VIEW = {
    "id": "r1", "name": None, "target": "y", "tenant": "default", "state": "running", "metric": "rmse",
    "greater_is_better": False, "time_budget_s": 10.0, "elapsed_s": 5.0, "trials": {"running": 2},
}  # fmt: skip


def test_live_view() -> None:
    progress = Progress(dict(VIEW))
    for seq, row in enumerate(ROWS):
        progress.apply({"kind": "trial", "seq": seq, "data": row})
    console = Console(file=io.StringIO(), width=100)
    console.print(render(progress, 5.0))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "██████████░░░░░░░░░░ 5.0s of 10s   2 trials · 2 running · 1 failed · best 0.9 lightgbm" in text
    assert text.index("lightgbm") < text.rindex("linear"), "smaller is better here"
    assert "rmse ↓" in text


def test_live_view_draws_on_change_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("rayctl.cli.live.time.monotonic", lambda: now[0])
    drawn: list[float] = []
    monkeypatch.setattr("rayctl.cli.live.render", lambda progress, elapsed_s: drawn.append(elapsed_s) or "x")
    with live_view(Progress(VIEW | {"state": "queued"}), io.StringIO()) as update:
        for _ in range(40):
            now[0] += 0.05
            update(False)
        quiet = len(drawn)
        for _ in range(40):
            now[0] += 0.05
            update(True)
    assert quiet <= 2, "a queued run does not flicker"
    assert len(drawn) - quiet <= 10, "at most four times a second"


def test_progress_takes_an_event_twice() -> None:
    progress = Progress(dict(VIEW))
    for _ in range(2):
        for row in ROWS:
            progress.apply({"kind": "trial", "seq": 1, "data": row})
    assert (progress.count("done"), progress.count("failed")) == (2, 1)
    assert progress.best == (0.9, "lightgbm")
