"""``GET /metrics``: what Prometheus gets, and who may ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from rayctl.errors import Unavailable
from rayctl.telemetry.metrics import Metrics

from .conftest import check_problem
from .memory import MemoryService


def samples(text: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels.get("state", sample.labels.get("controller", ""))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_operators_get_the_numbers_of_all_processes(
    api: FastAPI, as_caller: Callable[..., Any], service: MemoryService
) -> None:
    async def others() -> Mapping[str, str]:
        metrics = Metrics()
        metrics.depth("fleet-controller", 4, 1)
        return {"fleet-controller": metrics.text().decode()}

    api.state.counted = others
    answer = await as_caller("operator").get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = samples(answer.text)
    assert found["rayctl_automl_runs", "queued"] == 3
    assert found["rayctl_automl_up", ""] == 1
    assert found["workqueue_depth", "fleet-controller"] == 4
    check_problem(await as_caller("red").get("/metrics"), 403, "operators-only")
    check_problem(await as_caller(None).get("/metrics"), 401, "not-authenticated")
    service.broken = Unavailable("away")
    assert samples((await as_caller("operator").get("/metrics")).text)["rayctl_automl_up", ""] == 0
