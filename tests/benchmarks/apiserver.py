"""How fast the embedded API server and the HTTP client are, beside a bare aiohttp server in the same run.

``python tests/benchmarks/apiserver.py``: prints figures and goals, never fails. The server runs in a process of its own
(one core); this one is its client. ``--kubeconfig FILE`` measures another server with the same load.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[2]))

import psutil
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from rayctl.kube.calls import OPENED, Call, Resource
from rayctl.kube.http import HttpTransport, load_configuration
from tests.contract.servers import serving

MAPS = Resource("", "v1", "configmaps", "ConfigMap")
ALL = MAPS.path("default")
CALLERS = 16
WATCHERS = 100
OBJECTS = 10_000


def document(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": "x" * 200}}


async def rate(work: Callable[[int], Awaitable[Any]], count: int) -> tuple[float, float]:
    """Return operations per second with `CALLERS` at once, and this process's CPU microseconds per operation."""
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await work(number)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return count / (time.perf_counter() - began), (time.process_time() - cpu) / count * 1e6


async def watch_delays(transport: HttpTransport, writes: int) -> list[float]:
    """Milliseconds from a write's answer's being asked for to each of `WATCHERS` seeing it."""
    sent: dict[str, float] = {}
    delays: list[float] = []
    opened = asyncio.Semaphore(0)
    revision = (await transport.request(Call.get(ALL).asking(limit=1)))["metadata"]["resourceVersion"]

    async def watcher() -> None:
        call = Call.get(ALL).asking(watch=True, resourceVersion=revision, labelSelector="timed=yes")
        seen = 0
        async for event in transport.watch(call, 60.0):
            if event["type"] == OPENED:
                opened.release()
                continue
            delays.append((time.perf_counter() - sent[event["object"]["metadata"]["name"]]) * 1e3)
            seen += 1
            if seen == writes:
                return

    tasks = [asyncio.ensure_future(watcher()) for _ in range(WATCHERS)]
    for _ in tasks:
        await opened.acquire()
    for number in range(writes):
        name = f"timed-{number}"
        body = document(name)
        body["metadata"]["labels"] = {"timed": "yes"}
        sent[name] = time.perf_counter()
        await transport.request(Call("POST", ALL, body=body))
        await asyncio.sleep(0.05)  # one write at a time: the delay is measured, not the queue
    await asyncio.wait_for(asyncio.gather(*tasks), 60)
    return sorted(delays)


class RawWatch(asyncio.Protocol):
    """A watch that notes when each of its events is complete and does nothing else.

    Of all that happens between a write and a hundred watchers seeing it, most is done by the watchers; where all of
    them share one process, the last one waits for the decoding of the others. This one costs as little as can be.
    """

    def __init__(self, request: bytes, opened: asyncio.Semaphore, seen: Callable[[], None]) -> None:
        self._request, self._opened, self._seen = request, opened, seen
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._connection = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._is_open:
            assert data.startswith(b"HTTP/1.1 200"), data[:200]
            self._is_open = True
            self._opened.release()
        for _ in range(data.count(b'{"type":"ADDED"')):
            self._seen()

    def close(self) -> None:
        self._connection.close()


async def raw_watch_delays(transport: HttpTransport, configuration: Configuration, writes: int) -> list[float]:
    """Return the same as `watch_delays`, seen by `WATCHERS` of the cheapest kind."""
    where = urlsplit(configuration.host)
    tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert) if where.scheme == "https" else None
    opened, began, delays = asyncio.Semaphore(0), 0.0, list[float]()
    arrived = asyncio.Event()

    def seen() -> None:
        delays.append((time.perf_counter() - began) * 1e3)
        if len(delays) % WATCHERS == 0:
            arrived.set()

    revision = (await transport.request(Call.get(ALL).asking(limit=1)))["metadata"]["resourceVersion"]
    target = Call.get(ALL).asking(watch=True, resourceVersion=revision, labelSelector="timed=raw").target
    token = dict(await configuration.auth_settings())["BearerToken"]["value"]
    request = f"GET {target} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: {token}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    watches = [
        (await loop.create_connection(lambda: RawWatch(request, opened, seen), where.hostname, where.port, ssl=tls))[1]
        for _ in range(WATCHERS)
    ]
    for _ in watches:
        await opened.acquire()
    for number in range(writes):
        body = document(f"raw-{number}")
        body["metadata"]["labels"] = {"timed": "raw"}
        arrived.clear()
        began = time.perf_counter()
        await transport.request(Call("POST", ALL, body=body))
        await asyncio.wait_for(arrived.wait(), 30)
        await asyncio.sleep(0.05)  # one write at a time: the delay is measured, not the queue
    for watch in watches:
        watch.close()
    return sorted(delays)


async def longest_block_ms(transport: HttpTransport) -> tuple[float, float]:
    """List everything in one answer while small reads go on; return (the slowest read, the list), in milliseconds."""
    slowest = 0.0
    done = False

    async def reader() -> None:
        nonlocal slowest
        while not done:
            began = time.perf_counter()
            await transport.request(Call.get(MAPS.path("default", "m0")))
            slowest = max(slowest, (time.perf_counter() - began) * 1e3)

    # Read and thrown away by a process of its own: this one's decoding would be measured otherwise.
    task = asyncio.ensure_future(reader())
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--only-list", os.environ["BENCH_KUBECONFIG"], stdout=asyncio.subprocess.DEVNULL
    )
    await process.wait()
    taken = (time.perf_counter() - began) * 1e3
    done = True
    await task
    return slowest, taken


async def only_list(kubeconfig: str) -> None:
    transport = HttpTransport(await load_configuration(kubeconfig))
    await transport.request(Call.get(ALL, timeout_s=60))
    await transport.close()


def bare(port: Any) -> None:
    """The peer: an aiohttp server that answers every request with the same few bytes and does nothing else."""
    body = json.dumps(document("peer")).encode()

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body, content_type="application/json")

    async def main() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(main())


async def measure(kubeconfig: str, label: str, scale: float, pid: int | None = None) -> None:
    """Measure a server. ``pid``: its process, if that is on this machine: what it costs is told as well."""
    configuration = await load_configuration(kubeconfig)
    transport = HttpTransport(configuration, connections=256)
    process = None if pid is None else psutil.Process(pid)

    def server_cpu() -> float:
        return 0.0 if process is None else sum(process.cpu_times()[:2])

    count = int(OBJECTS * scale)
    began = server_cpu()
    writes, _ = await rate(lambda n: transport.request(Call("POST", ALL, body=document(f"m{n}"))), count)
    between = server_cpu()
    gets, cpu = await rate(lambda n: transport.request(Call.get(MAPS.path("default", f"m{n % count}"))), count)
    ended = server_cpu()
    print(f"{label}: creates {writes:,.0f}/s (goal 2,000), gets {gets:,.0f}/s (goal 8,000)")
    print(f"{label}: client's CPU per get {cpu:.0f} us (goal 150)")
    if process is not None:
        create_us, get_us = (between - began) / count * 1e6, (ended - between) / count * 1e6
        rates = f"a core of its own: {1e6 / create_us:,.0f} creates/s, {1e6 / get_us:,.0f} gets/s"
        print(f"{label}: server's CPU per create {create_us:.0f} us, per get {get_us:.0f} us ({rates})")
    delays = await watch_delays(transport, 40)
    p99 = delays[int(len(delays) * 0.99)]
    print(
        f"{label}: write to {WATCHERS} watchers: median {statistics.median(delays):.1f} ms, p99 {p99:.1f} ms (goal 10)"
    )
    delays = await raw_watch_delays(transport, configuration, 100)
    print(
        f"{label}: the same, watchers that only note the time: median {statistics.median(delays):.1f} ms, "
        f"p99 {delays[int(len(delays) * 0.99)]:.1f} ms (goal 10)"
    )
    os.environ["BENCH_KUBECONFIG"] = kubeconfig
    block, taken = await longest_block_ms(transport)
    print(f"{label}: slowest small read beside a list of {count:,}: {block:.0f} ms (goal 20); the list {taken:.0f} ms")
    await transport.close()


async def measure_peer(scale: float) -> None:
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=bare, args=(theirs,), daemon=True)
    process.start()
    try:
        configuration = Configuration(host=f"http://127.0.0.1:{mine.recv()}")
        transport = HttpTransport(configuration, connections=256)
        began = sum(psutil.Process(process.pid).cpu_times()[:2])
        gets, cpu = await rate(lambda n: transport.request(Call.get(ALL)), int(OBJECTS * scale))
        served = (sum(psutil.Process(process.pid).cpu_times()[:2]) - began) / int(OBJECTS * scale) * 1e6
        costs = f"CPU: client {cpu:.0f} us, server {served:.0f} us"
        print(f"bare aiohttp server without TLS, same client: {gets:,.0f}/s, {costs}")
        await transport.close()
    finally:
        process.terminate()
        process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kubeconfig", help="measure this server as well")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the 10,000 objects")
    parser.add_argument("--only-list", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_list:
        asyncio.run(only_list(options.only_list))
        return
    for durability in ("normal", "full"):
        with tempfile.TemporaryDirectory() as folder, serving(Path(folder), durability=durability) as server:
            asyncio.run(measure(str(server.kubeconfig), f"durability {durability}", options.scale, server.process.pid))
    asyncio.run(measure_peer(options.scale))
    if options.kubeconfig:
        asyncio.run(measure(options.kubeconfig, "the other server", options.scale))


if __name__ == "__main__":
    main()
