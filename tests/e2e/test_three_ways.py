"""One request over HTTP, over Ray Client, by name inside the cluster, and on the command line: one leaderboard."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import httpx2
import pandas as pd
import pytest

from tests.e2e.conftest import Service

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

REQUEST = {
    "task": "classification",
    "target": "target",
    "search_space": {"linear": {"C": [0.1, 1.0]}, "extra_trees": {"n_estimators": [40]}},
    "max_trials": 3,
    "seed": 5,
    "validation": {"folds": 3},
    "reuse": False,
}

BY_CLIENT = """
import json, sys, pandas as pd, rayctl
request = json.loads(sys.argv[2])
with rayctl.connect(sys.argv[1]) as connection:
    run = connection.automl.submit(pd.read_csv("table.csv"), **request)
    run.wait(timeout="2m")
    print(json.dumps(run.result()["leaderboard"]))
"""

PLAIN_RAY_CLIENT = """
import json, sys, pandas as pd, ray
ray.init(sys.argv[1], log_to_driver=False)
proxy = ray.get_actor("automl-proxy", namespace="rayctl")
run_id = ray.get(proxy.do_auto_ml.remote(json.loads(sys.argv[2]), pd.read_csv("table.csv")))
print(json.dumps(ray.get(proxy.get_result.remote(run_id, wait_s=60))["leaderboard"]))
"""

INSIDE = """
import json, sys, pandas as pd, ray
ray.init(sys.argv[1], log_to_driver=False)

@ray.remote
def inside(request, table):
    proxy = ray.get_actor("automl-proxy", namespace="rayctl")
    run_id = ray.get(proxy.do_auto_ml.remote(request, table))
    return ray.get(proxy.get_result.remote(run_id, wait_s=60))["leaderboard"]

print(json.dumps(ray.get(inside.remote(json.loads(sys.argv[2]), pd.read_csv("table.csv")))))
"""


def data_of(rows: list[dict[str, Any]]) -> str:
    """What of a leaderboard is data, as bytes (times are not data)."""
    return json.dumps(
        [{k: v for k, v in row.items() if k not in ("fit_s", "predict_s")} for row in rows], sort_keys=True
    )


def test_three_ways_one_leaderboard(service: Service) -> None:
    wanted = json.dumps(REQUEST)
    ray_address = service.up["ray_client_address"]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": service.up["ray_token_file"]}
    plain = Service(service.home, service.folder, service.env | token)
    boards = {
        "http": service.python(BY_CLIENT, service.url, wanted),
        "ray client": service.python(BY_CLIENT, ray_address, wanted),
        "plain ray client": plain.python(PLAIN_RAY_CLIENT, ray_address, wanted),
        "inside the cluster": plain.python(INSIDE, ray_address, wanted),
    }
    space = json.dumps(REQUEST["search_space"])
    words = ["--target", "target", "--task", "classification", "--max-trials", "3", "--seed", "5", "--folds", "3"]
    words.append("--no-reuse")
    submitted = service.json("automl", "submit", "table.csv", *words, "--search-space", space, "--wait")
    boards["command line"] = submitted["leaderboard"]
    assert submitted["state"] == "succeeded"
    assert submitted["best_score"] == boards["http"][0]["score"]
    expected = data_of(boards["http"])
    assert {way: data_of(board) == expected for way, board in boards.items()} == dict.fromkeys(boards, True)


@pytest.fixture(scope="module")
def run_id(service: Service) -> str:
    words = ["--target", "target", "--task", "classification", "--max-trials", "2", "--wait"]
    return str(service.json("automl", "submit", "table.csv", *words)["run_id"])


def test_predictions_go_to_a_file_and_are_right(service: Service, run_id: str) -> None:
    service.rayctl("automl", "predict", run_id, "new.csv", "-o", "out.csv", "--proba")
    predicted, truth = pd.read_csv(service.folder / "out.csv"), pd.read_csv(service.folder / "truth.csv")
    assert len(predicted) == len(truth)
    assert (predicted["prediction"] == truth["target"]).mean() > 0.85
    assert ((predicted["proba_0"] + predicted["proba_1"]).sub(1).abs() < 1e-9).all()
    pd.read_csv(service.folder / "new.csv").drop(columns="mean radius").to_csv(service.folder / "less.csv", index=False)
    bad = service.rayctl("automl", "predict", run_id, "less.csv", "-o", "none.csv", code=2)
    assert "mean radius" in bad.stderr
    assert not (service.folder / "none.csv").exists()


def test_http_by_hand(service: Service, run_id: str) -> None:
    def curl(*words: str) -> str:
        done = subprocess.run(["curl", "-s", *words], capture_output=True, text=True, timeout=60)
        return done.stdout

    token = f"Authorization: Bearer {service.token}"
    assert json.loads(curl(f"{service.url}/v1/runs"))["code"] == "not-authenticated"
    assert json.loads(curl("-H", "Authorization: Bearer wrong", f"{service.url}/v1/runs"))["status"] == 401
    assert json.loads(curl("-H", token, f"{service.url}/v1/runs/{run_id}"))["state"] == "succeeded"
    assert json.loads(curl("-H", token, f"{service.url}/v1/runs/nope"))["code"] == "run-not-found"
    assert (
        json.loads(curl("-H", token, "-H", "Content-Type: application/json", "-d", "{", f"{service.url}/v1/runs"))[
            "code"
        ]
        == "malformed-request"
    )
    stream = curl("-N", "-H", token, f"{service.url}/v1/runs/{run_id}/events")
    ids = [int(line[3:]) for line in stream.splitlines() if line.startswith("id:")]
    assert ids == list(range(1, len(ids) + 1))
    assert "event: done" in stream
    resumed = curl("-N", "-H", token, "-H", f"Last-Event-ID: {ids[-3]}", f"{service.url}/v1/runs/{run_id}/events")
    assert [int(line[3:]) for line in resumed.splitlines() if line.startswith("id:")] == ids[-2:]
    form = ["-F", f"request={json.dumps(REQUEST)}", "-F", f"data=@{service.folder / 'table.csv'}"]
    accepted = json.loads(curl("-H", token, *form, f"{service.url}/v1/runs"))
    assert accepted["state"] in ("queued", "running", "succeeded")


def test_a_model_is_deployed_with_one_command_and_answers(service: Service, run_id: str) -> None:
    deployed = service.json("automl", "deploy", run_id, "--name", "tumours")
    url = f"{service.url}{deployed['route']}"
    row = json.loads(pd.read_csv(service.folder / "new.csv").iloc[0].to_json())
    headers = {"Authorization": f"Bearer {service.token}"}
    with httpx2.Client(timeout=30, trust_env=False) as http:
        one = http.post(url, json=row, headers=headers)
        assert one.status_code == 200, one.text
        assert one.json()["predictions"][0]["prediction"] in (0, 1)
        many = http.post(url, json=[row] * 3, params={"proba": "true"}, headers=headers).json()
        assert len(many["predictions"]) == 3
        del row["mean radius"]
        wrong = http.post(url, json=row, headers=headers)
        assert wrong.status_code == 422
        assert "mean radius" in wrong.text
        assert http.post(url, json=row).status_code == 401
    assert service.rayctl("automl", "delete", run_id, "--yes", code=None).returncode == 6
    [listed] = service.json("automl", "deployments")
    assert (listed["name"], listed["run_id"], listed["state"]) == ("tumours", run_id, "running")
    service.rayctl("automl", "undeploy", "tumours")


def test_wrong_input_on_the_command_line(service: Service) -> None:
    def fails(code: int, *words: str) -> str:
        return service.rayctl("automl", *words, code=code).stderr

    assert "targte" in fails(2, "submit", "table.csv", "--target", "targte", "--task", "classification", "--wait")
    assert "no-such.csv" in fails(2, "submit", "no-such.csv", "--target", "target", "--task", "classification")
    assert "run-none" in fails(3, "leaderboard", "run-none")
    (service.folder / "empty.csv").write_text("")
    assert "empty" in fails(2, "submit", "empty.csv", "--target", "y", "--task", "regression")
    (service.folder / "twice.csv").write_text("a,a,y\n1,2,3\n4,5,6\n")
    assert "duplicate" in fails(2, "submit", "twice.csv", "--target", "y", "--task", "regression").lower()
    assert service.rayctl("automl", "list", "--token-file", "new.csv", code=None).returncode in (2, 7)


def test_status_tells_what_runs(service: Service) -> None:
    status = service.json("status")
    assert status["state"] == "ready"
    assert service.rayctl("version").stdout.strip()
