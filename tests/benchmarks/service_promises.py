"""What the service promises about time, deaths and repetition, measured on a running one: seconds, not verdicts.

    python tests/benchmarks/service_promises.py [--rounds 5] [--budgets 3,10]

Prints: the first request after the start against later ones; how far answers come from their deadline; the first
usable model; how soon a cancelled run's CPUs work for others; a run whose trainer is killed half-way beside an
undisturbed one; a request that is repeated; prediction. It never fails on a time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import local_ray
import numpy as np
import pandas as pd
import psutil
import ray
from service_overhead import epoch

from rayctl.errors import RunFailed

ROWS = 12_000
WAIT_S = 120
KILLED_TRIALS = 16
KILL_AFTER = 6


def customers(rows: int = ROWS, seed: int = 7) -> pd.DataFrame:
    """A table like those of customers: numbers, categories, gaps, two classes; the same at every call."""
    random = np.random.default_rng(seed)
    numbers = {f"n{i}": random.normal(size=rows).round(3) for i in range(8)}
    words = {f"c{i}": random.choice([f"w{k}" for k in range(3 + 5 * i)], size=rows) for i in range(5)}
    frame = pd.DataFrame(numbers | words)
    lean = frame.n0 * 1.2 - frame.n1 * frame.n2 + (frame.c1 == "w2") * 1.5 + np.sin(2 * frame.n3)
    frame["bought"] = np.where(lean + random.logistic(size=rows) > 0, "yes", "no")
    frame.loc[random.random(rows) < 0.1, "n4"] = np.nan
    return frame


def request(**changes: Any) -> dict[str, Any]:
    """A plain request without a search space; no fold of an earlier run is taken over unless it is asked for."""
    return {"task": "classification", "target": "bought", "metric": "roc_auc", "seed": 1, "reuse": False, **changes}


def answer(proxy: Any, run_id: str) -> dict[str, Any]:
    """Wait for the end of a run."""
    found: dict[str, Any] = ray.get(proxy.get_result.remote(run_id, wait_s=WAIT_S))
    return found


def asked(proxy: Any, data: Any, wanted: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """Return (the result, seconds from before submission to the result in hand)."""
    began = time.monotonic()
    result = answer(proxy, ray.get(proxy.do_auto_ml.remote(wanted, data)))
    return result, time.monotonic() - began


def trials(proxy: Any, run_id: str) -> list[dict[str, Any]]:
    """Return the journalled trials of a run."""
    events = ray.get(proxy.events.remote(run_id, limit=5000))
    return [event for event in events if event["kind"] == "trial"]


def wait_for_trials(proxy: Any, run_id: str, number: int) -> None:
    """Wait until so many trials are journalled."""
    end = time.monotonic() + WAIT_S
    while len(trials(proxy, run_id)) < number:
        if time.monotonic() > end:
            raise SystemExit(f"{run_id} has not finished {number} trials in {WAIT_S} s")
        time.sleep(0.02)  # between two looks; the number of trials decides


def deadlines(proxy: Any, data: Any, budgets: list[float], rounds: int) -> None:
    """Print how late the answers come, and when there was a first usable model."""
    first, late, none = [], [], 0
    for budget_s in budgets:
        for number in range(rounds):
            try:
                result, taken_s = asked(proxy, data, request(time_budget_s=budget_s, seed=number))
            except ray.exceptions.RayTaskError as error:
                if not isinstance(error.cause, RunFailed):
                    raise
                none += 1
                continue
            done = trials(proxy, result["run"]["id"])
            first.append(min(epoch(e["at"]) for e in done) - epoch(result["run"]["created_at"]))
            late.append(taken_s - budget_s)
    shown = ", ".join(f"{budget_s:g}" for budget_s in budgets)
    print(f"budgets of {shown} s: {len(late)} answers, {none} requests without one (no trial was done in time)")
    if late:
        print(
            f"  from the deadline: {np.percentile(late, 95):+.2f} s at p95, {max(late):+.2f} s at most "
            "(targets <= +0.5, +1.5)"
        )
        print(f"  first trial done after: {statistics.median(first):.2f} s, {max(first):.2f} s at most (target <= 2 s)")


@ray.remote(num_cpus=1)
def where() -> float:
    """Any task of somebody else."""
    return time.time()


def cancelled(proxy: Any, data: Any, rounds: int) -> None:
    """Print how long after a cancel both CPUs work for others."""
    free, answered = [], []
    for number in range(rounds):
        run_id = ray.get(proxy.do_auto_ml.remote(request(time_budget_s=60, seed=number), data))
        wait_for_trials(proxy, run_id, 1)
        began = time.time()
        ray.get(proxy.cancel.remote(run_id))
        answered.append(time.time() - began)
        free.append(max(ray.get([where.remote(), where.remote()])) - began)
    print(
        f"cancel: answered after {statistics.median(answered):.2f} s, both CPUs free after "
        f"{statistics.median(free):.2f} s, {max(free):.2f} s at most (target <= 1 s)"
    )


def trainer() -> psutil.Process:
    """Return the process of the only trainer that there is."""
    processes = psutil.Process().children(recursive=True)
    [found] = [process for process in processes if "ray::TrainerActor" in " ".join(process.cmdline())]
    return found


def killed(proxy: Any, data: Any) -> None:
    """Print what a trainer's death in the middle of a run changes."""
    wanted = request(max_trials=KILLED_TRIALS, validation={"folds": 3})
    calm, calm_s = asked(proxy, data, wanted)
    began = time.monotonic()
    run_id = ray.get(proxy.do_auto_ml.remote(wanted, data))
    wait_for_trials(proxy, run_id, KILL_AFTER)
    before = {event["data"]["trial"] for event in trials(proxy, run_id)}
    trainer().kill()
    result = answer(proxy, run_id)
    taken_s = time.monotonic() - began
    done = [event["data"]["trial"] for event in trials(proxy, run_id)]
    scores = [{row["trial"]: row["score"] for row in r["leaderboard"]} for r in (calm, result)]
    same = sum(scores[0].get(trial) == score for trial, score in scores[1].items())
    print(
        f"trainer killed with {len(before)} of {KILLED_TRIALS} trials done: {len(done) - len(set(done))} repeated, "
        f"{same} of {len(scores[0])} scores are those of an undisturbed run; {taken_s:.1f} s instead of {calm_s:.1f} s"
    )


def repeated(proxy: Any, data: Any) -> None:
    """Print what a second request of the same question repeats."""
    wanted = request(max_trials=8, reuse=True, seed=99)
    _, first_s = asked(proxy, data, wanted)
    result, second_s = asked(proxy, data, {**wanted, "max_trials": 16})
    again = answer(proxy, ray.get(proxy.do_auto_ml.remote({**wanted, "max_trials": 16}, data)))
    new = [row for row in result["leaderboard"] if not row.get("reused")]
    print(
        f"8 trials {first_s:.1f} s; the same question with 16: {second_s:.1f} s, {len(new)} of 16 were fitted; asked a "
        f"third time: {sum(not row.get('reused') for row in again['leaderboard'])} were"
    )


def predictions(proxy: Any, data: Any, frame: pd.DataFrame) -> None:
    """Print how long the delivered ensemble needs for as many rows as it was trained on."""
    result, _ = asked(proxy, data, request(time_budget_s=20))
    features = frame.drop(columns="bought")
    taken = []
    for _ in range(4):
        began = time.monotonic()
        ray.get(proxy.predict.remote(result["run"]["id"], features))
        taken.append(time.monotonic() - began)
    members = len((result.get("ensemble") or {}).get("weights", {})) or 1
    print(
        f"predict {len(features)} rows, {members} members: first {taken[0]:.2f} s, then "
        f"{statistics.median(taken[1:]):.2f} s (target <= 1 s)"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budgets", default="3,10")
    arguments = parser.parse_args()
    frame = customers()
    with local_ray.cluster() as proxy:
        began = time.monotonic()
        ray.get(proxy.warmed.remote())
        warm_s = time.monotonic() - began
        data = ray.put(frame)
        one = request(max_trials=1, validation={"scheme": "holdout"}, search_space={"linear": {"C": [1.0]}})
        taken = [asked(proxy, data, one)[1] for _ in range(4)]
        print(
            f"one trial, submit to result: the first {taken[0]:.2f} s, later {statistics.median(taken[1:]):.2f} s "
            f"(target: 0.3 s more); the service was warm {warm_s:.1f} s after its start"
        )
        deadlines(proxy, data, [float(part) for part in arguments.budgets.split(",")], arguments.rounds)
        cancelled(proxy, data, arguments.rounds)
        killed(proxy, data)
        repeated(proxy, data)
        predictions(proxy, data, frame)


if __name__ == "__main__":
    main()
