"""The Python client over HTTP against the real API."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from rayctl.client import Connection
from rayctl.errors import DeadlineExceeded, InvalidRequest, NotFound, RunFailed

from .conftest import Server
from .scripted import FILES

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
