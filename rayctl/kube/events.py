"""Events for people: best effort, repeats counted in one object, floods cut off; nothing waits for them.

The numbers are those of Kubernetes' own clients: the same event within ten minutes is a series; per object 25 at once,
then one more every five minutes.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from rayctl.kube.calls import MERGE, Call, Transport
from rayctl.kube.errors import KubernetesError, ObjectNotFound
from rayctl.kube.kinds import EVENTS

__all__ = ["EventRecorder", "Happening"]

_log = logging.getLogger(__name__)

SERIES_S = 600.0
BURST = 25
REFILL_S = 300.0
REMEMBERED = 4096
WAITING = 1000
NOTE = 1024
"""Characters of a note that the API takes."""


@dataclass(frozen=True)
class Happening:
    """What happened to which object. ``kind``: Normal or Warning; ``reason``: one word; ``message``: a sentence."""

    api_version: str
    object_kind: str
    namespace: str
    name: str
    uid: str
    kind: str
    reason: str
    message: str


@dataclass
class _Series:
    name: str
    count: int
    at: float


@dataclass
class _Bucket:
    left: float
    at: float


class EventRecorder:
    """Sends events, one after the other, while `run` runs.

    Args:
        transport: The way to the server.
        reporter: Who tells: the controller's name.
        instance: Which process of it.
        wall: Seconds since the epoch.

    Attributes:
        dropped: Events that were not sent: too many, or the server did not take them.
    """

    def __init__(self, transport: Transport, reporter: str, instance: str, wall: Callable[[], float]) -> None:
        self.dropped = 0
        self._transport, self._reporter, self._instance, self._wall = transport, reporter, instance, wall
        self._waiting: asyncio.Queue[tuple[Happening, float]] = asyncio.Queue(WAITING)
        self._series: OrderedDict[Happening, _Series] = OrderedDict()
        self._buckets: OrderedDict[tuple[str, str, str, str], _Bucket] = OrderedDict()

    def add(self, happening: Happening) -> None:
        """Have an event sent. Never waits, never raises."""
        if not self._allowed(happening):
            self.dropped += 1
            return
        try:
            self._waiting.put_nowait((happening, self._wall()))
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            happening, at = await self._waiting.get()
            try:
                await self._send(happening, at)
            except KubernetesError as error:
                self.dropped += 1
                _log.info("%s: event %s was not taken: %s", self._reporter, happening.reason, error)

    async def _send(self, happening: Happening, at: float) -> None:
        series = self._series.get(happening)
        if series is not None and at - series.at <= SERIES_S:
            try:
                await self._count(happening, series, at)
                return
            except ObjectNotFound:
                pass  # its time was over at the server
        name = _name(happening, at)
        self._series[happening] = _Series(name, 1, at)
        self._series.move_to_end(happening)
        while len(self._series) > REMEMBERED:
            self._series.popitem(last=False)
        path = EVENTS.path(happening.namespace or "default")
        await self._transport.request(Call("POST", path, body=self._document(happening, name, at)))

    async def _count(self, happening: Happening, series: _Series, at: float) -> None:
        series.count, series.at = series.count + 1, at
        body = {"series": {"count": series.count, "lastObservedTime": _micro(at)}}
        path = EVENTS.path(happening.namespace or "default", series.name)
        await self._transport.request(Call("PATCH", path, body=body, content_type=MERGE))

    def _document(self, happening: Happening, name: str, at: float) -> dict[str, Any]:
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"namespace": happening.namespace or "default", "name": name},
            "eventTime": _micro(at),
            "reportingController": f"rayctl.io/{self._reporter}",
            "reportingInstance": self._instance[:128],
            "action": happening.reason,
            "reason": happening.reason,
            "regarding": {
                "apiVersion": happening.api_version,
                "kind": happening.object_kind,
                "namespace": happening.namespace,
                "name": happening.name,
                "uid": happening.uid,
            },
            "note": happening.message[:NOTE],
            "type": happening.kind,
        }

    def _allowed(self, happening: Happening) -> bool:
        key = (happening.object_kind, happening.namespace, happening.name, happening.uid)
        now = self._wall()
        bucket = self._buckets.setdefault(key, _Bucket(BURST, now))
        self._buckets.move_to_end(key)
        while len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        bucket.left = min(BURST, bucket.left + max(0.0, now - bucket.at) / REFILL_S)
        bucket.at = now
        if bucket.left < 1:
            return False
        bucket.left -= 1
        return True


def _name(happening: Happening, at: float) -> str:
    text = f"{happening.uid}/{happening.kind}/{happening.reason}/{happening.message}/{at}"
    return f"{happening.name[:200]}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _micro(at: float) -> str:
    return datetime.fromtimestamp(at, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
