"""Tables and requests on their way to the service."""

from __future__ import annotations

import io
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from rayctl.automl.request import build_request, request_document, search_entries, seconds
from rayctl.client.automl import AutoML
from rayctl.client.data import ARROW_STREAM, for_http, for_ray, source_of, to_arrow
from rayctl.client.download import save
from rayctl.errors import InvalidData, InvalidRequest, RayctlError

FRAME = pd.DataFrame({"a": [1, 2], "y": ["x", None]})
TABLE = pa.table({"a": [1, 2], "y": ["x", None]})


class Mine:
    """A class that any process can import from here."""


@pytest.mark.parametrize("data", [FRAME, TABLE, TABLE.to_batches()[0], TABLE.to_reader(), pl.from_arrow(TABLE)])
def test_frames_become_arrow(data: Any) -> None:
    assert to_arrow(data).to_pydict() == TABLE.to_pydict()
    assert to_arrow(FRAME).schema.metadata is None


def test_lazy_frames_and_named_indexes() -> None:
    assert to_arrow(pl.from_arrow(TABLE).lazy()).num_rows == 2
    assert to_arrow(FRAME.set_index("a")).column_names == ["a", "y"]
    assert to_arrow(FRAME[FRAME.a > 1]).column_names == ["a", "y"], "a filtered frame has no column of row numbers"


def test_http_payloads(tmp_path: Path) -> None:
    payload = for_http(FRAME)
    assert payload.content_type == ARROW_STREAM
    assert pa.ipc.open_stream(payload.read()).read_all().num_rows == 2
    path = tmp_path / "misnamed.txt"
    FRAME.to_parquet(path)
    assert for_http(path).content_type == "application/vnd.apache.parquet"
    assert for_http(b"a,y\n1,2\n").content_type == "text/csv"
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    assert for_http(sink.getvalue()).content_type == ARROW_STREAM
    with pytest.raises(InvalidData, match="cannot be read"):
        for_http(tmp_path / "none.csv")
    with pytest.raises(InvalidData, match="folder"):
        for_http(tmp_path)


def test_what_has_no_arrow_form() -> None:
    frame = pd.DataFrame({"a": [1, "x", None], "b": [1j, 2j, 3j], "c": [1, 2, 3]})
    with pytest.raises(InvalidData, match=re.escape("'a' (values of types int, str), 'b' (type complex128).")):
        to_arrow(frame)
    with pytest.raises(InvalidData, match="whole numbers of more than 64 bits"):
        to_arrow(pd.DataFrame({"a": [2**70, 1]}))
    with pytest.raises(InvalidData, match="is not a table"):
        to_arrow(object())


def test_rows_become_a_table() -> None:
    assert to_arrow([{"a": 1}, {"a": 2, "y": "x"}]).to_pydict() == {"a": [1, 2], "y": [None, "x"]}


def test_ray_arguments() -> None:
    ref = type("ObjectRef", (), {"__module__": "ray._raylet"})()
    dataset = type("Dataset", (), {"__module__": "ray.data.dataset"})()
    assert for_ray(ref) == [ref]
    assert for_ray(dataset) is dataset
    assert for_ray(b"a\n1\n") == b"a\n1\n"
    assert for_ray(FRAME).num_rows == 2
    with pytest.raises(InvalidRequest, match="cannot be sent over HTTP"):
        for_http(ref)


def test_sources() -> None:
    assert source_of("s3://bucket/x.parquet") == {"uri": "s3://bucket/x.parquet"}
    assert source_of("uri:/data/x.csv") == {"uri": "/data/x.csv"}
    assert source_of("upload:u1") == {"upload": "u1"}
    assert source_of({"a": (1, 2)}) == {"columns": {"a": [1, 2]}}
    assert source_of("data.csv") is None
    assert source_of("C:/data.csv") is None


def test_search_spaces() -> None:
    class Local: ...

    assert search_entries({"AutoETS": {"season_length": np.arange(2)}}) == [
        {"model": "AutoETS", "params": {"season_length": [0, 1]}}
    ]
    path = f"{__name__}.Mine"
    assert search_entries({Mine: {"a": np.float64(0.5)}}) == [{"model": path, "params": {"a": 0.5}}]
    assert search_entries(["lightgbm", Mine]) == [{"model": "lightgbm", "params": {}}, {"model": path, "params": {}}]
    entry = search_entries([{"model": Local, "params": {"a": [1]}}])[0]
    assert entry["pickled_class"]
    request = build_request({"task": "regression", "target": "y", "search_space": {Local: {}}})
    assert isinstance(request_document(request, "ray")["search_space"][0]["pickled_class"], bytes)
    with pytest.raises(InvalidRequest, match="classes are not sent over HTTP"):
        request_document(request, "http")


def test_requests_hold_what_was_given_and_no_more() -> None:
    request = build_request(
        {"task": "regression", "target": "y", "time_budget": "10m", "trial_timeout": timedelta(seconds=5), "seed": None}
    )
    expected = {"task": "regression", "target": "y", "time_budget_s": 600.0, "trial_timeout_s": 5.0}
    assert request_document(request, "http") == expected


def test_every_wrong_place_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        build_request({"task": "regression", "target": "", "max_trials": 0})
    assert [item["pointer"] for item in caught.value.errors] == ["/target", "/max_trials"]
    with pytest.raises(InvalidRequest, match="both"):
        build_request({"task": "regression", "target": "y", "time_budget": 1, "time_budget_s": 1})
    with pytest.raises(InvalidRequest, match="no JSON form"):
        request_document(
            build_request({"task": "regression", "target": "y", "search_space": {"m": {"a": object()}}}), "http"
        )


def test_durations() -> None:
    assert (seconds("1m30s"), seconds(timedelta(hours=1)), seconds(2.5), seconds(None)) == (90.0, 3600.0, 2.5, None)
    with pytest.raises(InvalidRequest):
        seconds("soon")


def test_submit_has_every_field_of_the_request() -> None:
    import inspect

    from rayctl.automl.model import RunRequest

    given = set(inspect.signature(AutoML.submit).parameters)
    set_by_the_service = {"continues", "replay_of"}
    assert set(RunRequest.model_fields) - {"data"} - set_by_the_service <= given


def test_files_are_whole_or_absent(tmp_path: Path) -> None:
    assert save([b"ab", b"c"], "../../m.zip", tmp_path, size=3) == tmp_path / "m.zip"
    assert (tmp_path / "m.zip").read_bytes() == b"abc"
    for options in ({"size": 9}, {"sha256": "00"}):
        with pytest.raises(RayctlError):
            save([b"other"], "m.zip", tmp_path, **options)
    with pytest.raises(InvalidRequest, match="cannot be written"):
        save([b"x"], "n.zip", tmp_path / "m.zip" / "below")
    assert [path.name for path in tmp_path.iterdir()] == ["m.zip"]
    assert (tmp_path / "m.zip").read_bytes() == b"abc"
