"""The Ray head is killed in the middle of a run: the service comes back by itself and the run ends all the same."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import httpx2
import pytest

from tests.e2e.conftest import Service
from tests.e2e.test_three_ways import data_of
from tests.ray.helpers import head_of, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(500)]

# So many trees that a run goes on for some seconds after its first trial, also on a machine that does nothing else.
SPACE = json.dumps({"extra_trees": {"n_estimators": [1200], "min_samples_leaf": [1, 2, 3]}, "linear": {"C": [1.0]}})
WORDS = ["table.csv", "--target", "target", "--task", "classification", "--max-trials", "4", "--search-space", SPACE]
WORDS += ["--no-reuse", "--folds", "3"]


def view(service: Service, run_id: str) -> dict[str, Any]:
    """The run as the service tells it; empty while there is no service.

    Asked in this process: a command line per look would take one of two cores from the head that is to come back.
    """
    headers = {"Authorization": f"Bearer {service.token}"}
    try:
        answer = httpx2.get(f"{service.url}/v1/runs/{run_id}", headers=headers, timeout=10)
    except httpx2.HTTPError:
        return {}
    return answer.json() if answer.status_code == 200 else {}  # type: ignore[no-any-return]


def test_a_run_survives_the_death_of_its_cluster(service: Service) -> None:
    run_id = service.json("automl", "submit", *WORDS)["run_id"]
    before = wait_until(lambda: v if (v := view(service, run_id)).get("trials", {}).get("done", 0) >= 1 else None, 60)
    assert before["state"] == "running"
    head, url = head_of(service.home), service.url
    os.kill(head, signal.SIGKILL)
    wait_until(lambda: view(service, run_id).get("state") == "succeeded", 240)
    assert head_of(service.home) != head
    assert service.url == url, "head and service come back on the same ports"
    board = service.json("automl", "leaderboard", run_id)
    again = service.json("automl", "submit", *WORDS, "--wait")["leaderboard"]
    rows = board["items"] if isinstance(board, dict) else board
    assert len(rows) == 4
    assert data_of(rows) == data_of(again)
