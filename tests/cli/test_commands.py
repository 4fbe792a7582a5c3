"""What the commands print and how they exit, against the real HTTP API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import Result

from .conftest import Server
from .scripted import FILES

Run = Callable[..., Result]
Submit = Callable[..., str]
ASK = ("automl", "submit", "data.csv", "--target", "y", "--task", "classification")


def test_submit_and_wait_prints_one_document(run: Run, server: Server) -> None:
    options = ("--time-budget", "1m", "--metric", "roc_auc", "--seed", "7", "--wait", "-o", "json")
    result = run(*ASK, *options)
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert list(document) == ["run_id", "state", "best_score", "best_model", "metric", "leaderboard", "run"]
    assert document["state"] == "succeeded"
    assert (document["best_score"], document["best_model"], document["metric"]) == (0.95, "linear", "roc_auc")
    assert [row["model"] for row in document["leaderboard"]] == ["linear", "lightgbm", "knn"]
    assert document["run"]["id"] == document["run_id"]
    request, data, key = server.service.requests[0]
    assert (request["time_budget_s"], request["seed"]) == (60.0, 7)
    assert bytes(data) == Path("data.csv").read_bytes()
    assert key
    assert "state=succeeded" in result.stderr


def test_submit_without_waiting_says_how_to_follow(run: Run, server: Server) -> None:
    result = run(*ASK)
    assert (result.exit_code, result.stdout) == (0, "r1\n")
    assert "rayctl automl watch r1" in result.stderr
    assert run(*ASK, "-q").stderr == ""
    assert json.loads(run(*ASK, "-o", "json").stdout)["run_id"] == "r3"


def test_warnings_about_the_data_are_said_at_once(run: Run, server: Server) -> None:
    ask = (*ASK, "--name", "odd")
    result = run(*ask)
    assert (result.exit_code, result.stdout) == (0, "r1\n")
    lines = result.stderr.splitlines()
    assert lines[:2] == ["warning: Column 0 is  odd.", "warning: Column 1 is  odd."]
    assert lines[8] == "warning: there are 2 more; see the report of the run."
    assert "warning: Column 7" in run(*ask, "--wait").stderr
    assert "warning: Column 7" in run("automl", "result", "r1").stderr
    assert "warning" not in run(*ask, "-q").output
    assert "warning" not in run(*ask, "-o", "json").stderr


def test_submit_passes_every_option(run: Run, server: Server) -> None:
    Path("space.yaml").write_text("lightgbm:\n  num_leaves: [15, 31]\n")
    result = run(
        "automl", "submit", "uri:/data/sales.parquet", "--target", "y", "--task", "forecasting", "--time-column", "ds",
        "--id-column", "shop", "--id-column", "item", "--horizon", "7", "--season-length", "7", "--frequency", "D",
        "--features", "price,promo", "--max-trials", "5", "--trial-timeout", "30s", "--folds", "3",
        "--validation", "time_series", "--search-space", "space.yaml", "--cpus", "2", "--gpus", "0.5",
        "--memory", "2GiB", "--resource", "fpga=1", "--max-parallel", "2", "--label", "team=a", "--tenant", "acme",
        "--idempotency-key", "k1", "--known-future", "price,promo", "--known-future", "holiday", "--levels", "50,90%",
        "--weight-column", "w", "--group-column", "g", "--holdout-fraction", "0.2", "--ensemble", "--stacking",
        "--no-calibrate", "--class-weight", "balanced", "--no-reuse", "--metric", "sklearn.metrics:mean_pinball_loss",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    request, data, key = server.service.requests[0]
    assert (data, key, request["tenant"]) == (None, "k1", "acme")
    assert request["data"]["uri"] == "/data/sales.parquet"
    assert request["id_columns"] == ["shop", "item"]
    assert request["features"] == ["price", "promo"]
    assert request["season_length"] == [7]
    assert (request["trial_timeout_s"], request["horizon"], request["labels"]) == (30.0, 7, {"team": "a"})
    assert request["validation"] == {
        "scheme": "time_series", "folds": 3, "holdout_fraction": 0.2, "group_column": "g",
    }  # fmt: skip
    assert (request["known_future"], request["levels"]) == (["price", "promo", "holiday"], [50, 90])
    assert (request["weight_column"], request["class_weight"]) == ("w", "balanced")
    assert [request[name] for name in ("ensemble", "stacking", "calibrate", "reuse")] == [True, True, False, False]
    metric = request["custom_metric"]
    assert (request.get("metric"), metric["path"]) == (None, "sklearn.metrics.mean_pinball_loss")
    assert metric["greater_is_better"] is False, "by its name"
    assert request["search_space"][0]["params"] == {"num_leaves": [15, 31]}
    resources = request["resources"]
    assert (resources["cpus"], resources["gpus"], resources["memory_bytes"]) == (2, 0.5, 2 * 1024**3)
    assert resources["custom"] == {"fpga": 1.0}


def test_submit_reads_standard_input(run: Run, server: Server) -> None:
    result = run("automl", "submit", "-", *ASK[3:], input="a,y\n1,2\n")
    assert result.exit_code == 0, result.stderr
    assert bytes(server.service.requests[0][1]) == b"a,y\n1,2\n"


def test_dry_run_needs_no_server(run: Run) -> None:
    result = run(*ASK, "--max-trials", "3", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {"target": "y", "task": "classification", "max_trials": 3}


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--max-trials", "0"], 2, "max_trials"),
        (["--task", "forecasting"], 2, "forecasting needs time_column"),
        (["--time-budget", "soon"], 2, "not a duration"),
        (["--search-space", "none.yaml"], 2, "cannot be read"),
        (["--resource", "fpga"], 2, "key=value"),
        (["--target", "nowhere"], 2, "code:  missing-target"),
        (["--metric", "os:system"], 7, "code:  metric-not-allowed"),
        (["--metric", "no such:thing"], 2, "code:  bad-metric"),
        (["--metric", "f1", "--lower-is-better"], 2, "for a metric of your own"),
        (["--needs-proba"], 2, "for a metric of your own"),
        (["--levels", "0,80"], 2, "whole percentages"),
        (["--class-weight", "heavy"], 2, "balanced"),
    ],
)
def test_submit_refusals(run: Run, server: Server, options: list[str], code: int, text: str) -> None:
    result = run(*ASK, *options)
    assert (result.exit_code, result.stdout) == (code, "")
    assert text in result.stderr
    assert "Traceback" not in result.stderr


def test_missing_file(run: Run, server: Server) -> None:
    result = run("automl", "submit", "absent.csv", *ASK[3:])
    assert result.exit_code == 2
    assert "absent.csv cannot be read" in result.stderr


def test_failed_run_is_exit_4_with_its_reason(run: Run, server: Server) -> None:
    result = run(*ASK, "--name", "fail", "--wait", "-o", "json", "-q")
    assert result.exit_code == 4
    assert json.loads(result.stdout)["state"] == "failed"
    assert result.stderr.splitlines()[0] == "error: Run r1 failed: every trial failed"
    assert result.stderr.splitlines()[-1] == "code:  no-model"


def test_timeout_is_exit_5_and_the_run_goes_on(run: Run, server: Server) -> None:
    result = run(*ASK, "--name", "slow", "--wait", "--timeout", "400ms", "-o", "json")
    assert result.exit_code == 5
    assert json.loads(result.stdout)["state"] == "running"
    assert "it goes on" in result.stderr
    assert server.service.runs["r1"]["state"] == "running"


def test_unknown_run_is_exit_3(run: Run, server: Server) -> None:
    commands = [["watch"], ["leaderboard"], ["result"], ["cancel"], ["delete", "--yes"], ["predict"], ["deploy"]]
    commands += [["finish"], ["extend", "--max-trials", "1"], ["replay"], ["report"], ["why"]]
    for command in commands:
        result = run("automl", *command, "r9")
        assert result.exit_code == 3, (command, result.stderr)
        assert result.stderr.splitlines()[0] == "error: There is no run 'r9'."
        assert result.stderr.splitlines()[-1] == "code:  not-found"


def test_wrong_token_is_exit_7(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYCTL_TOKEN", "secret-but-wrong")
    result = run("automl", "list")
    assert result.exit_code == 7
    assert "secret-but-wrong" not in result.output


def test_nothing_there_is_exit_8(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rayctl.client.retry._sleep", lambda seconds: None)
    result = run("automl", "list")
    assert result.exit_code == 8
    assert "rayctl up" in result.stderr
    result = run("automl", "list", "--server", "http://127.0.0.1:9")
    assert result.exit_code == 8
    assert "Nothing answers at http://127.0.0.1:9" in result.stderr
    assert run("--server", "nonsense", "automl", "list").exit_code == 2


def test_list(run: Run, submit: Submit) -> None:
    first, second = submit("one"), submit("fail")
    lines = run("automl", "list").stdout.splitlines()
    assert lines[0].split() == ["RUN", "NAME", "STATE", "METRIC", "BEST", "TRIALS", "AGE"]
    assert lines[1].split()[:3] == [second, "fail", "failed"]
    assert lines[2].split()[:6] == [first, "one", "succeeded", "accuracy", "0.95", "linear"]
    assert run("automl", "list", "-o", "name").stdout.split() == [second, first]
    assert [item["id"] for item in json.loads(run("-o", "json", "automl", "list").stdout)] == [second, first]
    assert "every trial failed" in run("automl", "list", "-o", "wide").stdout
    assert run("automl", "list", "--state", "succeeded", "-o", "name").stdout.split() == [first]
    cut = run("automl", "list", "--limit", "1", "-o", "name")
    assert cut.stdout.split() == [second]
    assert "more than these 1" in cut.stderr


def test_leaderboard(run: Run, submit: Submit) -> None:
    run_id = submit()
    text = run("automl", "leaderboard", run_id).stdout
    assert text.splitlines()[1].split() == ["1", "linear", "0.95", "0.02", "250ms", "1ms", "done"]
    assert "model-error k is too [31m large" in text
    assert "\x1b" not in text
    assert "num_leaves=31" in run("automl", "leaderboard", run_id, "-o", "wide").stdout
    assert len(yaml.safe_load(run("automl", "leaderboard", run_id, "-o", "yaml").stdout)) == 3
    assert len(json.loads(run("automl", "leaderboard", run_id, "-o", "json", "--limit", "1").stdout)) == 1


def test_result(run: Run, submit: Submit) -> None:
    run_id = submit()
    text = run("automl", "result", run_id).stdout
    assert "linear C=1.0" in text
    assert "0.95 ± 0.02" in text
    assert "model.zip" in text
    assert json.loads(run("automl", "result", run_id, "-o", "json").stdout)["best"]["model"] == "linear"
    slow = submit("slow")
    waiting = run("automl", "result", slow)
    assert waiting.exit_code == 6
    assert "result-not-ready" in waiting.stderr
    assert run("automl", "result", slow, "--wait", "--timeout", "0.3s").exit_code == 5


def test_cancel_and_delete(run: Run, submit: Submit) -> None:
    slow, fine = submit("slow"), submit()
    refused = run("automl", "delete", slow, fine, "--yes")
    assert refused.exit_code == 6
    assert refused.stdout == f"run {fine} deleted\n"
    assert run("automl", "cancel", slow, "--dry-run").stdout == f"run {slow} would be cancelled, is running\n"
    assert run("automl", "cancel", slow, "--wait").stdout == f"run {slow} cancelled\n"
    assert run("automl", "cancel", slow).exit_code == 0
    asked = run("automl", "delete", slow)
    assert asked.exit_code == 2
    assert "--yes" in asked.stderr
    assert run("automl", "delete", slow, "--yes", "-o", "name").stdout.strip() == slow


def test_predict(run: Run, submit: Submit) -> None:
    run_id = submit()
    assert run("automl", "predict", run_id).stdout == 'ds,prediction\n"2030-01-02",1.5\n'
    result = run("automl", "predict", run_id, "data.csv", "--proba")
    assert result.stdout == 'prediction,proba_x\n"x, y",0.25\n"z",0.75\n'
    assert run("automl", "predict", run_id, "-", input="a\n1\n2\n").stdout.startswith("prediction\n")
    result = run("automl", "predict", run_id, "data.csv", "-o", "out.parquet")
    assert (result.exit_code, result.stdout) == (0, "")
    assert pq.read_table("out.parquet").num_rows == 2
    assert run("automl", "predict", run_id, "data.csv", "-o", "out.csv").exit_code == 0
    assert Path("out.csv").read_text().splitlines()[0] == "prediction"


def test_failed_prediction_leaves_no_file(run: Run, submit: Submit) -> None:
    run_id = submit()
    Path("bad.csv").write_text("bad\n1\n")
    before = sorted(Path().iterdir())
    result = run("automl", "predict", run_id, "bad.csv", "-o", "out.csv")
    assert result.exit_code == 2
    assert "missing-column" in result.stderr
    assert run("automl", "predict", run_id, "data.csv", "-o", "out.xlsx").exit_code == 2
    assert sorted(Path().iterdir()) == before


def test_download(run: Run, submit: Submit) -> None:
    run_id = submit()
    assert "model.zip" in run("automl", "download", run_id).stdout
    result = run("automl", "download", run_id, "--all", "-d", "out")
    assert result.exit_code == 0, result.stderr
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == FILES
    for name in ("no.zip", "/somewhere/model.zip"):
        refused = run("automl", "download", run_id, name, "-d", "out")
        assert refused.exit_code == 3
        assert "model.zip" in refused.stderr
        assert "--directory" in refused.stderr
    assert len(list(Path("out").iterdir())) == 2


def test_deployments(run: Run, submit: Submit) -> None:
    run_id = submit()
    assert "would be deployed" in run("automl", "deploy", run_id, "--dry-run").stdout
    assert run("automl", "deploy", run_id, "--name", "churn").stdout.splitlines()[1].split() == [
        "churn", "starting", "/models/churn", run_id,
    ]  # fmt: skip
    assert run("automl", "deployments", "-o", "name").stdout == "churn\n"
    assert run("automl", "undeploy", "churn").stdout == "deployment churn removed\n"
    assert run("automl", "undeploy", "churn").exit_code == 3


def test_version(run: Run, server: Server) -> None:
    assert json.loads(run("version", "-o", "json").stdout)["server"]["version"]
    assert run("version", "--client").stdout.startswith("client  ")


def test_version_without_a_service(run: Run) -> None:
    result = run("version")
    assert result.exit_code == 0
    assert "No rayctl service is known" in result.stdout


def test_unexpected_failures_are_told(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rayctl.client.connection.connect", lambda *args, **options: 1 / 0)
    result = run("automl", "list")
    assert result.exit_code == 1
    assert "ZeroDivisionError" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in run("automl", "list", "-v").stderr


def test_misspelt_commands_get_a_suggestion(run: Run) -> None:
    result = run("automl", "leaderbord", "r1")
    assert result.exit_code == 2
    assert "Did you mean 'leaderboard'?" in result.stderr
