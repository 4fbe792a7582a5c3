"""From result lines to a report: which line counts, what lateness and failure cost, what an interruption leaves."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.benchmarks.quality import evaluate, layout, processes, report
from tests.benchmarks.quality.layout import Layout, Problem

TRUTH = ["a", "b", "a", "b"]


@pytest.fixture
def work(tmp_path: Path) -> Layout:
    """A work folder with one small binary problem."""
    found = Layout(tmp_path)
    problem = Problem("tables", "toy", 0, "binary", "roc_auc", "y", 4, 1, ("a", "b"), sha256={"train": "1"})
    layout.write_json(found.data("toy-s0") / "problem.json", asdict(problem))
    found.truth("toy-s0").parent.mkdir(parents=True)
    pd.DataFrame({"x": [1, 2, 3, 4], "y": TRUTH}).to_parquet(found.data("toy-s0") / "train.parquet")
    pd.DataFrame({"y": TRUTH}).to_parquet(found.truth("toy-s0"))
    return found


def add(work: Layout, framework: str, probability_of_b: list[float], **changes: Any) -> None:
    """Append a result whose predictions are these."""
    number = len(layout.read_lines(work.results))
    frame = pd.DataFrame({"a": [1 - p for p in probability_of_b], "b": probability_of_b})
    frame.to_parquet(work.root / f"{number}.parquet")
    line = {
        "framework": framework, "kind": "tables", "task": "toy", "split": 0, "budget_s": 10.0, "session": "1",
        "attempt": 0, "data_sha256": {"train": "1"}, "disturbed": False, "cores": 2, "predictions": f"{number}.parquet",
        "state": "ok", "reason": "", "wall_s": 12.0, "cpu_s": 20.0, "peak_rss": 2, "peak_private": 1, "idle_rss": 0,
        "idle_private": 0, "others_cores": 0.0, "fit_s": 9.0, "predict_s": 0.1, "versions": {}, "notes": {},
    }  # fmt: skip
    layout.append_line(work.results, line | changes)


RIGHT, WRONG = [0.1, 0.9, 0.2, 0.8], [0.9, 0.1, 0.8, 0.2]


def only(work: Layout) -> evaluate.Outcome:
    """The one outcome that there is."""
    (found,) = evaluate.evaluate(work, ["toy-s0"], 10.0)
    return found


def test_late_is_good_as_run_and_a_constant_at_the_deadline(work: Layout) -> None:
    add(work, "flaml", RIGHT, fit_s=10.3)
    late = only(work)
    assert late.is_late
    assert (late.score, late.loss, late.deadline_loss) == (1.0, 0.0, 0.5)


def test_two_percent_over_the_budget_is_in_time(work: Layout) -> None:
    add(work, "flaml", RIGHT, fit_s=10.19)
    assert not only(work).is_late


@pytest.mark.parametrize("changes", [{"state": "killed", "fit_s": None}, {"predictions": "nowhere.parquet"}])
def test_a_failure_scores_as_a_constant(work: Layout, changes: dict[str, Any]) -> None:
    add(work, "flaml", RIGHT, **changes)
    assert only(work).score == 0.5
    assert only(work).failure


def test_the_newest_session_counts_and_in_it_the_least_disturbed_repeat(work: Layout) -> None:
    add(work, "flaml", RIGHT, session="1", others_cores=0.0)
    add(work, "flaml", WRONG, session="2", others_cores=0.3)
    add(work, "flaml", RIGHT, session="2", others_cores=0.9)
    assert only(work).score == 0.0


def test_results_on_other_data_or_at_another_budget_are_left_out(work: Layout) -> None:
    add(work, "flaml", RIGHT, data_sha256={"train": "2"})
    add(work, "autogluon_best", RIGHT, budget_s=20.0)
    assert evaluate.evaluate(work, ["toy-s0"], 10.0) == []


def test_a_line_that_was_cut_off_is_run_again(work: Layout) -> None:
    add(work, "flaml", RIGHT)
    with work.results.open("a") as stream:
        stream.write('{"framework": "rayctl", "ta')
    assert [line["framework"] for line in layout.read_lines(work.results)] == ["flaml"]


def test_a_report_names_everyone_with_rank_and_duel(work: Layout) -> None:
    add(work, "rayctl", RIGHT)
    add(work, "autogluon_medium", WRONG)
    add(work, "lightgbm", [0.1, 0.9, 0.9, 0.8], budget_s=0.0)
    report.publish(work, ["toy-s0"], 10.0, work.root / "report")
    text = (work.root / "report.md").read_text()
    assert "**1.0000** (9.0)" in text
    assert "| rayctl | 1.00 [1.00, 1.00] | 1.00 [1.00, 1.00] | 1 |" in text
    assert "| AutoGluon medium | 1 / 0 / 0 | 100% [100%, 100%] | - |" in text


def test_an_earlier_report_gives_what_was_not_run_again_on_the_same_data(work: Layout) -> None:
    add(work, "rayctl", WRONG)
    add(work, "autogluon_medium", [0.1, 0.9, 0.9, 0.8], fit_s=10.3)
    report.publish(work, ["toy-s0"], 10.0, work.root / "whole")
    whole = json.loads((work.root / "whole.json").read_text())
    work.results.unlink()
    add(work, "rayctl", RIGHT, session="2")
    report.publish(work, ["toy-s0"], 10.0, work.root / "half", whole)
    half = json.loads((work.root / "half.json").read_text())
    before, after = (found["tables"]["scores"][0]["results"] for found in (whole, half))
    assert (before["rayctl"]["score"], after["rayctl"]["score"]) == (0.0, 1.0)
    assert after["autogluon_medium"] == before["autogluon_medium"]
    assert half["tables"]["cost"]["autogluon_medium"] == whole["tables"]["cost"]["autogluon_medium"]
    assert half["tables"]["ranks"]["at_deadline"]["rayctl"]["mean"] == 1.0
    assert "on the same data: AutoGluon medium" in (work.root / "half.md").read_text()
    whole["data_sha256"]["toy-s0"] = {"train": "2"}
    (alone,) = report_of(work, whole)["results"]
    assert alone == "rayctl"


def report_of(work: Layout, earlier: dict[str, Any]) -> dict[str, Any]:
    """The one row of scores of a report that keeps what an earlier one has."""
    report.publish(work, ["toy-s0"], 10.0, work.root / "other", earlier)
    row: dict[str, Any] = json.loads((work.root / "other.json").read_text())["tables"]["scores"][0]
    return row


def test_a_tree_is_found_by_its_mark_also_after_its_parent_ended() -> None:
    tree = processes.Tree(f"test-{os.getpid()}")
    script = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    subprocess.run([sys.executable, "-c", script], env=os.environ | {processes.MARK: tree.mark}, check=True)
    deadline = time.monotonic() + 10
    while tree.sample().rss == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert tree.kill() >= 1
    assert tree.sample().rss == 0
