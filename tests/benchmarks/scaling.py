"""How the number of trials per second grows with the number of CPUs of a cluster.

    python tests/benchmarks/scaling.py [--cpus 1,2,4,8,16] [--seconds 0.25]

Ray is told of more CPUs than the machine has, and a fold sleeps instead of computing, so that only scheduling,
transfer and journal are measured. Prints folds per second beside the ideal (CPUs / seconds). Never fails on a time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}

import numpy as np
import pandas as pd
import ray

FOLDS = 5
TRIALS_PER_CPU = 8


class Sleeper:
    """A model that takes a known time and no CPU."""

    def __init__(self, x: int = 0, seconds: float = 0.25) -> None:
        self.x = x
        self.seconds = seconds

    def fit(self, features: Any, target: Any) -> Sleeper:
        time.sleep(self.seconds)
        return self

    def predict(self, features: Any) -> Any:
        return np.full(len(features), float(self.x))


def folds_per_second(cpus: int, seconds: float) -> float:
    """Run trials on a cluster that claims so many CPUs; folds per second from the first task to the last trial."""
    from rayctl.automl.ensure import ensure_proxy
    from rayctl.settings import ServiceSettings

    folder = Path(tempfile.mkdtemp(prefix="rcs-"))
    os.environ["RAY_num_workers_soft_limit"] = str(2 * cpus)  # noqa: SIM112 (Ray reads it in lower case)
    ray.init(
        address="local", num_cpus=cpus, include_dashboard=False, namespace="rayctl", log_to_driver=False,
        object_store_memory=300_000_000, _temp_dir=str(folder / "r"),
    )  # fmt: skip
    try:
        proxy = ensure_proxy(ServiceSettings(home=folder / "home"))
        ray.get(proxy.warmed.remote())
        table = pd.DataFrame({"x": np.arange(200.0), "y": np.arange(200.0) ** 2})
        trials = TRIALS_PER_CPU * cpus
        request: dict[str, Any] = {
            "task": "regression",
            "target": "y",
            "search_space": {Sleeper: {"x": list(range(trials)), "seconds": [seconds]}},
            "validation": {"folds": FOLDS},
            "reuse": False,
            "ensemble": True,
        }
        _run(proxy, table, request | {"max_trials": 2 * cpus})  # every worker has imported what it needs
        events = _run(proxy, table, request)
        moment = {event["seq"]: pd.Timestamp(event["at"]).timestamp() for event in events}
        began = min(moment[event["seq"]] for event in events if event["kind"] == "log")
        ended = max(moment[event["seq"]] for event in events if event["kind"] == "trial")
        return trials * FOLDS / (ended - began)
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _run(proxy: Any, table: pd.DataFrame, request: dict[str, Any]) -> list[dict[str, Any]]:
    run_id = ray.get(proxy.do_auto_ml.remote(request, table))
    while ray.get(proxy.get_run.remote(run_id))["state"] in ("queued", "running"):
        ray.get(proxy.events.remote(run_id, after=10**9, wait_s=1.0))
    ray.get(proxy.get_result.remote(run_id))
    events: list[dict[str, Any]] = ray.get(proxy.events.remote(run_id, limit=5000))
    return events


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cpus", default="1,2,4,8,16")
    parser.add_argument("--seconds", type=float, default=0.25)
    arguments = parser.parse_args()
    for cpus in map(int, arguments.cpus.split(",")):
        found, ideal = folds_per_second(cpus, arguments.seconds), cpus / arguments.seconds
        print(f"{cpus:3d} CPUs: {found:7.1f} folds/s, {found / ideal:5.1%} of the ideal {ideal:g}", flush=True)


if __name__ == "__main__":
    main()
