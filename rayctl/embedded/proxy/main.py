"""The proxy as a process of its own: ``python -m rayctl.embedded.proxy.main KUBECONFIG``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys

from rayctl.embedded.kubelet.shim import kernel
from rayctl.embedded.proxy.forward import Frontend
from rayctl.embedded.proxy.table import Table, frontends
from rayctl.errors import RayctlError
from rayctl.kube.calls import Transport
from rayctl.kube.http import HttpTransport, load_configuration
from rayctl.kube.informer import Informers
from rayctl.kube.kinds import ENDPOINT_SLICES, PODS, SERVICES
from rayctl.kube.store import Change

__all__ = ["Proxy", "run"]

_log = logging.getLogger(__name__)
RETRY_S = 2.0


class Proxy:
    """Listens for all Services. Args: the way to the API."""

    def __init__(self, transport: Transport) -> None:
        self._informers = Informers(transport)
        self._changed = asyncio.Event()
        self._open: dict[tuple[str, int], Frontend] = {}
        self._refused: set[tuple[str, int]] = set()
        self.table: Table = {}

    async def run(self) -> None:
        """Carry connections until cancelled."""
        informing = asyncio.create_task(self._informers.run())
        kinds = [self._informers.get(kind) for kind in (SERVICES, PODS, ENDPOINT_SLICES)]
        try:
            for informer in kinds:
                await informer.reflector.synced.wait()
                informer.listen(self._take)
            while True:
                timeout = RETRY_S if self._refused else None
                with contextlib.suppress(asyncio.TimeoutError):  # what could not be opened is tried again
                    await asyncio.wait_for(self._changed.wait(), timeout)
                self._changed.clear()
                # Backends first: they count at once, for listeners that are there already.
                self.table = frontends(*(informer.store for informer in kinds))
                await self._follow()
                for frontend in self._open.values():
                    frontend.review()
        finally:
            informing.cancel()
            await asyncio.gather(informing, return_exceptions=True)
            for frontend in self._open.values():
                await frontend.close()

    def _take(self, _: Change, __: bool) -> None:
        self._changed.set()

    async def _follow(self) -> None:
        for place in [place for place in self._open if place not in self.table]:
            await self._open.pop(place).close()
        self._refused &= set(self.table)
        for place in self.table:
            if place in self._open:
                continue
            frontend = Frontend(lambda place=place: self.table.get(place, ()))  # type: ignore[misc]
            try:
                await frontend.listen(*place)
            except OSError as error:
                if place not in self._refused:
                    _log.warning("%s:%d cannot be opened: %s", *place, error.strerror or error)
                self._refused.add(place)
                continue
            self._refused.discard(place)
            self._open[place] = frontend


async def run(kubeconfig: str) -> None:
    """Work until SIGTERM or SIGINT."""
    transport = HttpTransport(await load_configuration(kubeconfig))
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    working = asyncio.create_task(Proxy(transport).run())
    waiting = asyncio.create_task(ended.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, waiting):
            task.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)
        await transport.close()


def main() -> None:
    """Run with the kubeconfig of the command line."""
    if "--die-with-parent" in sys.argv:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    logging.basicConfig(level=logging.WARNING, format="proxy: %(message)s")
    try:
        asyncio.run(run(sys.argv[1]))
    except (RayctlError, OSError) as error:
        sys.exit(f"proxy: {error}")


if __name__ == "__main__":
    main()
