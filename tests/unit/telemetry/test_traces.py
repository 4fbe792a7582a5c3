"""Spans: a pass with its requests as children, in a file; nothing where nobody asked."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from rayctl.kube.kinds import FLEETS
from rayctl.telemetry.traces import install, span
from tests.api.kube.conftest import Kubernetes, fleet, until


async def test_a_pass_and_its_requests(tmp_path: Path) -> None:
    path = tmp_path / "spans.jsonl"
    kubernetes = await Kubernetes().start()
    await kubernetes.create(FLEETS, fleet("llm", replicas=1))
    end = install(path)
    try:
        async with kubernetes.controllers():

            async def look() -> dict[str, Any]:
                return await kubernetes.get(FLEETS, "llm")

            await until(look, lambda found: (found.get("status") or {}).get("readyReplicas") == 1)
    finally:
        end()
    spans = [json.loads(line) for line in path.read_text().splitlines()]
    passes = {one["context"]["span_id"]: one for one in spans if one["name"] == "reconcile"}
    mine = [one for one in passes.values() if one["attributes"]["controller"] == "fleet-controller"]
    assert {one["attributes"]["name"] for one in mine} == {"llm"}
    assert "done" in {one["attributes"].get("result") for one in mine}
    writes = [one for one in spans if one["name"] == "PATCH" and one["parent_id"] in passes]
    assert writes
    for one in writes:
        assert one["context"]["trace_id"] == passes[one["parent_id"]]["context"]["trace_id"]
        assert one["attributes"]["path"].startswith("/apis/")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_without_it_nothing_is_made_and_errors_pass() -> None:
    with span("x", a=1) as found:
        found.set_attribute("b", 2)
    with pytest.raises(ZeroDivisionError), span("x"):
        raise ZeroDivisionError


def test_an_error_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "spans.jsonl"
    end = install(path)
    with pytest.raises(ZeroDivisionError), span("x", a=1):
        raise ZeroDivisionError
    end()
    (found,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert found["status"]["status_code"] == "ERROR"
    assert found["attributes"] == {"a": 1}
