"""The application of one served model, over an engine of a few lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pyarrow as pa
import pytest
import yaml
from fastapi import FastAPI
from ray.serve.schema import ServeDeploySchema

from rayctl.api.auth import TokenBook
from rayctl.automl.bundle import write_bundle
from rayctl.errors import InvalidData, InvalidRequest
from rayctl.settings import ServiceSettings
from serve_apps import gateway, predict
from serve_apps.automl import automl

from .conftest import TOKENS, check_problem, client_for

BUNDLE = write_bundle("tabular", {"schema": {"a": "int64"}}, {})


class Doubling:
    """Predicts twice the column a."""

    def predict(self, bundle: bytes, table: Any, *, proba: bool = False, allow_pickle: bool = False) -> pa.Table:
        assert bundle == BUNDLE
        assert not allow_pickle, "no digest was given, so no caller's class may be loaded"
        if proba:
            raise InvalidRequest("No probabilities.", code="no-probabilities")
        if table is None:
            return pa.table({"prediction": [0]})
        if "a" not in table.column_names:
            raise InvalidData("Column a is missing.", code="missing-column")
        return pa.table({"prediction": [2 * value for value in table["a"].to_pylist()]})


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, book: TokenBook, settings: ServiceSettings) -> Callable[..., FastAPI]:
    monkeypatch.setattr(predict, "engine_for", lambda task: Doubling())

    def model_app(**fields: Any) -> FastAPI:
        args = predict.ModelArgs(run_id="run-1", task="regression", tenant="red", **fields)
        return predict.create_model_app(BUNDLE, args, tokens=book, settings=settings)

    return model_app


@pytest.fixture
def client(make: Callable[..., FastAPI]) -> httpx2.AsyncClient:
    return client_for(make(), TOKENS["red"])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"a": 1}, [2]),
        ({"a": 1, "b": None}, [2]),
        ([{"a": 1}, {"a": 2}], [2, 4]),
        ({"rows": [{"a": 1}]}, [2]),
        ({"row": {"a": 3}}, [6]),
        ({"columns": {"a": [1, 2]}}, [2, 4]),
    ],
)
async def test_rows(client: httpx2.AsyncClient, body: Any, expected: list[int]) -> None:
    response = await client.post("/", json=body)
    assert response.json() == {"predictions": [{"prediction": value} for value in expected]}


async def test_no_body_and_other_answers(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/")).json() == {"predictions": [{"prediction": 0}]}
    assert (await client.post("/", headers={"Accept": "text/csv"})).text == '"prediction"\n0\n'


async def test_errors(client: httpx2.AsyncClient) -> None:
    check_problem(await client.post("/", json={"b": 1}), 422, "missing-column")
    check_problem(await client.post("/", json={"rows": 1}), 422, "missing-column")  # one row with a column rows
    check_problem(await client.post("/", json=5), 422, "invalid-request")
    check_problem(await client.post("/", json=[]), 422, "empty-data")
    check_problem(await client.post("/", json=[1]), 422, "invalid-request")
    check_problem(await client.post("/", content=b"{"), 400, "malformed-request")
    check_problem(
        await client.post("/", content=b"x", headers={"Content-Type": "image/png"}), 415, "unsupported-media-type"
    )
    check_problem(await client.post("/?proba=1", json={"a": 1}), 422, "no-probabilities")
    check_problem(await client.post("/", content=b" " * 70_000), 413, "too-large")
    check_problem(await client.get("/none"), 404, "no-such-path")
    check_problem(await client.get("/"), 405, "method-not-allowed")


async def test_schema_and_health(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/schema")).json() == {"run_id": "run-1", "task": "regression", "schema": {"a": "int64"}}
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    document = (await client.get("/openapi.json")).json()
    assert "Problem" in document["components"]["schemas"]


async def test_who_may_ask(make: Callable[..., FastAPI]) -> None:
    for who, status in (("red", 200), ("operator", 200), ("blue", 404), ("nobody", 401)):
        async with client_for(make(), TOKENS.get(who)) as client:
            assert (await client.post("/", json={"a": 1})).status_code == status
            assert (await client.get("/schema")).status_code == status
            assert (await client.get("/healthz")).status_code == 200


async def test_below_a_prefix(make: Callable[..., FastAPI]) -> None:
    transport = httpx2.ASGITransport(app=make(), root_path="/models/m")
    headers = {"Authorization": f"Bearer {TOKENS['red']}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client:
        assert (await client.post("/models/m", json={"a": 1})).status_code == 200
        assert (await client.post("/models/m/", json={"a": 1})).status_code == 200
        assert (await client.get("/models/m/schema")).status_code == 200
        assert (await client.get("/models/m/healthz", headers={"Authorization": ""})).status_code == 200
        assert (await client.get("/models/m/schema", headers={"Authorization": ""})).status_code == 401


async def test_a_damaged_bundle_fails_the_start(make: Callable[..., FastAPI], monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    args = predict.ModelArgs(run_id="run-1", task="regression")
    with pytest.raises(InvalidRequest):
        predict.create_model_app(BUNDLE[:-9], args, tokens=TokenBook([("t", None)]), settings=ServiceSettings())


def test_where_the_bundle_comes_from(tmp_path: Any) -> None:
    (tmp_path / "b").write_bytes(b"x")
    named = predict.ModelArgs(run_id="r", task="regression", bundle_path=str(tmp_path / "b"))
    assert predict._load(named) == b"x"
    assert predict._load(predict.ModelArgs(run_id="r", task="regression", bundle=b"y")) == b"y"


def test_the_applications_can_be_built() -> None:
    assert gateway.app
    assert automl()
    assert predict.build({"run_id": "r", "task": "regression"})
    with pytest.raises(ValueError, match="extra"):
        predict.build({"run_id": "r", "task": "regression", "colour": "red"})


def test_the_serve_configuration_is_valid() -> None:
    text = (Path(gateway.__file__).parent / "config.yaml").read_text()
    config = ServeDeploySchema(**yaml.safe_load(text))
    assert str(config.http_options.host) == "127.0.0.1"
    assert config.applications[0].import_path == "serve_apps.gateway:app"
    assert config.applications[0].deployments[0].name == "gateway"
