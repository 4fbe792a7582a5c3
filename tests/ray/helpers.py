"""What the tests on a real cluster share: requests, bad models, a look at processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import ray

QUICK_SPACE = {"linear": {"C": [0.1, 1.0, 10.0]}, "knn": {"n_neighbors": [5, 15, 25]}}


def quick_request(**changes: Any) -> dict[str, Any]:
    """A request whose trials take milliseconds; every test computes its own, whatever ran before."""
    base = {"task": "classification", "target": "target", "search_space": QUICK_SPACE, "max_trials": 4, "seed": 0}
    return base | {"validation": {"folds": 3}, "reuse": False} | changes


def workers() -> list[psutil.Process]:
    """The worker processes of the test's cluster: children of its raylet."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "ray::" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def processes_of(what: str) -> list[psutil.Process]:
    """Worker processes whose title names ``what`` (an actor class or a task)."""
    found = []
    for process in workers():
        try:
            if what in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_until(condition: Callable[[], Any], seconds: float = 90.0) -> Any:
    """Poll a condition of the outside world until it is true; fails the test after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "the awaited condition did not come true"
        time.sleep(0.05)  # between two looks at another process; the condition decides, not the time


def result_of(proxy: Any, run_id: str, seconds: float = 240.0) -> dict[str, Any]:
    """The result of a run, however long a slow machine takes to start the processes that it needs."""
    wait_until(lambda: ray.get(proxy.get_run.remote(run_id))["state"] not in ("queued", "running"), seconds)
    found: dict[str, Any] = ray.get(proxy.get_result.remote(run_id))
    return found


def facts(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What of a leaderboard is data (times are not)."""
    return [
        (r["rank"], r["trial"], r["model"], str(r["params"]), r["state"], r["score"], tuple(r["fold_scores"]))
        for r in rows
    ]


class Sleeper:
    """A model that does not end."""

    def fit(self, features: Any, target: Any) -> Sleeper:
        time.sleep(600)  # the hanging itself: the service has to end it
        return self

    def predict(self, features: Any) -> Any:
        return [0] * len(features)


class Raiser(Sleeper):
    """A model that raises."""

    def fit(self, features: Any, target: Any) -> Raiser:
        raise RuntimeError("no solution for these rows")


class NanPredictor(Sleeper):
    """A model whose predictions are not numbers."""

    def fit(self, features: Any, target: Any) -> NanPredictor:
        return self

    def predict(self, features: Any) -> Any:
        return [float("nan")] * len(features)


class Glutton(Sleeper):
    """A model that eats memory."""

    def fit(self, features: Any, target: Any) -> Glutton:
        self.hoard = [bytearray(64 * 2**20) for _ in range(1000)]
        return self


class Leaver(Sleeper):
    """A model that ends its process."""

    def fit(self, features: Any, target: Any) -> Leaver:
        import os

        os._exit(3)


class Moody(Sleeper):
    """A model of no work that raises, hangs or ends its process for one value of its parameter each."""

    def __init__(self, x: int = 0, raises: int = -1, hangs: int = -1, leaves: int = -1) -> None:
        self.x, self.raises, self.hangs, self.leaves = x, raises, hangs, leaves

    def fit(self, features: Any, target: Any) -> Moody:
        if self.x == self.raises:
            raise RuntimeError("no solution for these rows")
        if self.x == self.hangs:
            Sleeper.fit(self, features, target)
        if self.x == self.leaves:
            Leaver.fit(self, features, target)
        return self

    def predict(self, features: Any) -> Any:
        return [self.x % 2] * len(features)


def submit(proxy: Any, data: Any = None, /, key: str | None = None, via: str = "ray", **request: Any) -> str:
    try:
        return str(ray.get(proxy.do_auto_ml.remote(request or quick_request(), data, key, via), timeout=90))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


def call(method: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return ray.get(method.remote(*args, **kwargs), timeout=90)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


def result(proxy: Any, run_id: str, wait_s: float = 60.0) -> dict[str, Any]:
    return call(proxy.get_result, run_id, wait_s=wait_s)  # type: ignore[no-any-return]


def no_trainer_is_left() -> bool:
    names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
    return not any(name.startswith("trainer-") for name in names) and not processes_of("TrainerActor")


def head_of(home: Path) -> int:
    """Return the process id of the head's GCS server."""
    wanted = f"RAYCTL_HOME={home}".encode()
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                program = (place / "cmdline").read_bytes().split(b"\0")[0]
                if program.endswith(b"gcs_server") and wanted in (place / "environ").read_bytes().split(b"\0"):
                    return int(place.name)
            except OSError:
                continue
    raise AssertionError("there is no gcs_server")
