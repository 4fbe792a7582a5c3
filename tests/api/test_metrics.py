"""``GET /metrics``: what Prometheus gets, and who may ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from rayctl.errors import Unavailable
from rayctl.telemetry.left_behind import FRESH_S, STANDBY, keep_written, read_fresh, standby_file
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


async def test_what_a_standby_counts_is_told_while_it_lives(
    tmp_path: Path, api: FastAPI, as_caller: Callable[..., Any], service: MemoryService
) -> None:
    metrics = Metrics()
    metrics.leads("fleet-controller", True)
    file = standby_file(tmp_path)
    written = asyncio.ensure_future(keep_written(file, metrics.text))
    while not file.exists():  # noqa: ASYNC110  # a thread writes it
        await asyncio.sleep(0.01)  # until the other task has written
    assert file.stat().st_mode & 0o777 == 0o600

    async def told() -> dict[str, str]:
        at = time.time()
        return {STANDBY: read_fresh(file, at)} if read_fresh(file, at) else {}

    api.state.counted = told
    text = (await as_caller("operator").get("/metrics")).text
    assert 'leader_election_master_status{process="standby",name="fleet-controller"} 1.0' in text
    assert read_fresh(file, time.time() + FRESH_S) == ""
    written.cancel()
    await asyncio.wait([written])
    assert "standby" not in (await as_caller("operator").get("/metrics")).text
