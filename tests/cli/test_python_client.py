"""The Python client over HTTP against the real API."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from rayctl.client import Connection
from rayctl.errors import Conflict, DeadlineExceeded, Forbidden, InvalidRequest, NotFound, RunFailed

from ..api.sample_report import SVG
from .conftest import Server
from .scripted import FILES, WEIGHTS

FRAME = pd.DataFrame({"a": [1, 2], "y": ["x", "z"]})


def test_from_frame_to_predictions(connection: Connection, server: Server, tmp_path: Path) -> None:
    run = connection.automl.submit(FRAME, target="y", task="classification", time_budget="1m", name="fine")
    kinds = [event.kind for event in run.watch()]
    assert kinds[-1] == "done"
    assert run.wait("5s").state.value == "succeeded"
    board = run.leaderboard()
    assert [row.model for row in board] == ["linear", "lightgbm", "knn"]
    assert board.best is not None
    assert board.best.score == 0.95
    assert list(board.to_pandas()["model"]) == [row["model"] for row in board.to_dicts()]
    assert "lightgbm" in repr(board)
    assert "<td>lightgbm</td>" in board._repr_html_()
    assert run.predict(FRAME[["a"]], proba=True)["proba_x"].tolist() == [0.25, 0.75]
    assert run.result(wait=1)["best"]["model"] == "linear"
    assert run.forecast()["prediction"].tolist() == [1.5]
    assert {item["name"] for item in run.artifacts()} == set(FILES)
    assert run.download("model.zip", tmp_path / "m.zip").read_bytes() == FILES["model.zip"]
    assert run.deploy("one")["name"] == "one"
    assert [item["name"] for item in connection.automl.deployments()] == ["one"]
    connection.automl.undeploy("one")
    run.delete()
    with pytest.raises(NotFound):
        run.refresh()


def test_ends_that_are_no_success(connection: Connection) -> None:
    failed = connection.automl.submit(FRAME, target="y", task="classification", name="fail")
    assert failed.wait().state.value == "failed"
    with pytest.raises(RunFailed):
        failed.result()
    slow = connection.automl.submit(FRAME, target="y", task="classification", name="slow")
    with pytest.raises(DeadlineExceeded):
        slow.wait(0.2)
    assert slow.cancel().state.value == "cancelled"
    assert [run.id for run in connection.automl.list(state="failed")] == [failed.id]
    assert connection.automl.get(slow.id).view.cancel_requested
    assert "versions" in connection.automl.info()


def test_the_same_key_gives_the_same_run(connection: Connection) -> None:
    runs = [
        connection.automl.submit(FRAME, target="y", task="classification", idempotency_key="k").id for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_local_classes_need_ray(connection: Connection) -> None:
    class Local: ...

    with pytest.raises(InvalidRequest, match="not sent over HTTP"):
        connection.automl.submit(FRAME, target="y", task="regression", search_space={Local: {}})


def test_a_loop_can_be_left(connection: Connection, server: Server) -> None:
    run = connection.automl.submit(FRAME, target="y", task="classification", name="slow")
    for event in run.watch():
        if event.kind == "trial":
            break
    assert run.refresh().state.value == "running"
    assert [event.seq for event in zip(range(1), run.watch(after=2), strict=False) for event in event[1:]] == [3]


def test_ensembles_and_the_leaderboard_frame(connection: Connection) -> None:
    run = connection.automl.submit(FRAME, target="y", task="classification", name="rich")
    ensemble = run.ensemble
    assert ensemble is not None
    assert [(member.trial, member.model, member.weight) for member in ensemble] == [
        (2, "linear", 0.75),
        (0, "lightgbm", 0.25),
    ]
    assert (ensemble.score, ensemble.weights) == (0.97, {int(trial): weight for trial, weight in WEIGHTS.items()})
    assert ensemble.to_pandas()["weight"].tolist() == [0.75, 0.25]
    assert " 75.0%  linear  #2" in repr(ensemble)
    assert "<td>75.0%</td><td>linear</td>" in ensemble._repr_html_()
    board = run.leaderboard()
    frame = board.to_pandas()
    assert frame["weight"].tolist() == [0.75, 0.25, 0, 0, 0]
    assert frame["size_bytes"].tolist()[:2] == [2_400_000, 812]
    assert frame["fold_scores"].tolist()[3] == [0.5]
    lines = [" ".join(line.split()) for line in repr(board).splitlines()]
    assert lines[1] == "1 linear 0.95 0.02 75.0% █▅ 0.25 0.001 2.4MB done"
    assert lines[2].endswith("done (reused)")
    slow = connection.automl.submit(FRAME, target="y", task="classification", name="slow")
    assert slow.ensemble is None


def test_finish_extend_replay(connection: Connection, server: Server) -> None:
    slow = connection.automl.submit(FRAME, target="y", task="classification", name="slow")
    for follow in (slow.replay, lambda: slow.extend("1m"), slow.report, slow.plots, slow.report_data):
        with pytest.raises(Conflict) as caught:
            follow()
        assert caught.value.code == "run-not-ended"
    assert slow.finish().state.value == "succeeded"
    longer = slow.extend(time_budget="1m30s", max_trials=3)
    assert (longer.view.continues, longer.id) == (slow.id, "r2")
    assert server.service.requests[1][0]["time_budget_s"] == 90
    assert slow.replay().view.replay_of == slow.id
    for arguments in ({}, {"time_budget": "soon"}, {"time_budget": -1}, {"max_trials": 0}):
        with pytest.raises(InvalidRequest):
            slow.extend(**arguments)
    assert len(server.service.requests) == 3


def test_reports(connection: Connection, tmp_path: Path) -> None:
    run = connection.automl.submit(FRAME, target="y", task="classification", name="rich")
    page = run.report(tmp_path / "new" / "r.html")
    assert isinstance(page, Path)
    assert page == tmp_path / "new" / "r.html"
    text = page.read_text()
    assert text.startswith("<!doctype html>") or "<!doctype html>" in text[:50]
    shown = page._repr_html_()
    assert shown.startswith('<iframe sandbox="allow-scripts"')
    assert "<script>" not in shown, "the page is in an attribute, quoted"
    assert run.report() == Path("report.html")
    assert Path("report.html").is_file()
    assert run.report_data()["weights"]["trials"][0]["weight"] == 0.75
    assert [path.relative_to(tmp_path) for path in run.plots(tmp_path / "p")] == [Path("p/roc.svg")]
    assert {path.name for path in run.plots(tmp_path / "q", format=None)} == {"roc.svg", "roc.png"}
    assert (tmp_path / "p" / "roc.svg").read_bytes() == SVG
    assert run.download("plots/roc.svg", tmp_path / "x.svg").read_bytes() == SVG
    for name in ("plots/../model.zip", "../model.zip", "/etc/passwd", "plots//roc.svg"):
        with pytest.raises(NotFound):
            run.download(name, tmp_path)
    with pytest.raises(InvalidRequest):
        run.plots(tmp_path, format="pdf")


def test_metrics_over_http(connection: Connection, server: Server) -> None:
    from sklearn.metrics import mean_absolute_percentage_error

    def own(y_true: object, y_pred: object) -> float:
        return 0.0

    asked = {"target": "y", "task": "regression"}
    connection.automl.submit(FRAME, metric=mean_absolute_percentage_error, **asked)
    sent = server.service.requests[0][0]["custom_metric"]
    assert sent["path"] == "sklearn.metrics._regression.mean_absolute_percentage_error"
    assert (sent["name"], sent["greater_is_better"]) == ("mean_absolute_percentage_error", False)
    with pytest.raises(InvalidRequest) as caught:
        connection.automl.submit(FRAME, metric=own, **asked)
    assert caught.value.code == "metric-not-importable"
    with pytest.raises(Forbidden) as refused:
        connection.automl.submit(FRAME, metric="os:system", **asked)
    assert refused.value.code == "metric-not-allowed"
