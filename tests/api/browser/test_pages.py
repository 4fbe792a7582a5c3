"""The pages in a real browser: policy kept, nothing from elsewhere, wide and narrow, live, and without script."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from rayctl.api.app import create_app
from rayctl.api.auth import TokenBook
from rayctl.kube.kinds import FLEETS, RAY_CLUSTERS, RAY_SERVICES
from rayctl.settings import ServiceSettings

from ..conftest import REQUEST
from ..kube.conftest import Kubernetes, cluster, fleet, service_document
from ..memory import MemoryService
from .chromium import PROGRAM, Tab, chromium

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no chromium on this machine")


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    task = asyncio.ensure_future(server.serve(sockets=[listening]))
    try:
        yield f"http://localhost:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listening.close()


async def log_in(tab: Tab, base: str, path: str) -> None:
    await tab.go(f"{base}{path}")
    assert await tab.run("document.activeElement.id") == "token"
    await tab.submit(
        "document.getElementById('token').value = 'secret-token'; document.querySelector('button').click()"
    )
    assert await tab.run("location.pathname") == path


async def test_pages(tmp_path: Path) -> None:
    kubernetes = await Kubernetes().start()
    await kubernetes.create(RAY_CLUSTERS, cluster("demo"))
    await kubernetes.create(RAY_SERVICES, service_document("a-service-with-quite-a-long-name-as-people-make"))
    service = MemoryService()
    run_id = await service.do_auto_ml(REQUEST, None, via="http")
    await service.move(run_id, "running")
    for number in range(9):
        await service.trial(run_id, "lightgbm", 1 / (1 + number))
    settings = ServiceSettings(dashboard_actions=True)
    book = TokenBook([("secret-token", None)])
    app = create_app(service, tokens=book, settings=settings, kubernetes=lambda: kubernetes.transport)
    async with served(app) as base, chromium(tmp_path / "profile") as tab, kubernetes.controllers():
        await log_in(tab, base, "/ui/fleets")
        await live_fleet(tab, kubernetes, base)
        await button(tab, kubernetes, base)
        await live_run(tab, service, run_id, base)
        await every_page(tab, base, run_id)
        await without_script(tab, base)
        assert tab.complaints == []
        elsewhere = [url for url in tab.requests if not url.startswith((base, "data:", "about:"))]
        assert elsewhere == []


async def live_fleet(tab: Tab, kubernetes: Kubernetes, base: str) -> None:
    assert "There are no fleets" in await tab.run("document.body.innerText")
    await tab.until("document.getElementById('live').textContent === 'live'")
    await tab.run("window.same = true")
    await kubernetes.create(FLEETS, fleet("embed"))
    await tab.until("document.querySelector('main').innerText.includes('embed')")
    await tab.until("document.querySelector('main').innerText.includes('ready')")
    assert await tab.run("window.same"), "the page was not loaded anew"


async def button(tab: Tab, kubernetes: Kubernetes, base: str) -> None:
    await tab.go(f"{base}/ui/fleets/default/embed")
    await tab.submit("[...document.querySelectorAll('button')].find((it) => it.textContent === 'Pause').click()")
    assert "fleet/embed paused" in await tab.run("document.body.innerText")
    assert (await kubernetes.get(FLEETS, "embed"))["spec"]["paused"] is True


async def live_run(tab: Tab, service: MemoryService, run_id: str, base: str) -> None:
    await tab.go(f"{base}/ui/runs/{run_id}")
    await service.trial(run_id, "newcomer", 0.05)
    await tab.until("document.querySelector('main').innerText.includes('newcomer')")
    await service.succeed(run_id)
    await tab.until("document.getElementById('live').textContent === 'ended'")
    await tab.until("document.querySelector('h1').innerText.includes('succeeded')")


async def every_page(tab: Tab, base: str, run_id: str) -> None:
    service = "a-service-with-quite-a-long-name-as-people-make"
    paths = ["", "fleets", "services", "clusters", "runs", "tenants", "system", f"runs/{run_id}"]
    paths += ["fleets/default/embed", "clusters/default/demo", f"services/default/{service}"]
    for path in (*(f"/ui/{path}" for path in paths), "/docs"):
        for width, dark in ((1280, False), (390, True)):
            await tab.look_like(width, dark=dark)
            await tab.go(base + path)
            assert await tab.run("document.querySelector('h1, .brand') !== null")
            assert await tab.run("document.documentElement.scrollWidth - innerWidth") <= 0, (path, width)
            colour = await tab.run("getComputedStyle(document.body).backgroundColor")
            assert (colour == "rgb(18, 22, 29)") is dark
            unnamed = "[...document.querySelectorAll('input:not([type=hidden]), button, a, svg')].filter((it) =>"
            unnamed += " !(it.innerText || it.ariaLabel || it.labels && it.labels.length)).length"
            assert await tab.run(unnamed) == 0, path
    await tab.look_like()


async def without_script(tab: Tab, base: str) -> None:
    await tab.send("Emulation.setScriptExecutionDisabled", value=True)
    await tab.go(f"{base}/ui/fleets/default/embed")
    found = await tab.send("DOM.getDocument", depth=-1)
    text = str(found)
    for word in ("Rollout", "Revision", "embed", "Events"):
        assert word in text
    await tab.send("Emulation.setScriptExecutionDisabled", value=False)
