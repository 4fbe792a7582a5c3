"""The report of an ended run: what goes into it is collected here, a task builds it, the store keeps it."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from rayctl.automl.engine import Engine, Fold, engine_for
from rayctl.automl.model import RunRequest, RunView
from rayctl.automl.tenant_work import Carried
from rayctl.automl.views import leaderboard_rows, timeline
from rayctl.errors import NotFound, RayctlError, Unavailable
from rayctl.state.artifacts import ArtifactStore
from rayctl.tenancy.calls import carrying

if TYPE_CHECKING:
    import pyarrow as pa

    from rayctl.state.runs import RunStore

__all__ = ["ReportOrder", "Reporter", "build"]

IMPORTANCE_S = 10.0
"""Permutation importance may take so long; it says how far it came."""


@dataclass(frozen=True)
class ReportOrder:
    """Documents and files of a run. The files are None for runs without a model."""

    request: RunRequest
    run: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    timeline: Sequence[Mapping[str, Any]]
    combination: Mapping[str, Any]
    reproduce: Mapping[str, Any]
    validation: bytes | None
    forecast: bytes | None


def build(order: ReportOrder, data: bytes, bundle: bytes | None) -> dict[str, bytes]:
    """Return the files of the report (see `rayctl.automl.report.build_report`).

    ``data``: the run's table as Arrow IPC. ``bundle``: its model, from our own store with its digest checked.
    """
    from rayctl.automl.ingest import from_ipc
    from rayctl.automl.report import ReportInputs, build_report

    table = from_ipc(data)
    importance: list[dict[str, Any]] | None = None
    unknown: str | None = None
    parts = 1
    if bundle is not None:
        engine = engine_for(order.request.task)
        prepared = engine.prepare(table, order.request)
        folds = engine.split(prepared, order.request)
        parts = _parts(folds)
        importance, unknown = _importance(engine, order.request, prepared, folds, bundle)
    series = order.request.time_column if order.request.task.value == "forecasting" else None
    inputs = ReportInputs(
        run=dict(order.run),
        rows=[dict(row) for row in order.rows],
        timeline=[dict(entry) for entry in order.timeline],
        validation=_table(order.validation),
        importance=importance,
        importance_error=unknown,
        parts=parts,
        combination=dict(order.combination),
        forecast=_table(order.forecast),
        history=None if series is None else _tail(table, order.request, series),
        reproduce=dict(order.reproduce),
    )
    return build_report(inputs)


def _importance(
    engine: Engine, request: RunRequest, prepared: Any, folds: Sequence[Fold], bundle: bytes
) -> tuple[list[dict[str, Any]] | None, str | None]:
    """Return the importances, or why there are none: a caller's model or metric may raise anything."""
    deadline = time.monotonic() + IMPORTANCE_S
    try:
        found = engine.importance(
            bundle, prepared, folds, request, seed=request.seed, deadline=deadline, allow_pickle=True
        )
    except RayctlError as error:
        return None, error.message
    except Exception as error:  # a report that says why this part is missing is better than none
        return None, f"{type(error).__name__}: {error}"[:300]
    return found, None


def _parts(folds: Sequence[Fold]) -> int:
    """Return into how many tasks each resampling is cut (large collections of series; else 1)."""
    scored = [fold for fold in folds if fold.scored]
    return max(1, round(len(scored) / max(1, len({fold.group for fold in scored}))))


def _table(data: bytes | None) -> Any:
    import pyarrow.parquet

    return None if data is None else pyarrow.parquet.read_table(io.BytesIO(data))


def _tail(table: pa.Table, request: RunRequest, time_column: str) -> pa.Table:
    """Return the history with its times as the forecast has them."""
    from rayctl.automl.forecast.clocks import Clock
    from rayctl.automl.forecast.times import read_times

    chosen = table.select([*request.id_columns, time_column, request.target])
    read = read_times(chosen.column(time_column), time_column)
    times = Clock(read.zone).array(read.values, read.calendar)
    return chosen.set_column(chosen.column_names.index(time_column), time_column, times)


REPORT = ray.remote(num_cpus=0, max_retries=2)(carrying(build))
_INDEX = "report-files.json"


class Reporter:
    """Builds and finds the reports of runs. Lives in the proxy; the work is done in a task."""

    def __init__(self, runs: RunStore, store: ArtifactStore) -> None:
        self._runs = runs
        self._store = store

    def files(self, run_id: str) -> list[dict[str, Any]]:
        """Return the files of a report that has been built, else an empty list."""
        try:
            found: list[dict[str, Any]] = json.loads(self._store.get(f"runs/{run_id}/{_INDEX}"))
        except NotFound:
            return []
        return found

    async def report(self, run_id: str, view: RunView, carried: Carried) -> list[dict[str, Any]]:
        """Build the report of an ended run if it has none yet; return its files.

        Raises:
            Unavailable: it could not be built; the reason is in the message.
        """
        there = await asyncio.to_thread(self.files, run_id)
        if there:
            return there
        order, data, bundle = await asyncio.to_thread(self._collect, run_id, view)
        task = REPORT.options(**carried.options)
        try:
            files: dict[str, bytes] = await task.remote(order, data, bundle, **carried.arguments)
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            text = f"The report could not be built: {type(cause).__name__}: {cause}"
            hint = "Try again; the leaderboard and the model are there without it."
            raise Unavailable(text[:500], code="report-failed", hint=hint) from error
        return await asyncio.to_thread(self._keep, run_id, files)

    def _collect(self, run_id: str, view: RunView) -> tuple[ReportOrder, bytes, bytes | None]:
        row = self._runs.get(run_id)
        request = RunRequest.model_validate_json(row["request"])
        result = json.loads(row["result"]) if row["result"] else {}
        names = {artifact["name"]: artifact["sha256"] for artifact in result.get("artifacts", ())}

        def file(name: str) -> bytes | None:
            if name not in names:
                return None
            found = self._store.get(f"runs/{run_id}/{name}")
            if sha256(found).hexdigest() != names[name]:
                raise Unavailable(
                    f"The file {name} of run {run_id} is not the one that was stored.",
                    code="changed",
                    hint="The artifact store was changed or damaged; run it again.",
                )
            return found

        rows = leaderboard_rows(row, self._runs.trials(run_id))
        events = self._runs.events(run_id, 0, 1_000_000)
        order = ReportOrder(
            request=request,
            run=view.model_dump(mode="json"),
            rows=[entry.model_dump(mode="json") for entry in rows],
            timeline=timeline(events, view.started_at, view.greater_is_better),
            combination=result.get("combination") or {},
            reproduce={
                "seed": view.seed,
                "versions": result.get("versions") or {},
                "data_fingerprint": view.data.fingerprint if view.data else None,
                "request": json.loads(row["request"]),
            },
            validation=file("predictions.parquet"),
            forecast=file("forecast.parquet"),
        )
        return order, self._store.get(row["data_key"]), file("model.zip")

    def _keep(self, run_id: str, files: dict[str, bytes]) -> list[dict[str, Any]]:
        stored = {name: self._store.put(f"runs/{run_id}/{name}", data) for name, data in sorted(files.items())}
        index = [{"name": name, "bytes": kept.bytes, "sha256": kept.sha256} for name, kept in stored.items()]
        self._store.put(f"runs/{run_id}/{_INDEX}", json.dumps(index).encode())
        return index
