"""From whatever a caller sent to a table that is kept: the step before a run is accepted.

The reading and checking happens in a task process; the proxy only writes the finished bytes into the artifact
store, under the fingerprint of their contents.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError, RuntimeEnvSetupError

from rayctl.automl import tasks
from rayctl.automl.model import RunRequest
from rayctl.automl.tenant_work import Carried
from rayctl.errors import Forbidden, InvalidRequest, RayctlError, TooLarge, Unavailable
from rayctl.settings import ServiceSettings
from rayctl.state.artifacts import ArtifactStore

if TYPE_CHECKING:
    from rayctl.state.catalog import Catalog

__all__ = ["Staged", "Stager", "check_http_request"]

STAGE_LIMIT_S = 600.0
STAGES_AT_ONCE = 3
"""So many tables are read at once, without need for a process more: a new one takes seconds to start, a table less."""
TURN_S = 3.0
"""After this time a table is read out of turn: those before it may take minutes."""


@dataclass(frozen=True)
class Staged:
    """A table in the artifact store: its key, its size in bytes, and what was found in it (see `tasks.stage`)."""

    data_key: str
    bytes: int
    found: dict[str, Any]


class Stager:
    """Reads, checks and keeps tables."""

    def __init__(self, settings: ServiceSettings, store: ArtifactStore, catalog: Catalog) -> None:
        self._settings = settings
        self._store = store
        self._catalog = catalog
        self._turns = asyncio.Semaphore(STAGES_AT_ONCE)
        # What leaves for task processes has no secrets in it.
        self._public_settings = settings.model_copy(update={"database_url": None, "artifact_url": None})

    async def stage(
        self,
        data: Any,
        format: str | None,
        request: RunRequest | None,
        tenant: str = "default",
        carried: Carried | None = None,
    ) -> Staged:
        """Keep the table of a request (or of an upload, ``request`` None). ``carried``: what the tasks
        that read it are given of the tenant.

        Raises:
            InvalidData, InvalidRequest, Forbidden, SourceUnreachable, TooLarge, Unavailable.
        """
        source = request.data if request is not None else None
        if (data is None) == (source is None):
            raise InvalidRequest(
                "The request names no data." if data is None else "The request names data and brings data as well.",
                code="missing-data" if data is None else "ambiguous-data",
                hint="Pass a table, or set `data` to a uri, an upload or columns.",
            )
        if isinstance(data, (bytes, bytearray, memoryview)):
            self._check_size(len(data))
        carried = carried or Carried()
        options: dict[str, Any] = {"num_returns": 2, **carried.options}
        if source is not None and source.uri is not None:
            task = tasks.STAGE_URI.options(**options)
            refs = task.remote(source.uri, source.format, request, self._public_settings, **carried.arguments)
        else:
            if source is not None and source.upload is not None:
                key = await asyncio.to_thread(self._catalog.upload_key, source.upload, tenant)
                data, format = await asyncio.to_thread(self._store.get, key), "arrow"
            elif source is not None:
                data = source.columns
            async with self._turn():
                refs = tasks.STAGE.options(**options).remote(data, format, request, **carried.arguments)
                return await self._keep(refs)
        return await self._keep(refs)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for a turn, but not for long."""
        try:
            await asyncio.wait_for(self._turns.acquire(), TURN_S)
        except asyncio.TimeoutError:
            yield
            return
        try:
            yield
        finally:
            self._turns.release()

    async def _keep(self, refs: Any) -> Staged:
        try:
            found: dict[str, Any] = await asyncio.wait_for(refs[0], STAGE_LIMIT_S)
            ipc: bytes = await refs[1]
        except asyncio.TimeoutError:
            ray.cancel(refs[0], force=True)  # code of a caller's own that hangs would keep its process for good
            raise Unavailable(
                f"The data was not read within {STAGE_LIMIT_S:g} s.",
                code="staging-timeout",
                hint="The cluster may have no free worker: see `rayctl status`.",
            ) from None
        except RayError as error:
            raise staging_error(error) from error
        self._check_size(len(ipc))
        key = f"data/{found['fingerprint']}.arrow"
        if not await asyncio.to_thread(self._store.exists, key):
            await asyncio.to_thread(self._store.put, key, ipc)
        return Staged(key, len(ipc), found)

    def _check_size(self, size: int) -> None:
        limit = self._settings.max_data_bytes
        if size > limit:
            raise TooLarge(
                f"The data has {size:,} bytes; this service accepts {limit:,}.",
                code="data-too-large",
                hint="Send fewer rows or columns, or ask the operator to raise RAYCTL_MAX_DATA_BYTES.",
            )


def staging_error(error: RayError, what: str = "read the data") -> RayctlError:
    """Say in our own words why a task that ``what`` gave nothing."""
    if isinstance(error, RuntimeEnvSetupError):
        return InvalidRequest(
            f"The runtime environment could not be built: {error.error_message}",
            code="environment-error",
            hint="Check the packages and options of runtime_env.",
        )
    if isinstance(error, RayTaskError):
        if isinstance(error.cause, RayctlError):
            return error.cause
        return Unavailable(
            f"The data could not be processed: {type(error.cause).__name__}: {error.cause}"[:500],
            hint="This should not happen: please report it with a table that shows it.",
        )
    return Unavailable(
        f"The process that {what} died ({type(error).__name__}).", hint="It may need more memory than there is."
    )


def check_http_request(request: RunRequest, settings: ServiceSettings) -> None:
    """Refuse what only callers over Ray may bring, because it can run any code.

    Raises:
        Forbidden: a pickled class, a module outside of the allow-list, or a runtime environment.
    """
    for entry in request.search_space or ():
        if entry.pickled_class is not None:
            raise Forbidden(
                f"The class {entry.model} was sent pickled; over HTTP nothing is unpickled.",
                code="pickle-forbidden",
                hint="Name an importable class, or connect with ray://.",
            )
        if "." in entry.model and not _is_allowed(entry.model, settings):
            raise Forbidden(
                f"Over HTTP the model {entry.model!r} is not allowed.",
                code="model-not-allowed",
                hint=f"Allowed modules: {', '.join(settings.allowed_models)} (RAYCTL_ALLOWED_MODELS).",
            )
    _check_metric(request, settings)
    if (request.runtime_env or request.trainer_runtime_env) and not settings.allow_http_runtime_env:
        raise Forbidden(
            "Over HTTP a request may not bring a runtime environment here.",
            code="runtime-env-forbidden",
            hint="Connect with ray://, or ask the operator for RAYCTL_ALLOW_HTTP_RUNTIME_ENV=true.",
        )


def _is_allowed(path: str, settings: ServiceSettings) -> bool:
    return any(path == name or path.startswith(name + ".") for name in settings.allowed_models)


def _check_metric(request: RunRequest, settings: ServiceSettings) -> None:
    custom = request.custom_metric
    if custom is None:
        return
    if custom.pickled is not None:
        raise Forbidden(
            f"The metric {custom.name} was sent pickled; over HTTP nothing is unpickled.",
            code="pickle-forbidden",
            hint="Name an importable function, or connect with ray://.",
        )
    if not _is_allowed(str(custom.path).replace(":", "."), settings):
        raise Forbidden(
            f"Over HTTP the metric {custom.path!r} is not allowed.",
            code="metric-not-allowed",
            hint=f"Allowed modules: {', '.join(settings.allowed_models)} (RAYCTL_ALLOWED_MODELS).",
        )
