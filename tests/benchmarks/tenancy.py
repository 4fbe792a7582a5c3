"""What carrying a tenant's configuration costs beside bare Ray tasks, in one run on one machine.

    python tests/benchmarks/tenancy.py [--packages six==1.16.0]

Prints: encoding and decoding a configuration of 2 kB; a task that carries one against a bare task (one after the other
and pipelined) and a call of an actor, in turns so that drift hits all; with ``--packages`` the time to a tenant's first
result with a new environment and with a known one, against Ray's own ``uv`` plugin. It never fails on a time.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
os.environ["RAY_num_workers_soft_limit"] = "8"  # noqa: SIM112 (Ray reads it in lower case)

import ray

from rayctl.client import connect
from rayctl.tenancy import codec

ROUNDS = 30
IN_TURN = 60
PIPELINED = 400


def settings() -> dict[str, Any]:
    """About 2 kB of settings as an application has them."""
    part = {"name": "a name of some length", "enabled": True, "rate": 0.05, "limit": 1000, "tags": ["x", "y", "z"]}
    return {f"component-{number}": {**part, "number": number} for number in range(22)}


def noop() -> None:
    return None


def per_call(call: Callable[[], Any], count: int = 2000) -> float:
    """Return microseconds: the median of 20 batches."""
    found = []
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(count // 20):
            call()
        found.append((time.perf_counter() - began) / (count // 20) * 1e6)
    return statistics.median(found)


def in_turns(runs: dict[str, Callable[[], Any]], per: int) -> dict[str, list[float]]:
    """Return milliseconds per call of each, measured in turns, in another order each time: drift hits all."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = random.Random(1)
    for _ in range(ROUNDS):
        for name in order.sample(list(runs), len(runs)):
            began = time.perf_counter()
            runs[name]()
            times[name].append((time.perf_counter() - began) / per * 1e3)
    return times


def show(title: str, times: dict[str, list[float]]) -> None:
    """Print what each costs more than the first: the median of pairs."""
    base, *others = times
    low = statistics.median(times[base])
    for name in others:
        more = statistics.median(b - a for a, b in zip(times[base], times[name], strict=True))
        print(f"{title}: {base} {low:.3f} ms; {name}: {more:+.3f} ms ({more / low:+.1%})")


def tasks(carrying: Any) -> None:
    """Print what a task costs, one after the other and pipelined; how much two equal ones differ shows the noise."""
    functions = {"bare": ray.remote(noop), "bare again": ray.remote(noop), "carrying": carrying}
    ray.get([function.remote() for function in functions.values() for _ in range(50)])

    def one_by_one(function: Any) -> None:
        for _ in range(IN_TURN):
            ray.get(function.remote())

    def all_at_once(function: Any) -> None:
        ray.get([function.remote() for _ in range(PIPELINED)])

    show("task, one after the other", in_turns({n: partial(one_by_one, f) for n, f in functions.items()}, IN_TURN))
    show("task, pipelined", in_turns({n: partial(all_at_once, f) for n, f in functions.items()}, PIPELINED))


class Desk:
    """An actor that does nothing."""

    def ask(self) -> None:
        return None


def actors(connection: Any) -> None:
    """Print what a call of an actor costs: plain, by its own tenant, and by another one, whose calls say who it is."""
    own = connection.actor(Desk, options={"num_cpus": 0})
    handles = {"bare": ray.remote(num_cpus=0)(Desk).remote(), "by its tenant": own, "by others": connection.wrap(own)}
    ray.get([handle.ask.remote() for handle in handles.values()])

    def calls(handle: Any) -> None:
        for _ in range(IN_TURN):
            ray.get(handle.ask.remote())

    show("actor call", in_turns({name: partial(calls, handle) for name, handle in handles.items()}, IN_TURN))


def environments(line: str) -> None:
    """Print the time to the first result, new and known, beside Ray's own plugin."""

    def first(open_: Callable[[], Any]) -> float:
        began = time.perf_counter()
        ray.get(open_())
        return time.perf_counter() - began

    def ours() -> Any:
        tenant = {"tenant": "bench", "environment": {"packages": [line]}}
        return connect("auto", tenant=tenant).submit(noop)

    def plugin() -> Any:
        return ray.remote(noop).options(runtime_env={"uv": [line]}).remote()

    for title, call in (("rayctl", ours), ("Ray's uv plugin", plugin)):
        new, known = first(call), first(call)
        print(f"environment with {line}: {title:<16} first result new {new:6.2f} s, known {known:6.3f} s")


def main() -> None:
    """Run all."""
    arguments = argparse.ArgumentParser(description="Cost of carrying a tenant's configuration.")
    arguments.add_argument("--packages", help="a requirement, to measure environments as well")
    found = arguments.parse_args()
    config = codec.parse({"tenant": "bench", "settings": settings()})
    data = codec.encode(config)
    print(f"configuration: {len(data)} bytes")
    envelope = codec.to_envelope(config, 0.0)
    key = b"k" * 32
    signed = codec.encode(config, key)
    for title, call in (
        ("encode: a new configuration", lambda: codec.packed_body(config) and codec.encode(config)),
        ("encode: one that was packed before", lambda: codec.encode(config)),
        ("encode: the same, signed", lambda: codec.encode(config, key)),
        ("encode: an envelope that is there", envelope.encode),
        ("decode: new bytes, checked (what a call waits for)", lambda: codec.Received.of(data, None)),
        ("decode: the same, signed", lambda: codec.Received.of(signed, key)),
        ("decode: new bytes, checked and read into a configuration", lambda: codec.read(data)),
        ("decode: known bytes", lambda: codec.decode(data)),
    ):
        print(f"{title:<58} {per_call(call):8.1f} us")
    with tempfile.TemporaryDirectory(prefix="rcb-", dir="/tmp") as folder:
        temp = str(Path(folder) / "r")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=temp,
                 object_store_memory=200_000_000)  # fmt: skip
        try:
            connection = connect("auto", tenant=config)
            tasks(connection.remote(noop))
            actors(connection)
            if found.packages:
                environments(found.packages)
        finally:
            ray.shutdown()


if __name__ == "__main__":
    main()
