"""The service as its callers see it: the methods of the `automl-proxy` actor.

`rayctl.automl.proxy.ProxyActor` implements this as a Ray actor (every method then gets ``.remote``); the HTTP
API and the Python client are written against it. Everything goes in and out as plain data: requests and
documents are JSON-like dictionaries of the models in `rayctl.automl.model`, tables are Arrow.

All methods raise errors of `rayctl.errors`; over Ray they arrive as the ``cause`` of a ``RayTaskError``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

__all__ = ["PROXY_NAME", "RAY_NAMESPACE", "AutoMLService", "trainer_name"]

RAY_NAMESPACE = "rayctl"
PROXY_NAME = "automl-proxy"


def trainer_name(run_id: str) -> str:
    """Name of the actor that trains a run, in Ray namespace `RAY_NAMESPACE`."""
    return f"trainer-{run_id}"


class AutoMLService(Protocol):
    """What every way in offers. ``tenant`` None means: do not filter (operators and plain Ray callers)."""

    async def do_auto_ml(
        self, request: dict[str, Any], data: Any = None, idempotency_key: str | None = None, via: str = "ray"
    ) -> str:
        """Check, store and accept a request; return its run id. The data is kept safe before this returns.

        ``data``: an Arrow table, a pandas or polars frame, CSV/Parquet/Arrow bytes, a list holding one object
        reference to any of these, or a Ray Dataset; None when ``request["data"]`` names a source.
        ``via`` is ``"ray"`` or ``"http"``; over HTTP no pickled classes and only allowed model modules.

        Raises:
            InvalidRequest, InvalidData, TooLarge, Forbidden, SourceUnreachable, QueueFull, IdempotencyConflict,
            Unavailable.
        """

    async def upload(self, data: bytes, format: str | None = None, tenant: str = "default") -> dict[str, Any]:
        """Keep a file for later requests. Returns ``{"upload": id, "rows": n, "columns": [...], "bytes": n}``."""

    async def get_run(self, run_id: str, tenant: str | None = None) -> dict[str, Any]:
        """Return the `RunView`. Raises NotFound."""

    async def list_runs(
        self,
        tenant: str | None = None,
        state: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> dict[str, Any]:
        """Return ``{"items": [RunView, …], "next": cursor or None}``, newest first."""

    async def leaderboard(
        self, run_id: str, limit: int | None = None, tenant: str | None = None
    ) -> list[dict[str, Any]]:
        """Return `LeaderboardRow` documents: done trials best first, then failed, then skipped. Also while running."""

    async def get_result(self, run_id: str, wait_s: float = 0.0, tenant: str | None = None) -> dict[str, Any]:
        """Return the result document; waits up to ``wait_s`` seconds for the run to end.

        Keys: ``run`` (RunView), ``best`` (leaderboard row), ``ensemble`` (weights, score), ``leaderboard``,
        ``artifacts`` (list of ``{"name", "bytes", "sha256"}``), ``reproduce`` (seed, versions, fingerprint, request);
        for series also ``forecast`` (records).

        Raises:
            ResultNotReady: the run has not ended within ``wait_s``.
            RunFailed: it failed or was cancelled; the message says why.
        """

    async def events(
        self, run_id: str, after: int = 0, wait_s: float = 0.0, limit: int = 500, tenant: str | None = None
    ) -> list[dict[str, Any]]:
        """Return `Event` documents with ``seq > after``; if there are none yet, wait up to ``wait_s`` seconds."""

    def watch(self, run_id: str, after: int = 0, tenant: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """Stream events until the ``done`` event (not available through Ray Client: use `events` there)."""

    async def cancel(self, run_id: str, tenant: str | None = None) -> dict[str, Any]:
        """Ask a run to stop and return its view. Cancelling twice, or a run that has ended, is fine."""

    async def finish_early(self, run_id: str, tenant: str | None = None) -> dict[str, Any]:
        """End a running run's search now and deliver its best so far; returns its view. Raises Conflict if it waits."""

    async def extend(
        self,
        run_id: str,
        time_budget_s: float | None = None,
        max_trials: int | None = None,
        tenant: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Continue a finished run with more budget, as a new run that takes over all of its trials; return its id.

        ``max_trials`` counts the new trials only. Raises Conflict while the run lasts, InvalidRequest without a budget.
        """

    async def replay(self, run_id: str, tenant: str | None = None, idempotency_key: str | None = None) -> str:
        """Repeat exactly what finished in a run, as a new run; return its id.

        The journal says which trials ended and after how many rounds time ended a fit, so runs that were bounded by
        time can be repeated too: same data, seed and versions give the same scores.
        """

    async def report(self, run_id: str, tenant: str | None = None) -> list[dict[str, Any]]:
        """Build the report of an ended run (once) and return its files: ``{"name", "bytes", "sha256"}`` each.

        Files: ``report.html`` (self-contained), ``report.json`` (the data behind it), ``plots/…svg`` and ``…png``.
        """

    async def delete_run(self, run_id: str, tenant: str | None = None) -> None:
        """Remove an ended run with its artifacts. Raises Conflict while it is queued or running."""

    async def artifact(
        self, run_id: str, name: str, offset: int = 0, length: int | None = None, tenant: str | None = None
    ) -> bytes:
        """Return (a part of) one artifact of a run: ``model.zip``, ``leaderboard.json``, ``predictions.parquet``, …"""

    async def predict(
        self, run_id: str, data: Any = None, proba: bool = False, format: str | None = None, tenant: str | None = None
    ) -> Any:
        """Predict with a finished run's model; returns an Arrow table.

        ``data`` as in `do_auto_ml`, or None (series: the horizon after the training data).
        """

    async def deploy(self, run_id: str, name: str | None = None, tenant: str | None = None) -> dict[str, Any]:
        """Serve the model as a Ray Serve application; returns ``{"name", "route", "run_id", "state"}``."""

    async def undeploy(self, name: str, tenant: str | None = None) -> None:
        """Remove a deployment made by `deploy`."""

    async def list_deployments(self, tenant: str | None = None) -> list[dict[str, Any]]:
        """Return the deployments made by `deploy`."""

    async def info(self) -> dict[str, Any]:
        """Return versions, limits, cluster resources and counts of runs; what ``rayctl status`` shows."""
