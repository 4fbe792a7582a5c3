"""A headless Chromium, driven over its own debugging protocol: what a test of pages needs, and no package for it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

__all__ = ["Tab", "chromium"]

PROGRAM = shutil.which("chromium")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)


class Tab:
    """One page. ``requests``: all addresses that it asked for; ``complaints``: what the browser logged as errors."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session: str) -> None:
        self._socket, self._session = socket, session
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self.requests: list[str] = []
        self.complaints: list[str] = []

    async def pump(self) -> None:
        """Read what the browser says."""
        async for message in self._socket:
            document = message.json()
            if "id" in document:
                self._answers.pop(document["id"]).set_result(document)
                continue
            method, params = document.get("method"), document.get("params") or {}
            if method == "Page.loadEventFired":
                self._loaded.set()
            elif method == "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
                self.complaints.append(params["entry"]["text"])
            elif method == "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command, return its result."""
        number = next(self._numbers)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params, "sessionId": self._session})
        document = await asyncio.wait_for(answer, 30)
        assert "error" not in document, document
        found: dict[str, Any] = document["result"]
        return found

    async def look_like(self, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Set the size of the window, and the colours that the user prefers."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])

    async def go(self, url: str) -> None:
        """Go to an address, wait until it is loaded."""
        self._loaded.clear()
        found = await self.send("Page.navigate", url=url)
        assert not found.get("errorText"), found
        await asyncio.wait_for(self._loaded.wait(), 30)

    async def submit(self, script: str) -> None:
        """Run a script that leads to another page; wait until that is loaded."""
        self._loaded.clear()
        await self.run(script)
        await asyncio.wait_for(self._loaded.wait(), 30)

    async def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        found = await self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, script: str, within_s: float = 15.0) -> None:
        """Wait until an expression is true; asked again at each change of the page."""
        wait = (
            f"new Promise((yes, no) => {{ const look = () => {{ if ({script}) {{ watch.disconnect(); yes(true); }} }};"
            " const watch = new MutationObserver(look);"
            " watch.observe(document, {subtree: true, childList: true, characterData: true, attributes: true});"
            f" setTimeout(() => no(new Error(document.body.innerText)), {within_s * 1000}); look(); }})"
        )
        assert await self.run(wait)

    async def picture(self) -> bytes:
        """Return a picture of the whole page, as PNG."""
        found = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(found["data"])


@contextlib.asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Tab]:
    """Start a browser with an empty profile in a folder; yield its tab; end it with all its processes."""
    assert PROGRAM is not None
    command = [PROGRAM, *_FLAGS, f"--user-data-dir={folder}", "about:blank"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stderr is not None
        address = ""
        while not address:
            line = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
            assert line, "the browser has ended"
            address = line.partition("DevTools listening on ")[2].strip()
        async with aiohttp.ClientSession() as client, client.ws_connect(address, max_msg_size=0) as socket:
            await socket.send_json({"id": 1, "method": "Target.createTarget", "params": {"url": "about:blank"}})
            target = await _answer(socket, 1)
            params = {"targetId": target["targetId"], "flatten": True}
            await socket.send_json({"id": 2, "method": "Target.attachToTarget", "params": params})
            tab = Tab(socket, (await _answer(socket, 2))["sessionId"])
            tab._numbers = itertools.count(10)
            pump = asyncio.ensure_future(tab.pump())
            for domain in ("Page", "Runtime", "Network", "Log"):
                await tab.send(f"{domain}.enable")
            yield tab
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def _answer(socket: aiohttp.ClientWebSocketResponse, number: int) -> dict[str, Any]:
    while True:
        document = (await asyncio.wait_for(socket.receive(), 30)).json()
        if document.get("id") == number:
            found: dict[str, Any] = document["result"]
            return found
