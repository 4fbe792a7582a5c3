"""What carrying a tenant's configuration costs beside bare Ray tasks, in one run on one machine.

    python tests/benchmarks/tenancy.py [--packages six==1.16.0]

Prints: encoding and decoding a configuration of 2 kB; a task that carries one against a bare task (one after the other
and pipelined, in turns so that drift hits both); with ``--packages`` the time to a tenant's first result with a new
environment and with a known one, against Ray's own ``uv`` plugin. It never fails on a time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
os.environ["RAY_num_workers_soft_limit"] = "8"  # noqa: SIM112 (Ray reads it in lower case)

import ray

from rayctl.client import connect
from rayctl.tenancy import codec

ROUNDS = 15
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


def tasks(bare: Any, carrying: Any) -> None:
    """Print what a task costs, one after the other and pipelined."""
    for title, count, run in (
        ("one after the other", IN_TURN, lambda f, n: [ray.get(f.remote()) for _ in range(n)]),
        ("pipelined", PIPELINED, lambda f, n: ray.get([f.remote() for _ in range(n)])),
    ):
        times: dict[str, list[float]] = {"bare": [], "carrying": []}
        for turn in range(ROUNDS):
            pair = (("bare", bare), ("carrying", carrying))
            for name, function in pair if turn % 2 else pair[::-1]:
                began = time.perf_counter()
                run(function, count)
                times[name].append((time.perf_counter() - began) / count * 1e3)
        low, high = statistics.median(times["bare"]), statistics.median(times["carrying"])
        paired = statistics.median(b - a for a, b in zip(times["bare"], times["carrying"], strict=True))
        print(
            f"task, {title:<20} bare {low:6.3f} ms, carrying {high:6.3f} ms: "
            f"{paired:+.3f} ms in pairs, ratio {high / low:.3f}"
        )


class Desk:
    """An actor that does nothing."""

    def ask(self) -> None:
        return None


def actors(connection: Any) -> None:
    """Print what a call of an actor costs: plain, by its own tenant, and by another one, whose calls say who it is."""
    plain = ray.remote(num_cpus=0)(Desk).remote()
    own = connection.actor(Desk, options={"num_cpus": 0})
    handles = {"plain": plain, "own": own, "another's": connection.wrap(own)}
    times: dict[str, list[float]] = {name: [] for name in handles}
    for turn in range(ROUNDS + 1):
        for name in sorted(handles, reverse=bool(turn % 2)):
            began = time.perf_counter()
            for _ in range(IN_TURN):
                ray.get(handles[name].ask.remote())
            times[name].append((time.perf_counter() - began) / IN_TURN * 1e3)
    for name in ("own", "another's"):
        paired = statistics.median(b - a for a, b in zip(times["plain"][1:], times[name][1:], strict=True))
        low, high = statistics.median(times["plain"][1:]), statistics.median(times[name][1:])
        print(f"actor call, {name:<19} bare {low:6.3f} ms, carrying {high:6.3f} ms: {paired:+.3f} ms in pairs")


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
            bare = ray.remote(noop)
            carrying = connect("auto", tenant=config).remote(noop)
            ray.get([bare.remote() for _ in range(50)] + [carrying.remote() for _ in range(50)])
            tasks(bare, carrying)
            actors(connect("auto", tenant=config))
            if found.packages:
                environments(found.packages)
        finally:
            ray.shutdown()


if __name__ == "__main__":
    main()
