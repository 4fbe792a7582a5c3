"""Work of the node that is a pass over everything: done when something has changed, and again when it failed."""

from __future__ import annotations

import asyncio
import logging

from rayctl.embedded.kubelet.host import Host
from rayctl.kube.errors import KubernetesError
from rayctl.kube.store import Change

__all__ = ["Passes"]

_log = logging.getLogger(__name__)


class Passes:
    """Args: the node; what a pass is about, for the log."""

    def __init__(self, host: Host, subject: str) -> None:
        self._host, self._subject = host, subject
        self._woken = asyncio.Event()
        self._woken.set()

    def take(self, _: Change, __: bool = True) -> None:
        """Take note of a change of something that a pass looks at."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self._pass()
            except (KubernetesError, OSError) as error:
                _log.warning("%s: %s", self._subject, error)
                await asyncio.sleep(self._host.timing.retry_s)
                self._woken.set()

    async def _pass(self) -> None:
        """Do what is due. KubernetesError, OSError: it is done again after a while."""
        raise NotImplementedError
