"""A worker that is told of changes and handles one key at a time, again after failures."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import OrderedDict

from rayctl.embedded.apiserver.access.escalation import ASKING
from rayctl.embedded.apiserver.access.tokens import ADMIN
from rayctl.embedded.apiserver.api import Api
from rayctl.embedded.apiserver.store import Event

__all__ = ["Controller"]

log = logging.getLogger(__name__)

RETRY_S = (0.05, 5.0)


class Controller(ABC):
    """Subclasses say which keys a change makes dirty, and bring a key into order. Keys are tuples of texts."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._dirty: OrderedDict[tuple[str, ...], None] = OrderedDict()
        self._failures: dict[tuple[str, ...], int] = {}
        self._wake = asyncio.Event()
        self._leave = api.store.subscribe(self._told)

    @abstractmethod
    def keys_of(self, event: Event) -> list[tuple[str, ...]]:
        """Return what has to be looked at after a change."""

    @abstractmethod
    def all_keys(self) -> list[tuple[str, ...]]:
        """Return what has to be looked at after a start."""

    @abstractmethod
    async def sync(self, key: tuple[str, ...]) -> None:
        """Bring one thing into order. Errors are logged, and it is tried again."""

    def add(self, key: tuple[str, ...]) -> None:
        """Have something looked at."""
        self._dirty[key] = None
        self._wake.set()

    def _told(self, event: Event) -> None:
        for key in self.keys_of(event):
            self.add(key)

    async def run(self) -> None:
        """Work until cancelled."""
        ASKING.set(ADMIN)
        for key in self.all_keys():
            self.add(key)
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._dirty:
                    key, _ = self._dirty.popitem(last=False)
                    await self._try(key)
                    await asyncio.sleep(0)
        finally:
            self._leave()

    async def _try(self, key: tuple[str, ...]) -> None:
        try:
            await self.sync(key)
            self._failures.pop(key, None)
        except Exception:
            count = self._failures[key] = self._failures.get(key, 0) + 1
            delay = min(RETRY_S[1], RETRY_S[0] * 2**count)
            log.exception("%s: %s could not be handled; again in %.1f s", type(self).__name__, key, delay)
            asyncio.get_running_loop().call_later(delay, self.add, key)
