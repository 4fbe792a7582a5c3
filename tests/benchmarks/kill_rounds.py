"""kill -9 during writes, a thousand times: nothing acknowledged is lost, watches go on without gap or repetition.

``python tests/benchmarks/kill_rounds.py --rounds 1000 --durability normal``. Servers are forked from this process,
which has everything imported, so that a round takes a fraction of a second; apart from that they are `rayctl kube
serve`. Ends with code 1 at the first thing that is wrong, and leaves the folder for looking into it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import ssl
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import aiohttp

from rayctl.embedded.apiserver.database import Durability
from rayctl.embedded.apiserver.serve import ServeOptions, serve

MAPS = "/api/v1/namespaces/default/configmaps"
WRITERS, KEYS = 4, 8
"""So many writers, each with so many names of its own."""
LIFE_S = (0.0, 0.12)
"""How long a server lives after the first write was acknowledged."""


@dataclass
class Ledger:
    """What clients know.

    ``acknowledged``: name → (value, revision), None if it is gone. ``open``: name → the value that may be there.
    """

    acknowledged: dict[str, tuple[str, int] | None] = field(default_factory=dict)
    open: dict[str, str | None] = field(default_factory=dict)
    writes: int = 0
    newest: int = 0
    replayed: dict[str, tuple[str, int]] = field(default_factory=dict)
    """What the events of the one watch that goes on through all deaths add up to."""
    watched: int = 0
    events: int = 0


def start(folder: Path, durability: Durability, port: int) -> tuple[int, int]:
    """Fork a server; returns its pid and port."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            options = ServeOptions(folder / "data", port=port, durability=durability)
            serve(options, lambda url: os.write(writing, url.encode() + b"\n") and None)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as file:
        line = file.readline().strip()
    assert line.startswith("https://"), "the server did not start again"
    return pid, int(line.rpartition(":")[2])


class Round:
    """One life of a server."""

    def __init__(self, folder: Path, port: int, ledger: Ledger, rng: random.Random) -> None:
        self._ledger = ledger
        self._rng = rng
        token = (folder / "data" / "admin.token").read_text().strip()
        self._url = f"https://127.0.0.1:{port}"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._tls = ssl.create_default_context(cafile=str(folder / "data" / "ca.crt"))

    def session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        return aiohttp.ClientSession(self._url, headers=self._headers, connector=connector)

    async def live(self, pid: int) -> None:
        """Check what is there, let everybody work, kill the server."""
        async with self.session() as http:
            await self._check(http)
            under_way = asyncio.Event()
            tasks = [asyncio.create_task(self._write(http, writer, under_way)) for writer in range(WRITERS)]
            tasks.append(asyncio.create_task(self._watch(http, None)))
            await asyncio.wait_for(under_way.wait(), 30)
            await asyncio.sleep(self._rng.uniform(*LIFE_S))
            os.kill(pid, signal.SIGKILL)
            await asyncio.wait_for(asyncio.gather(*tasks), 30)

    async def _check(self, http: aiohttp.ClientSession) -> None:
        ledger = self._ledger
        async with http.get(MAPS) as answer:
            found = await answer.json()
        revision = int(found["metadata"]["resourceVersion"])
        assert revision >= ledger.newest, f"the revision went back from {ledger.newest} to {revision}"
        there = {item["metadata"]["name"]: _state(item) for item in found["items"]}
        for name in {*ledger.acknowledged, *there}:
            now, known = there.get(name), ledger.acknowledged.get(name)
            if name in ledger.open and now != known:
                value = None if now is None else now[0]
                assert value == ledger.open[name], f"{name} is {now}, was {known} or {ledger.open[name]!r}"
                continue
            assert now == known, f"{name} is {now}, acknowledged was {known}"
        ledger.acknowledged = {name: there.get(name) for name in {*ledger.acknowledged, *there}}
        ledger.open = {}
        ledger.newest = revision
        await self._watch(http, revision)
        assert ledger.replayed == there, "the watch's events do not add up to what is there"

    async def _write(self, http: aiohttp.ClientSession, writer: int, under_way: asyncio.Event) -> None:
        ledger, rng = self._ledger, self._rng
        names = [f"w{writer}-{number}" for number in range(KEYS)]
        while True:
            name = rng.choice(names)
            there = ledger.acknowledged.get(name) is not None
            value = None if there and rng.random() < 0.3 else f"{rng.random()}"
            ledger.open[name] = value
            body: Any = {"metadata": {"name": name}, "data": {"value": value}}
            try:
                if value is None:
                    request = http.delete(f"{MAPS}/{name}")
                elif there:
                    patch = {"Content-Type": "application/merge-patch+json"}
                    request = http.patch(f"{MAPS}/{name}", data=json.dumps(body), headers=patch)
                else:
                    request = http.post(MAPS, json=body)
                async with request as answer:
                    document = await answer.json()
                    assert answer.status in (200, 201), document
            except (aiohttp.ClientError, ConnectionError, asyncio.TimeoutError, ValueError):
                return  # killed: whether it happened is not known
            del ledger.open[name]
            ledger.acknowledged[name] = None if value is None else _state(document)
            if value is not None:
                ledger.newest = max(ledger.newest, int(document["metadata"]["resourceVersion"]))
            ledger.writes += 1
            under_way.set()

    async def _watch(self, http: aiohttp.ClientSession, until: int | None) -> None:
        """Go on with the watch: up to a revision, or as long as the server lives."""
        ledger = self._ledger
        if until is not None and ledger.watched >= until:
            return
        params = {"watch": "1", "resourceVersion": str(ledger.watched or 1), "allowWatchBookmarks": "true"}
        if not ledger.watched:
            async with http.get(MAPS) as answer:
                params["resourceVersion"] = (await answer.json())["metadata"]["resourceVersion"]
        if until is not None:
            params["timeoutSeconds"] = "1"  # a bookmark comes before the end, if no event does
        try:
            async with http.get(MAPS, params=params) as answer:
                async for line in answer.content:
                    if self._take(json.loads(line)) and until is not None and ledger.watched >= until:
                        return
        except (aiohttp.ClientError, ConnectionError, ValueError):
            assert until is None, "the watch broke"

    def _take(self, event: dict[str, Any]) -> bool:
        ledger = self._ledger
        assert event["type"] != "ERROR", event
        metadata = event["object"]["metadata"]
        revision = int(metadata["resourceVersion"])
        if event["type"] == "BOOKMARK":
            assert revision >= ledger.watched, "a bookmark went back"
            ledger.watched = revision
            return True
        name = metadata["name"]
        assert revision > ledger.watched, f"{name}: event {revision} after {ledger.watched}"
        assert (event["type"] == "ADDED") == (name not in ledger.replayed), f"{name}: {event['type']} at {revision}"
        if event["type"] == "DELETED":
            del ledger.replayed[name]
        else:
            ledger.replayed[name] = _state(event["object"])
        ledger.watched = revision
        ledger.newest = max(ledger.newest, revision)
        ledger.events += 1
        return True


def _state(document: dict[str, Any]) -> tuple[str, int]:
    return str(document["data"]["value"]), int(document["metadata"]["resourceVersion"])


def run(folder: Path, rounds: int, durability: Durability, seed: int) -> Ledger:
    """Do the rounds.

    Raises:
        AssertionError: with what is wrong.
    """
    ledger, rng, port = Ledger(), random.Random(seed), 0
    for number in range(rounds):
        pid, port = start(folder, durability, port)
        try:
            asyncio.run(Round(folder, port, ledger, rng).live(pid))
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            os.waitpid(pid, 0)
        if (number + 1) % 100 == 0:
            print(f"{number + 1} rounds, {ledger.writes:,} writes acknowledged, {ledger.events:,} events", flush=True)
    return ledger


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--durability", choices=["normal", "full"], default="normal")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kill-rounds-"))
    began = time.monotonic()
    try:
        ledger = run(folder, options.rounds, options.durability, options.seed)
    except AssertionError as error:
        print(f"seed {options.seed}, {folder}: {error}")
        return 1
    taken = time.monotonic() - began
    print(
        f"{options.rounds} kills ({options.durability}) in {taken:.0f} s: {ledger.writes:,} writes acknowledged, none "
        f"lost; {ledger.events:,} events in one resumed watch, no gap, no repetition; revision {ledger.newest:,}"
    )
    import shutil

    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
