"""What the service costs beside bare Ray tasks and Ray Tune, in one run on one machine: ratios, not seconds.

    python tests/benchmarks/service_overhead.py [--without-tune]

Prints: 64 trivial trials through a warm service, as bare tasks, and in Ray Tune with actor reuse; the overhead per
real fold task; the time from submission to the first finished trial; 8 runs at once against one after the other.
It never fails on a time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import local_ray
import numpy as np
import pandas as pd
import ray

TRIALS = 64
REPEATS = 5


class Parabola:
    """A model without any work: what is left is the service."""

    def __init__(self, x: int = 0) -> None:
        self.x = x

    def fit(self, features: Any, target: Any) -> Parabola:
        return self

    def predict(self, features: Any) -> Any:
        return np.full(len(features), float(self.x) ** 2)


def seconds(work: Callable[[], Any]) -> float:
    """Wall seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def median_of(work: Callable[[], float]) -> float:
    """Median of `REPEATS` values after one that does not count."""
    work()
    return statistics.median(work() for _ in range(REPEATS))


def run_once(proxy: Any, table: pd.DataFrame, request: dict[str, Any]) -> dict[str, Any]:
    """Submit, wait, and return the result document."""
    run_id = ray.get(proxy.do_auto_ml.remote(request, table))
    result: dict[str, Any] = ray.get(proxy.get_result.remote(run_id, wait_s=60))
    result["events"] = ray.get(proxy.events.remote(run_id, limit=5000))
    return result


def epoch(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 time."""
    return float(pd.Timestamp(text).timestamp())


def trivial_request() -> dict[str, Any]:
    """64 trials of `Parabola`, one fold each."""
    return {
        "task": "regression",
        "target": "y",
        "search_space": {Parabola: {"x": list(range(TRIALS))}},
        "max_trials": TRIALS,
        "validation": {"scheme": "holdout"},
        "reuse": False,
    }


def service_trials(proxy: Any, table: pd.DataFrame) -> tuple[float, float]:
    """Median seconds of 64 trivial trials: (from the first task to the last journalled trial, submit to result)."""
    spans, wholes = [], []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        result = run_once(proxy, table, trivial_request())
        wholes.append(time.perf_counter() - began)
        trials = [epoch(event["at"]) for event in result["events"] if event["kind"] == "trial"]
        ready = epoch(next(e["at"] for e in result["events"] if e["kind"] == "log"))
        spans.append(max(trials) - ready)
    return statistics.median(spans[1:]), statistics.median(wholes[1:])


@ray.remote
def bare(x: int) -> float:
    """The same trial as a bare Ray task."""
    return float(x) ** 2


def bare_trials() -> float:
    """Seconds of 64 bare tasks."""
    return seconds(lambda: ray.get([bare.remote(x) for x in range(TRIALS)]))


def tune_trials() -> float:
    """Seconds of 64 trials in Ray Tune with actor reuse."""
    from ray import tune

    def objective(config: dict[str, Any]) -> None:
        tune.report({"score": float(config["x"]) ** 2})

    tuner = tune.Tuner(
        objective,
        param_space={"x": tune.grid_search(list(range(TRIALS)))},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(verbose=0, storage_path=tempfile.mkdtemp(prefix="rcb-tune-")),
    )
    return seconds(tuner.fit)


def real_request(seed: int = 0, folds: int = 5) -> dict[str, Any]:
    """A search over real models on a real table."""
    space = {"linear": {"C": [0.1, 1.0, 10.0]}, "lightgbm": {"num_leaves": [7, 15, 31]}}
    return {
        "task": "classification", "target": "target", "search_space": space, "max_trials": 6, "seed": seed,
        "validation": {"folds": folds}, "reuse": False,
    }  # fmt: skip


def task_overhead_ms(proxy: Any, table: pd.DataFrame) -> float:
    """Milliseconds of both CPUs per fold task that are neither fitting nor predicting, median of three runs.

    From the start of training to the last journalled trial, so the trainer's, the proxy's and the journal's own CPU
    time on these two cores is counted as well.
    """
    found = []
    request = real_request(folds=10) | {"max_trials": 12}
    request["search_space"] = {
        "linear": {"C": [0.1 * n for n in range(1, 7)]},
        "lightgbm": {"num_leaves": [*range(7, 13)]},
    }
    for _ in range(3):
        result = run_once(proxy, table, request)
        start = epoch(next(event["at"] for event in result["events"] if event["kind"] == "log"))
        trials = [event for event in result["events"] if event["kind"] == "trial"]
        slots_s = 2 * (max(epoch(event["at"]) for event in trials) - start)
        work_s = sum(10 * (event["data"]["fit_s"] + event["data"]["predict_s"]) for event in trials)
        found.append((slots_s - work_s) / (10 * len(trials)) * 1000)
    return statistics.median(found)


def first_trial_s(proxy: Any, table: pd.DataFrame) -> float:
    """Seconds from submission to the first journalled trial."""
    result = run_once(proxy, table, real_request())
    first = min(epoch(event["at"]) for event in result["events"] if event["kind"] == "trial")
    return first - epoch(result["run"]["created_at"])


def together_and_apart(proxy: Any, table: pd.DataFrame) -> tuple[float, float]:
    """Seconds of 8 runs at once, and of the same 8 one after the other."""
    requests = [real_request(seed=seed) for seed in range(8)]

    def together() -> None:
        ids = ray.get([proxy.do_auto_ml.remote(request, table) for request in requests])
        ray.get([proxy.get_result.remote(run_id, wait_s=60) for run_id in ids])

    apart = seconds(lambda: [run_once(proxy, table, request) for request in requests])
    return seconds(together), apart


def report(what: str, taken_s: float, bare_s: float) -> None:
    """Print one line: seconds, and the ratio to bare tasks."""
    print(f"{TRIALS} trivial trials, {what:<34} {taken_s:8.3f} s {taken_s / bare_s:8.1f}x", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--without-tune", action="store_true")
    arguments = parser.parse_args()
    from sklearn.datasets import load_breast_cancer

    real = load_breast_cancer(as_frame=True).frame
    trivial = pd.DataFrame({"x": np.arange(40.0), "y": np.arange(40.0) ** 2})
    with local_ray.cluster() as proxy:
        ray.get(proxy.warmed.remote())
        run_once(proxy, real, real_request())  # imports and processes are warm from here on
        bare_s = median_of(bare_trials)
        span_s, whole_s = service_trials(proxy, trivial)
        report("bare Ray tasks", bare_s, bare_s)
        report("in the trainer (target <= 0.25 s)", span_s, bare_s)
        report("submit to result", whole_s, bare_s)
        if not arguments.without_tune:
            tune_s = tune_trials()
            report("Ray Tune, actor reuse", tune_s, bare_s)
            print(f"Ray Tune against the trainer: {tune_s / span_s:.0f}x (target >= 40x)")
            print(f"Ray Tune against submit to result: {tune_s / whole_s:.0f}x")
        print(f"overhead per real fold task, median: {task_overhead_ms(proxy, real):.1f} ms (target <= 5 ms)")
        print(f"submit to first finished trial, median: {median_of(lambda: first_trial_s(proxy, real)):.2f} s")
        both_s, apart_s = together_and_apart(proxy, real)
        print(f"8 runs at once {both_s:.1f} s, one after the other {apart_s:.1f} s: {apart_s / both_s:.2f}x as fast")


if __name__ == "__main__":
    main()
