"""How the number of folds per second grows with the number of CPUs of a cluster.

    python tests/benchmarks/scaling.py [--cpus 1,2,4,8,16] [--seconds 0.25] [--nodes 1]
    python tests/benchmarks/scaling.py --folds 1000 --seconds 0.1 --nodes 4 --cpus 16,32

Ray is told of more CPUs than the machine has, on one or several nodes, and a fold sleeps instead of computing, so that
only scheduling, transfer and journal are measured. Prints folds per second beside the ideal (CPUs / seconds), or, with
a fixed number of folds, the seconds that they took beside the ideal; and the CPU time of all processes together per
fold, which does not depend on the machine's cores. Never fails on a time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}

import numpy as np
import pandas as pd
import ray

FOLDS = 5
TRIALS_PER_CPU = 8
GOAL = 1.5
"""A fixed number of folds may take so many times the ideal."""


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


@dataclass(frozen=True)
class Measured:
    """Seconds from the first task to the last journalled trial, and CPU seconds of all processes meanwhile."""

    seconds: float
    cpu_seconds: float


@contextmanager
def cluster(cpus: int, nodes: int) -> Iterator[Any]:
    """A cluster that claims so many CPUs on so many nodes, with a warm proxy."""
    from rayctl.automl.ensure import ensure_proxy
    from rayctl.settings import ServiceSettings

    folder = Path(tempfile.mkdtemp(prefix="rcs-"))
    os.environ["RAY_num_workers_soft_limit"] = str(2 * cpus)  # noqa: SIM112 (Ray reads it in lower case)
    made = None
    common: dict[str, Any] = {"object_store_memory": 400_000_000 // nodes}
    try:
        if nodes == 1:
            ray.init(
                address="local", num_cpus=cpus, include_dashboard=False, namespace="rayctl", log_to_driver=False,
                _temp_dir=str(folder / "r"), **common,
            )  # fmt: skip
        else:
            from ray.cluster_utils import Cluster

            os.environ["RAY_TMPDIR"] = str(folder)  # where it writes its address, too
            (folder / "ray").mkdir()
            made = Cluster()
            sizes = [cpus // nodes + (node < cpus % nodes) for node in range(nodes)]
            made.add_node(num_cpus=sizes[0], include_dashboard=False, temp_dir=str(folder / "ray"), **common)
            for size in sizes[1:]:
                made.add_node(num_cpus=size, **common)
            ray.init(address=made.address, namespace="rayctl", log_to_driver=False)
        proxy = ensure_proxy(ServiceSettings(home=folder / "home"))
        ray.get(proxy.warmed.remote())
        yield proxy
    finally:
        ray.shutdown()
        if made is not None:
            made.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def measure(cpus: int, nodes: int, seconds: float, trials: int) -> Measured:
    """Run so many trials of `FOLDS` folds."""
    with cluster(cpus, nodes) as proxy:
        table = pd.DataFrame({"x": np.arange(200.0), "y": np.arange(200.0) ** 2})
        request: dict[str, Any] = {
            "task": "regression",
            "target": "y",
            "search_space": {Sleeper: {"x": list(range(trials)), "seconds": [seconds]}},
            "validation": {"folds": FOLDS},
            "reuse": False,
            "ensemble": True,
        }
        _run(proxy, table, request | {"max_trials": 2 * cpus})  # every worker has imported what it needs
        before = _cpu_seconds()
        events = _run(proxy, table, request)
        spent = _cpu_seconds() - before
        moment = {event["seq"]: pd.Timestamp(event["at"]).timestamp() for event in events}
        began = min(moment[event["seq"]] for event in events if event["kind"] == "log")
        ended = max(moment[event["seq"]] for event in events if event["kind"] == "trial")
        return Measured(ended - began, spent)


def _run(proxy: Any, table: pd.DataFrame, request: dict[str, Any]) -> list[dict[str, Any]]:
    run_id = ray.get(proxy.do_auto_ml.remote(request, table))
    while ray.get(proxy.get_run.remote(run_id))["state"] in ("queued", "running"):
        ray.get(proxy.events.remote(run_id, after=10**9, wait_s=1.0))
    ray.get(proxy.get_result.remote(run_id))
    events: list[dict[str, Any]] = ray.get(proxy.events.remote(run_id, limit=5000))
    return events


def _cpu_seconds() -> float:
    """CPU seconds of this process and all below it, those that have ended included."""
    ticks: dict[int, int] = {}
    below: dict[int, list[int]] = defaultdict(list)
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            ticks[int(folder.name)] = sum(map(int, fields[11:15]))
            below[int(fields[1])].append(int(folder.name))
    found, waiting = 0, [os.getpid()]
    while waiting:
        process = waiting.pop()
        found += ticks.get(process, 0)
        waiting += below[process]
    return found / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cpus", default="1,2,4,8,16")
    parser.add_argument("--seconds", type=float, default=0.25)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--folds", type=int, default=0, help="so many folds in all instead of some per CPU")
    arguments = parser.parse_args()
    for cpus in map(int, arguments.cpus.split(",")):
        trials = -(-arguments.folds // FOLDS) or TRIALS_PER_CPU * cpus
        folds = trials * FOLDS
        found = measure(cpus, arguments.nodes, arguments.seconds, trials)
        cpu = f"{1000 * found.cpu_seconds / folds:.1f} ms of CPU per fold in all processes"
        ideal_s = folds * arguments.seconds / cpus
        if arguments.folds:
            took = f"{folds} folds of {arguments.seconds:g} s in {found.seconds:.2f} s, ideal {ideal_s:.2f} s"
            print(f"{cpus:3d} CPUs: {took} ({found.seconds / ideal_s:.2f}x, goal {GOAL:g}x); {cpu}", flush=True)
        else:
            rate, ideal = folds / found.seconds, cpus / arguments.seconds
            print(f"{cpus:3d} CPUs: {rate:7.1f} folds/s, {rate / ideal:5.1%} of the ideal {ideal:g}; {cpu}", flush=True)


if __name__ == "__main__":
    main()
