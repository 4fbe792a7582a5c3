"""The report on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from ..api.sample_report import SVG

Run = Callable[..., Result]
Submit = Callable[..., str]


def test_summary(run: Run, submit: Submit) -> None:
    run_id = submit("rich")
    result = run("automl", "report", run_id)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == f"run {run_id}  y  succeeded after 59s"
    assert "ensemble of 2 trials" in lines[1]
    assert lines[2] == "trials: 2 done, 1 failed, 2 skipped"
    assert ["75.0%", "linear", "2", "0.95"] in [line.split() for line in lines]
    assert any(line.split()[:2] == ["a", "0.3"] for line in lines if line)
    assert "\x1b" not in result.output
    assert list(Path().glob("*.html")) == []


def test_page_data_and_pictures_are_saved(run: Run, submit: Submit) -> None:
    run_id = submit("rich")
    result = run("automl", "report", run_id, "-o", "out/report.html", "--plots", "figures", "--format", "both")
    assert result.exit_code == 0, result.stderr
    assert "<!doctype html>" in Path("out/report.html").read_text()
    assert Path("figures/roc.svg").read_bytes() == SVG
    assert sorted(path.name for path in Path("figures").iterdir()) == ["roc.png", "roc.svg"]
    assert "2 pictures in figures" in result.stderr
    assert run("automl", "report", run_id, "-o", "data.json").exit_code == 0
    assert json.loads(Path("data.json").read_text())["run"]["id"] == run_id
    refused = run("automl", "report", run_id, "-o", "report.pdf")
    assert refused.exit_code == 2
    assert ".html or .json" in refused.stderr


def test_the_browser(run: Run, submit: Submit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run_id, opened = submit("rich"), []

    def fake(url: str) -> bool:
        opened.append(url)
        return len(opened) == 1

    monkeypatch.setattr("webbrowser.open", fake)
    assert "opened" in run("automl", "report", run_id, "-o", "r.html", "--open").stderr
    assert opened == [Path("r.html").resolve().as_uri()]
    without = run("automl", "report", run_id, "--open")
    assert "No browser could be started" in without.stderr
    page = Path(opened[1].removeprefix("file://"))
    assert page.name == f"{run_id}.html"
    assert page.is_file()


def test_documents(run: Run, submit: Submit) -> None:
    run_id = submit("rich")
    data = json.loads(run("-o", "json", "automl", "report", run_id).stdout)
    assert data["weights"]["trials"][0]["weight"] == 0.75
    assert run("-o", "name", "automl", "report", run_id).stdout == f"{run_id}\n"


def test_a_running_run_has_no_report(run: Run, submit: Submit) -> None:
    result = run("automl", "report", submit("slow"), "-o", "report.html")
    assert (result.exit_code, result.stdout) == (6, "")
    assert result.stderr.splitlines()[-1] == "code:  run-not-ended"
    assert not Path("report.html").exists()


def test_a_failed_run_has_one(run: Run, submit: Submit) -> None:
    result = run("automl", "report", submit("fail"))
    assert result.exit_code == 0
    assert "There is no model. every trial failed" in result.stdout
