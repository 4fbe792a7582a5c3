"""Ending one container: hook, SIGTERM, the grace, SIGKILL; shortened when someone asks for less grace meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from rayctl.embedded.kubelet.containers import Container
from rayctl.embedded.kubelet.timing import Timing

__all__ = ["Stopping"]

_log = logging.getLogger(__name__)

Hook = Callable[[float], Awaitable[str]]
"""Runs preStop for at most so many seconds; returns why it failed, or nothing."""


class Stopping:
    """A container on its way out.

    Args:
        container: It.
        grace_s: How long it may take.
        hook: Its preStop, if any.
        wall: Monotonic seconds.
        sweep: Ends what a shim that had to be killed itself has left behind.
    """

    def __init__(
        self,
        container: Container,
        grace_s: float,
        hook: Hook | None,
        timing: Timing,
        sweep: Callable[[], Awaitable[None]],
    ) -> None:
        self._container, self._hook, self._timing, self._sweep = container, hook, timing, sweep
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + grace_s
        self._shortened = asyncio.Event()
        self.ended = asyncio.Event()
        self.hook_failed = ""
        self.task = asyncio.create_task(self._run())

    def shorten(self, grace_s: float) -> None:
        """Allow no more than this from now on; never more than before."""
        wanted = self._loop.time() + grace_s
        if wanted < self._deadline - 0.5:
            self._deadline = wanted
            self._shortened.set()

    async def _run(self) -> None:
        container = self._container
        if self._hook is not None and self._deadline > self._loop.time():
            hook = asyncio.create_task(self._run_hook(self._hook))
            await self._until_deadline(hook)
            hook.cancel()
        if container.running and self._deadline > self._loop.time():
            container.terminate()
            await self._until_deadline(asyncio.create_task(self.ended.wait()))
        if not container.running:
            return
        container.kill()
        try:
            await asyncio.wait_for(self.ended.wait(), self._timing.kill_wait_s)
        except asyncio.TimeoutError:
            _log.warning("the shim %d did not end its container; both are killed", container.pid)
            container.kill_shim()
            await self.ended.wait()
            await self._sweep()

    async def _run_hook(self, hook: Hook) -> None:
        self.hook_failed = await hook(max(0.1, self._deadline - self._loop.time()))

    async def _until_deadline(self, task: asyncio.Task[None] | asyncio.Task[bool]) -> None:
        """Wait for the task, or for the grace to be over, whatever the grace is by then."""
        ended = asyncio.create_task(self.ended.wait())
        try:
            while not task.done() and not ended.done() and self._loop.time() < self._deadline:
                shortened = asyncio.create_task(self._shortened.wait())
                left = max(0.0, self._deadline - self._loop.time())
                await asyncio.wait({task, ended, shortened}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                shortened.cancel()
                self._shortened.clear()
        finally:
            ended.cancel()
            if task.done() and not task.cancelled():
                task.exception()
            else:
                task.cancel()
