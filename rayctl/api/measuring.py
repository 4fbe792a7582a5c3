"""What Prometheus is told by the HTTP API: how many runs there are, and what the controllers count."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from rayctl.automl.port import RAY_NAMESPACE, AutoMLService
from rayctl.errors import RayctlError
from rayctl.manifests.access import CONTROLLERS
from rayctl.telemetry.exposition import gauge, joined
from rayctl.telemetry.left_behind import STANDBY, read_fresh, standby_file

__all__ = ["CONTENT_TYPE", "Counted", "metrics_of", "of_control_plane"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Counted = Callable[[], Awaitable[Mapping[str, str]]]
"""Returns process → its metrics."""
_LOG = logging.getLogger("rayctl.api")
_WITHIN_S = 4.0


async def metrics_of(service: AutoMLService, others: Counted | None) -> str:
    """Return everything in Prometheus' text format. What does not answer in time is left out."""
    found: dict[str, str] = {"automl-proxy": await _runs(service)}
    if others is not None:
        found |= await others()
    return joined(found)


async def _runs(service: AutoMLService) -> str:
    counts: Mapping[str, int] = {}
    try:
        counts = (await asyncio.wait_for(service.info(), _WITHIN_S)).get("runs") or {}
        up = 1.0
    except (RayctlError, asyncio.TimeoutError):
        up = 0.0
    states = [({"state": str(state)}, float(count)) for state, count in sorted(counts.items())]
    text = gauge("rayctl_automl_up", "1 while the AutoML service answers.", [({}, up)])
    return text + gauge("rayctl_automl_runs", "Runs that are kept, by their state.", states)


def of_control_plane(home: Path) -> Counted:
    """Return what gathers the metrics of the controllers: of those that are actors, and of a home's standby."""

    async def found() -> Mapping[str, str]:
        standby = read_fresh(standby_file(home), time.time())
        return {**await _of_actors(), **({STANDBY: standby} if standby else {})}

    return found


async def _of_actors() -> Mapping[str, str]:
    """Return what the controllers count that are actors of this process's Ray cluster; nothing where there are none."""
    import ray
    from ray.exceptions import RayError

    async def one(name: str) -> str:
        try:
            handle = await asyncio.to_thread(ray.get_actor, name, namespace=RAY_NAMESPACE)
        except ValueError:
            return ""  # it does not run here
        try:
            text: bytes = await asyncio.wait_for(_asked(handle), _WITHIN_S)
            return text.decode()
        except (RayError, asyncio.TimeoutError) as error:
            _LOG.warning("%s gave no metrics: %s", name, type(error).__name__)
            return ""

    texts = await asyncio.gather(*(one(name) for name in CONTROLLERS))
    return {name: text for name, text in zip(CONTROLLERS, texts, strict=True) if text}


async def _asked(handle: object) -> bytes:
    found: bytes = await handle.metrics_text.remote()  # type: ignore[attr-defined]
    return found
