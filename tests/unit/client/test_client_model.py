"""A downloaded model in a plain Python process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import rayctl
from rayctl.automl.bundle import Member, write_bundle
from rayctl.automl.engine import Candidate, Combination, engine_for
from rayctl.automl.model import RunRequest
from rayctl.errors import RayctlError

ROWS = pd.DataFrame({"size": [*range(40)], "kind": ["a", "b"] * 20})
PLAIN = """
import sys, rayctl
model = rayctl.load_model("model.zip")
print(model.kind, *model.predict("rows.csv", proba=True).columns)
print(*[name for name in ("ray", "fastapi", "sqlalchemy") if name in sys.modules])
"""


def fitted(request: RunRequest, table: pa.Table, candidate: Candidate) -> bytes:
    engine = engine_for(request.task)
    prepared = engine.prepare(table, request)
    folds = engine.split(prepared, request)
    parts = [engine.evaluate(prepared, fold, candidate, request, seed=1, deadline=None) for fold in folds]
    return engine.assemble(prepared, folds, {0: candidate}, {0: parts}, Combination({0: 1.0}, 0.0), request)


@pytest.fixture(scope="module")
def model() -> bytes:
    table = pa.Table.from_pandas(ROWS.assign(y=["low"] * 20 + ["high"] * 20))
    return fitted(RunRequest(task="classification", target="y"), table, Candidate("linear", {}))


def test_a_plain_process_predicts_without_ray_and_without_a_service(model: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(model)
    ROWS.to_csv(tmp_path / "rows.csv", index=False)
    found = subprocess.run([sys.executable, "-c", PLAIN], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == ["tabular prediction proba_high proba_low", ""]


def test_all_forms_of_rows_give_the_same(model: bytes, tmp_path: Path) -> None:
    loaded, path = rayctl.load_model(model), tmp_path / "rows.parquet"
    ROWS.to_parquet(path)
    expected = loaded.predict(ROWS)["prediction"].tolist()
    assert set(expected) == {"low", "high"}
    for rows in (path, str(path), path.read_bytes(), pa.Table.from_pandas(ROWS), ROWS.to_dict("records")):
        assert loaded.predict(rows)["prediction"].tolist() == expected


def test_series_go_on_after_the_training_data() -> None:
    frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=30), "y": [1.0, 2.0, 3.0] * 10})
    request = RunRequest(task="forecasting", target="y", time_column="ds", horizon=3, season_length=[3])
    loaded = rayctl.load_model(fitted(request, pa.Table.from_pandas(frame), Candidate("SeasonalNaive", {})))
    assert loaded.kind == "forecasting"
    assert loaded.predict()["prediction"].tolist() == [1.0, 2.0, 3.0]


def test_refusals(model: bytes, tmp_path: Path) -> None:
    other = write_bundle("report", {}, {"a": Member(b"b")})
    (tmp_path / "rows.csv").write_text("kind\na\n")
    for act, code in (
        (lambda: rayctl.load_model(tmp_path / "nothing.zip"), "unreadable-file"),
        (lambda: rayctl.load_model(b"PK nonsense"), "invalid-bundle"),
        (lambda: rayctl.load_model(other), "bundle-kind"),
        (lambda: rayctl.load_model(model).predict(), "no-data"),
        (lambda: rayctl.load_model(model).predict(tmp_path / "rows.csv"), "missing-column"),
        (lambda: rayctl.load_model(model).predict("no.csv"), "unreadable-file"),
    ):
        with pytest.raises(RayctlError) as raised:
            act()
        assert raised.value.code == code


def test_predictions_of_a_frame_have_its_index(model: bytes) -> None:
    loaded, shuffled = rayctl.load_model(model), ROWS.sample(frac=1, random_state=0)
    expected = loaded.predict(ROWS)["prediction"]
    found = loaded.predict(shuffled)["prediction"]
    assert list(found.index) == list(shuffled.index)
    assert found.sort_index().tolist() == expected.tolist()
    assert loaded.predict(pa.Table.from_pandas(shuffled)).index.tolist() == list(range(40))


def test_columns_that_the_model_does_not_need_may_be_of_any_type(model: bytes) -> None:
    loaded = rayctl.load_model(model)
    found = loaded.predict(ROWS.assign(tags=[["x"]] * 40, raw=[b"y"] * 40))
    assert found["prediction"].tolist() == loaded.predict(ROWS)["prediction"].tolist()
    with pytest.raises(RayctlError, match="'kind' must hold text, but has type list") as raised:
        loaded.predict(ROWS.assign(kind=[["x"]] * 40))
    assert raised.value.code == "wrong-type"
