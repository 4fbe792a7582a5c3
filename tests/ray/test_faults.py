"""Workers, trainers and the proxy are killed at random points of many runs; every run ends with the right result.

``RAYCTL_TEST_FAULT_RUNS``: how many at once (default 4); as many more follow until every kind of process was hit.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import ray

import rayctl
from rayctl.automl.port import PROXY_NAME, RAY_NAMESPACE
from rayctl.errors import Unavailable
from tests.ray.helpers import facts, no_trainer_is_left, processes_of, quick_request, result_of, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(600)]

RUNS = int(os.environ.get("RAYCTL_TEST_FAULT_RUNS", "4"))
SEEDS = 4
KILL_S = 8.0 * RUNS
"""How long the killer is about: on a slow machine nothing would ever end in the face of one that goes on."""


WORKERS = 3
"""Workers that are killed between two deaths of the proxy: a trial that takes four along is at fault itself."""


class Killer(threading.Thread):
    """Kills a worker, a trainer or the proxy every few seconds for `KILL_S`, and until each was hit."""

    def __init__(self, seed: int) -> None:
        super().__init__(daemon=True)
        self._random = random.Random(seed)
        self._stop_asked = threading.Event()
        self._proxy_next = time.monotonic() + 5.0
        self._workers_left = WORKERS
        self.killed = {"train_and_evaluate": 0, "TrainerActor": 0, "ProxyActor": 0}

    def run(self) -> None:
        began = time.monotonic()
        while not self._stop_asked.wait(self._random.uniform(2.5, 6.0)):
            if time.monotonic() > began + KILL_S and all(self.killed.values()):
                return
            choices = ["train_and_evaluate", "TrainerActor"] if self._workers_left else ["TrainerActor"]
            what = self._random.choice(choices)
            if time.monotonic() >= self._proxy_next:
                # The proxy takes everything down with it: seldom enough for work to be done in between.
                what, self._proxy_next = "ProxyActor", time.monotonic() + self._random.uniform(20, 30)
            victims = processes_of(what)
            if victims:
                try:
                    self._random.choice(victims).kill()
                    self.killed[what] += 1
                    self._workers_left = WORKERS if what == "ProxyActor" else self._workers_left
                    self._workers_left -= what == "train_and_evaluate"
                except psutil.NoSuchProcess:
                    continue

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()


def slow_space() -> dict[str, Any]:
    """Trials of a few tenths of a second, so that a kill hits them."""
    return {
        "extra_trees": {"n_estimators": [200, 350], "min_samples_leaf": [1, 3]},
        "linear": {"C": [0.1, 1.0]},
    }


def request_of(seed: int) -> dict[str, Any]:
    return quick_request(search_space=slow_space(), max_trials=4, seed=seed)


def test_runs_survive_the_killing(start_proxy: Callable[..., Any], table: pd.DataFrame) -> None:
    start_proxy(max_running=3)
    with rayctl.connect("auto") as connection:
        calm = {}
        for seed in range(SEEDS):
            run = connection.automl.submit(table, **request_of(seed))
            run.wait(timeout=120)
            calm[seed] = run.result()

        killer = Killer(seed=7)
        killer.start()
        end = time.monotonic() + 540
        try:
            runs: list[Any] = []
            # Fast machines end these runs before every kind of process was hit: they get more.
            while not runs or (not all(killer.killed.values()) and len(runs) < 10 * RUNS):
                runs += [
                    connection.automl.submit(table, idempotency_key=f"run-{n}", **request_of(n % SEEDS))
                    for n in range(len(runs), len(runs) + RUNS)
                ]
                for run in runs:
                    run.wait(timeout=max(1.0, end - time.monotonic()))
        finally:
            killer.stop()
        print(f"killed {killer.killed}")

        assert len({run.id for run in runs}) == len(runs)
        for number, run in enumerate(runs):
            assert run.refresh().state.value == "succeeded", run.view.error
            result = run.result()
            expected = calm[number % SEEDS]
            assert facts(result["leaderboard"]) == facts(expected["leaderboard"])
            assert result["best"]["trial"] == expected["best"]["trial"]
        assert all(killer.killed.values()), killer.killed
    wait_until(no_trainer_is_left)


def test_a_restart_of_everything_loses_no_accepted_run(
    start_proxy: Callable[..., Any], table: pd.DataFrame, tmp_path: Path
) -> None:
    """What the proxy had accepted is continued by another proxy that has nothing but the same home."""
    proxy = start_proxy(home=tmp_path, max_running=1, warm_workers=True)
    wanted = request_of(0) | {"max_trials": 6}
    ids = [ray.get(proxy.do_auto_ml.remote(wanted, table), timeout=90) for _ in range(2)]
    wait_until(lambda: ray.get(proxy.get_run.remote(ids[0]))["trials"]["done"] >= 1)
    before = {row["trial"] for row in ray.get(proxy.leaderboard.remote(ids[0]))}
    ray.kill(proxy)
    wait_until(lambda: not processes_of("ProxyActor") and not processes_of("TrainerActor"))

    again = start_proxy(home=tmp_path, max_running=1, warm_workers=True)
    results = [result_of(again, run_id) for run_id in ids]
    assert facts(results[0]["leaderboard"]) == facts(results[1]["leaderboard"])
    events = ray.get(again.events.remote(ids[0], limit=1000))
    trials = [event["data"]["trial"] for event in events if event["kind"] == "trial"]
    assert sorted(trials) == list(range(6)), "a finished trial was repeated or lost"
    assert before <= set(trials)
    assert events[-1]["kind"] == "done"


def test_a_full_disk_refuses_new_runs_and_loses_no_old_one(
    start_proxy: Callable[..., Any], table: pd.DataFrame, tmp_path: Path
) -> None:
    """The proxy's files may not grow any more (the kernel's file size limit), then they may again."""
    proxy = start_proxy(home=tmp_path)
    run_id = ray.get(proxy.do_auto_ml.remote(request_of(0), table), timeout=90)
    wait_until(lambda: ray.get(proxy.get_run.remote(run_id))["state"] == "running")
    process = psutil.Process(ray.get(proxy.info.remote())["pid"])
    unlimited = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (4096, unlimited[1]))
    try:
        with pytest.raises(ray.exceptions.RayTaskError) as caught:
            ray.get(proxy.do_auto_ml.remote(request_of(1), table), timeout=90)
        assert isinstance(caught.value.cause, Unavailable)
        assert caught.value.cause.code == "state-disk-full"
        assert ray.get(proxy.get_run.remote(run_id), timeout=30)["state"] == "running"
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, unlimited)
    result = result_of(proxy, run_id)
    assert len(result["leaderboard"]) == 4
    assert ray.get(proxy.get_run.remote(ray.get(proxy.do_auto_ml.remote(request_of(1), table))))
    assert ray.get_actor(PROXY_NAME, namespace=RAY_NAMESPACE) is not None
