"""The kubelet's HTTP endpoint, on a Unix socket that only its user can open: ``GET /containerLogs/NS/POD/CONTAINER``.
The kubelet's HTTP endpoint, on a Unix socket that only its user can open: ``GET /containerLogs/NS/POD/CONTAINER``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from rayctl.embedded.apiserver.schema.formats import parse_time
from rayctl.embedded.kubelet.containers import Container, RunFolder
from rayctl.embedded.kubelet.logs import LogQuery, read_log

__all__ = ["LogServer"]

Find = Callable[[str, str, str], Container | None]
"""(namespace, pod, container) → what is known of it here."""


class LogServer:
    """Args: where the socket is to be; how containers are found."""

    def __init__(self, path: Path, find: Find) -> None:
        self._path, self._find = path, find
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Begin to answer. Raises OSError."""
        application = web.Application()
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        application.router.add_get("/healthz", self._health)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        self._path.unlink(missing_ok=True)
        await web.UnixSite(self._runner, str(self._path)).start()
        self._path.chmod(0o600)

    async def stop(self) -> None:
        """End all answers."""
        if self._runner is not None:
            await self._runner.cleanup()
        self._path.unlink(missing_ok=True)

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        names = [request.match_info[part] for part in ("namespace", "pod", "container")]
        container = self._find(*names)
        if container is None:
            return web.Response(status=404, text=f'pod "{names[1]}" is not on this node')
        try:
            query = _query(request)
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        attempt = container.attempt
        if request.query.get("previous") == "true":
            attempt -= 1
            if attempt < 0 or not container.folder(attempt).path.exists():
                where = f'container "{names[2]}" in pod "{names[1]}"'
                return web.Response(status=400, text=f"previous terminated {where} not found")
        if attempt < 0:
            where = f'container "{names[2]}" in pod "{names[1]}"'
            return web.Response(status=400, text=f"{where} is waiting to start: ContainerCreating")
        folder: RunFolder = container.folder(attempt)
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await response.prepare(request)
        async for chunk in read_log(folder.path, query, lambda: container.running and container.attempt == attempt):
            await response.write(chunk)
        await response.write_eof()
        return response


def _query(request: web.Request) -> LogQuery:
    since: float | None = None
    if request.query.get("sinceSeconds"):
        since = time.time() - int(request.query["sinceSeconds"])
    elif request.query.get("sinceTime"):
        since = parse_time(request.query["sinceTime"]).timestamp()
    tail, limit = request.query.get("tailLines"), request.query.get("limitBytes")
    return LogQuery(
        follow=request.query.get("follow") == "true",
        timestamps=request.query.get("timestamps") == "true",
        tail=None if tail is None else int(tail),
        since=since,
        limit=None if limit is None else int(limit),
    )
