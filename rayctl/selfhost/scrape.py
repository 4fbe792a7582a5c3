"""A port for Prometheus of this process: ``GET /metrics``, on loopback, with a token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from rayctl.api.auth import TokenBook
from rayctl.api.browser import host_allowed
from rayctl.errors import Conflict, NotAuthenticated
from rayctl.selfhost.upfile import ensure_token
from rayctl.telemetry.metrics import CONTENT_TYPE

__all__ = ["Scraped"]

HOST = "127.0.0.1"


class Scraped:
    """Answers Prometheus.

    Args:
        port: Where; 0: any free port.
        token_file: Whose tokens may ask; made, with mode 0600, if it is not there.
        text: Returns the metrics.
    """

    def __init__(self, port: int, token_file: Path, text: Callable[[], bytes]) -> None:
        self._port, self._token_file, self._text = port, token_file, text
        self._runner: web.ServerRunner | None = None
        self._tokens: TokenBook | None = None

    async def start(self) -> str:
        """Begin to answer; return the address.

        Raises:
            InvalidRequest: The token file cannot be used. Conflict: The port is taken.
        """
        self._token_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        ensure_token(self._token_file, line_break=True)
        self._tokens = TokenBook.from_file(self._token_file)
        self._runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0.5)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, HOST, self._port).start()
        except OSError as error:
            await self.stop()
            raise Conflict(
                f"Port {self._port} cannot be used: {error.strerror}",
                code="port-in-use",
                hint="Give another --metrics-port; 0 takes any free one.",
            ) from None
        return f"http://{HOST}:{self._runner.addresses[0][1]}/metrics"

    async def stop(self) -> None:
        """Close the port."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        assert self._tokens is not None
        if not host_allowed(request.headers.get("Host", ""), ()):
            return web.Response(status=403, text="this name is not this machine's\n")
        if request.method != "GET" or request.path not in ("/metrics", "/healthz"):
            return web.Response(status=404, text="there is /metrics, and /healthz\n")
        if request.path == "/healthz":
            return web.Response(text="ok")
        try:
            self._tokens.authenticate(request.headers.get("Authorization"))
        except NotAuthenticated as error:
            return web.Response(status=401, text=f"{error.message}\n", headers={"WWW-Authenticate": "Bearer"})
        return web.Response(body=self._text(), headers={"Content-Type": CONTENT_TYPE})
