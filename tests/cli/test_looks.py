"""How figures, tables and help look: nothing is rounded into a lie, nothing runs into anything else."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import click
import pytest
from click.testing import Result
from rich.console import Console

from rayctl.cli.automl import automl
from rayctl.cli.context import Settings
from rayctl.cli.explain import explain_run, explain_trial
from rayctl.cli.live import live_view, render
from rayctl.cli.output import emit_document, emit_table
from rayctl.cli.progress import Progress
from rayctl.client.figures import apart, number_text, share_text
from rayctl.client.leaderboard import Leaderboard

from .conftest import Server
from .scripted import RICH
from .test_watch import VIEW

Run = Callable[..., Result]
Submit = Callable[..., str]


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.95, 4, "0.95"),
        (0.98765, 4, "0.9877"),
        (24310.4, 4, "24310"),
        (9999.96, 4, "10000"),
        (1234567.8, 4, "1234568"),
        (1.5e9, 4, "1.5e+09"),
        (123.4, 2, "123"),
        (99.7, 2, "100"),
        (0.99996, 4, "0.99996"),
        (1.0, 4, "1"),
        (-0.99996, 4, "-0.99996"),
        (7, 4, "7"),
        (None, 4, "–"),
        (float("nan"), 4, "–"),
    ],
)
def test_scores(value: float | None, digits: int, text: str) -> None:
    assert number_text(value, digits) == text


def test_two_scores_look_equal_only_if_they_are() -> None:
    assert apart(0.99341, 0.99344) == ("0.99341", "0.99344")
    assert apart(0.5, 0.5) == ("0.5", "0.5")
    assert apart(0.5, None) == ("0.5", "–")
    told = explain_run(
        VIEW | {"state": "succeeded", "reason": "completed", "best_model": "m", "best_trial": 0, "best_score": 0.99341}
        | {"ensemble_score": 0.99344, "ensemble": {"0": 0.5, "1": 0.5}},
        RICH,
    )["because"]  # fmt: skip
    assert any("0.99344 (the best single trial: m, " in text and "0.99341)" in text for text in told), told


def test_shares() -> None:
    assert [share_text(share) for share in (0.625, 0.0004, 0.0, None, 1.0)] == ["62.5%", "<0.1%", "–", "–", "100.0%"]


def test_wide_letters_do_not_shift_columns(capsys: pytest.CaptureFixture[str]) -> None:
    emit_table(Settings(), ["MODEL", "SCORE"], [["数据モデル", "0.5"], ["cafe\u0301", "<0.1%"], ["plain", "1e-05"]])
    assert capsys.readouterr().out.splitlines() == [
        "MODEL       SCORE",
        "数据モデル    0.5",
        "cafe\u0301        <0.1%",
        "plain       1e-05",
    ]


@pytest.mark.parametrize("metric", ["[/]", "[bold red]x", ":smile:"])
def test_a_metric_is_not_markup(metric: str) -> None:
    progress = Progress(VIEW | {"metric": metric, "greater_is_better": True})
    for row in RICH:
        progress.apply({"kind": "trial", "data": row})
    console = Console(file=io.StringIO(), width=120)
    console.print(render(progress, 5.0))
    console.print(Leaderboard(RICH, metric=metric))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"{metric} ↑" in text
    assert f"Leaderboard ({metric})" in text
    stream = io.StringIO()
    with live_view(progress, stream):
        pass
    assert f"{metric} ↑" in stream.getvalue()


def _commands() -> list[tuple[str, click.Command]]:
    context = click.Context(automl)
    return [(name, automl.get_command(context, name)) for name in automl.list_commands(context)]  # type: ignore[misc]


@pytest.mark.parametrize(("name", "command"), _commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_explains_its_options_and_has_an_example(name: str, command: click.Command) -> None:
    assert command.help
    options = [item for item in command.params if isinstance(item, click.Option)]
    assert [item.name for item in options if not item.help] == []
    assert f"rayctl automl {name} " in str(command.epilog)


def test_a_leaderboard_says_what_its_scores_are(run: Run, submit: Submit) -> None:
    run_id = submit("rich")
    told = run("automl", "leaderboard", run_id).stderr
    assert (
        told == "SCORE is accuracy (higher is better), the mean over folds; ± is its standard deviation over folds.\n"
    )
    assert run("automl", "leaderboard", run_id, "-q").stderr == ""
    assert run("automl", "leaderboard", run_id, "-o", "json").stderr == ""


def test_a_waiting_submit_tells_of_trials_that_were_given_up(run: Run, server: Server) -> None:
    asked = ("--target", "y", "--task", "classification", "--name", "rich", "--wait")
    told = run("automl", "submit", "data.csv", *asked).stderr
    assert "2 trials were given up or not run to the end: `rayctl automl why r1` says why." in told


def test_a_result_shows_a_metric_whatever_its_name(run: Run, server: Server) -> None:
    run("automl", "submit", "data.csv", "--target", "y", "--task", "classification", "--metric", "seed")
    lines = [line.split(None, 1) for line in run("automl", "result", "r1").stdout.splitlines() if line]
    assert ["seed", "0.95 ± 0.02 (higher is better)"] in lines
    assert ["seed", "0"] in lines


def test_a_model_that_is_not_the_best_trial_is_called_by_its_number() -> None:
    fields = {"reason": "completed", "best_model": "m", "best_trial": 3, "best_score": 0.9, "ensemble": {"5": 1.0}}
    view = (
        VIEW | {"state": "succeeded", "ensemble_score": 0.8, "greater_is_better": True, "max_predict_ms": 5.0} | fields
    )
    told = " ".join(explain_run(view, RICH)["because"])
    assert "the model is trial 5 alone" in told
    assert "max_predict_ms leaves out" in told


def test_a_trial_with_some_of_its_folds_says_so() -> None:
    message = "Only 1 of 3 folds ended in time; its score is their mean."
    row = RICH[0] | {"error": {"code": "incomplete", "message": message}}
    assert message in explain_trial(VIEW, row, [row])["because"]


def test_json_holds_nothing_that_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\x9b31mb\x1b[31m\x7f ä 数"
    emit_document(Settings(output="json"), {"name": name})
    text = capsys.readouterr().out
    assert all(char.isprintable() for line in text.splitlines() for char in line)
    assert "ä 数" in text
    assert json.loads(text) == {"name": name}
