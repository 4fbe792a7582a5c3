"""The Ray tasks of the AutoML service. Stateless; everything a caller's class does happens in here.

The functions are plain Python (and tested as such); the names in capitals are their Ray forms. A trial's own
failure comes back as a value, because raising through Ray is slow and noisy; everything else is raised.
"""

from __future__ import annotations

import importlib
import io
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import ray

from rayctl.automl.actions import FoldResult, FoldShape
from rayctl.automl.baseline import BASELINE, baseline_row
from rayctl.automl.csv_times import with_short_times
from rayctl.automl.engine import Candidate, Combination, Engine, Fold, FoldOutcome, engine_for
from rayctl.automl.failures import TaskFailure, failure_of
from rayctl.automl.guard import TimeCapReached, be_patient, limited
from rayctl.automl.limits import CombineTime
from rayctl.automl.model import LeaderboardRow, RunRequest, TaskType
from rayctl.errors import TrialError, Unavailable
from rayctl.settings import ServiceSettings
from rayctl.tenancy.calls import carrying

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "ASSEMBLE",
    "COMBINE",
    "FALL_BACK",
    "NOT_BEGUN",
    "PREDICT",
    "PREPARE",
    "STAGE",
    "STAGE_URI",
    "TRAIN_AND_EVALUATE",
    "WARM",
    "Assembled",
    "Caps",
    "FoldJob",
    "assemble",
    "combine",
    "fall_back",
    "predict",
    "prepare",
    "result_of",
    "stage",
    "stage_uri",
    "train_and_evaluate",
    "versions",
    "warm",
]


NOT_BEGUN = "not-begun"
"""Code of a fold that was left, because others of the same task took too long. It never reaches a leaderboard."""
GIVE_BACK_S, GIVE_BACK = 0.1, 1.5
"""No further fold of a task that was to evaluate several is begun after this time, or so many times as long as they
were predicted to take together."""
PREDICT_LIMIT_S = 600.0
"""Longer no prediction may take: a model of a caller's own class that hangs would keep its process for good."""
SELF_STOP_S = 0.3
SELF_STOP_SHARE = 0.1
"""A model ends its fit so much earlier than it would be interrupted: predictions have to be made as well."""


@dataclass(frozen=True)
class Assembled:
    """The files of a result by name. ``predict_ms``: of a model whose request limits it (see `Engine.predict_ms`)."""

    files: Mapping[str, bytes]
    predict_ms: float | None = None


@dataclass(frozen=True)
class Caps:
    """Bounds of one task: wall seconds, absolute end (seconds since the epoch), additional memory in bytes.

    ``soft_s``: wall seconds after which a model that can end its fit early does so.
    """

    seconds: float | None = None
    deadline_at: float | None = None
    memory_bytes: int | None = None
    soft_s: float | None = None

    def remaining_s(self, now: float) -> float | None:
        """Wall seconds that the task may take from ``now`` on."""
        left = [] if self.seconds is None else [self.seconds]
        if self.deadline_at is not None:
            left.append(max(0.001, self.deadline_at - now))
        return min(left) if left else None

    def self_stop_s(self, now: float) -> float | None:
        """Wall seconds after which a model should end its fit by itself: earlier than it would be interrupted."""
        remaining = self.remaining_s(now)
        ends = [] if remaining is None else [remaining - min(SELF_STOP_S, SELF_STOP_SHARE * remaining)]
        if self.soft_s is not None:
            ends.append(self.soft_s)
        return min(ends) if ends else None


def stage(data: Any, format: str | None, request: RunRequest | None) -> tuple[dict[str, Any], bytes]:
    """Turn whatever was sent into the normal form of the table; check it against the request.

    ``data`` is a table-like object, bytes, or a list with one object reference or Ray Dataset. Returns
    (what was found, the table as Arrow IPC bytes). The first has ``fingerprint``, ``rows``, ``columns`` and, with
    a request, ``summary`` and ``metric``.

    Raises:
        InvalidData, InvalidRequest, MalformedRequest: see `Engine.validate`.
    """
    from rayctl.automl.ingest import fingerprint, normalize, to_ipc, to_table
    from rayctl.automl.metrics import metric_of

    table = to_table(_materialize(data), format)
    if request is None:  # what it will be used for is not known: all is kept
        zoned = table.column_names
    else:
        zoned = [str(request.time_column)] if request.task is TaskType.FORECASTING else []
    table = normalize(table, zoned)
    found: dict[str, Any] = {"rows": table.num_rows, "columns": table.column_names}
    if request is None:
        found["fingerprint"] = fingerprint(table)
    else:
        summary = engine_for(request.task).validate(table, request)
        metric = metric_of(request, len(summary.classes) if summary.classes else None)
        found |= {
            "fingerprint": summary.fingerprint,
            "summary": summary.model_dump(mode="json"),
            "metric": metric.name,
            "greater_is_better": metric.greater_is_better,
        }
    return found, to_ipc(table)


def stage_uri(
    uri: str, format: str | None, request: RunRequest | None, settings: ServiceSettings
) -> tuple[dict[str, Any], bytes]:
    """Read a file that the operator allows, then `stage` it.

    Raises:
        Forbidden, SourceUnreachable, TooLarge: see `rayctl.automl.sources.fetch`.
    """
    from rayctl.automl.sources import fetch

    data, found_format = fetch(uri, settings)
    return stage(data, format or found_format, request)


def _materialize(data: Any) -> Any:
    if isinstance(data, list) and len(data) == 1 and not isinstance(data[0], dict):
        data = data[0]
    if isinstance(data, ray.ObjectRef):
        data = ray.get(data)
    if type(data).__module__.startswith("ray.data"):
        import pyarrow as pa

        data = pa.concat_tables(ray.get(data.to_arrow_refs()), promote_options="default")
    return data


def prepare(ipc: bytes, request: RunRequest) -> tuple[Any, list[Fold]]:
    """Return the shared form of the data and the folds (`Engine.prepare`, `Engine.split`)."""
    from rayctl.automl.ingest import from_ipc

    engine = engine_for(request.task)
    prepared = engine.prepare(from_ipc(ipc), request)
    return prepared, engine.split(prepared, request)


@lru_cache(maxsize=64)
def _parsed(request: str) -> RunRequest:
    return RunRequest.model_validate_json(request)


@dataclass(frozen=True)
class FoldJob:
    """One fold of one candidate that a task evaluates, within its own caps.

    ``fold``: its place among the folds. ``stop_at``: see `Engine.evaluate`. ``predicted_s``: what it should take, where
    it shares a task.
    """

    candidate: Candidate
    fold: int
    seed: int
    caps: Caps
    stop_at: int | None = None
    predicted_s: float = 0.0


def train_and_evaluate(
    data: Sequence[ray.ObjectRef], jobs: Sequence[FoldJob], request_json: str
) -> FoldOutcome | TaskFailure | list[FoldOutcome | TaskFailure]:
    """Fit candidates on folds and score them, one after the other; return the outcome of one, or a list of several.

    ``data``: references to the prepared data and to the list of folds. They are fetched in here and not by Ray, because
    a cancellation that interrupts Ray's unpacking in a new process would leave half-imported libraries behind, and
    every later task of that process would fail.

    ``request_json`` is the `RunRequest` as JSON text: a worker parses it once for all tasks of a run.
    """
    be_patient()
    request = _parsed(request_json)
    # Before the caps: an import that time or memory interrupts would break every later task of this process.
    for model in dict.fromkeys(job.candidate.model for job in jobs):
        _import_for(request.task, model)
    prepared, folds = ray.get(list(data))
    if len(jobs) == 1:
        return _evaluate(prepared, folds[jobs[0].fold], jobs[0], request)
    outcomes: list[FoldOutcome | TaskFailure] = []
    until = time.monotonic() + max(GIVE_BACK_S, GIVE_BACK * sum(job.predicted_s for job in jobs))
    for job in jobs:
        if outcomes and time.monotonic() > until:
            outcomes.append(TaskFailure(NOT_BEGUN, "Folds of the same task took longer than predicted."))
            continue
        try:
            outcomes.append(_evaluate(prepared, folds[job.fold], job, request))
        except Exception as error:  # only this candidate's own
            outcomes.append(failure_of(error))
    return outcomes


def _evaluate(prepared: Any, fold: Fold, job: FoldJob, request: RunRequest) -> FoldOutcome | TaskFailure:
    def work() -> FoldOutcome:
        self_stop_s = job.caps.self_stop_s(time.time())
        deadline = None if self_stop_s is None else time.monotonic() + self_stop_s
        return engine_for(request.task).evaluate(
            prepared, fold, job.candidate, request, seed=job.seed, deadline=deadline, stop_at=job.stop_at
        )

    result: FoldOutcome | TaskFailure = _within(job.caps, work)
    return result


def combine(
    prepared: Any, folds: Sequence[Fold], outcomes: Mapping[int, Sequence[Any]], request_json: str, caps: Caps
) -> tuple[Combination, CombineTime] | TaskFailure:
    """Choose the weights of trials. ``outcomes``: trial → references to the outcomes of the scored folds, in order.

    Returns the combination and the time that it took, or why there is none.
    """
    began = time.monotonic()
    request = _parsed(request_json)
    _import_for(request.task, "")
    ready = time.monotonic()
    found = {trial: ray.get(list(refs)) for trial, refs in outcomes.items()}
    result = _within(caps, lambda: engine_for(request.task).combine(prepared, folds, found, request))
    if isinstance(result, TaskFailure):
        return result
    return result, CombineTime(time.monotonic() - ready, ready - began)


def assemble(
    prepared: Any,
    folds: Sequence[Fold],
    candidates: Mapping[int, Candidate],
    outcomes: Mapping[int, Sequence[Any]],
    combination: Combination,
    request_json: str,
    memory_bytes: int | None,
) -> Assembled | TaskFailure:
    """Build the files of a result: the model bundle, the validation predictions and, for series, the forecast.

    ``outcomes``: trial → references to the outcomes of all folds, in order, but for those that it lacks (`Partial`).
    """
    request = _parsed(request_json)
    engine = engine_for(request.task)
    _import_for(request.task, " ".join(candidate.model for candidate in candidates.values()))
    found = {trial: ray.get(list(refs)) for trial, refs in outcomes.items()}

    def work() -> Assembled:
        files = _files(engine, prepared, folds, candidates, found, combination, request)
        limited_time = request.max_predict_ms is not None
        return Assembled(files, engine.predict_ms(files["model.zip"], prepared) if limited_time else None)

    return _within(Caps(memory_bytes=memory_bytes), work)


def fall_back(
    prepared: Any, folds: Sequence[Fold], trial: int, candidate: Candidate, request_json: str, caps: Caps
) -> tuple[LeaderboardRow, Combination, dict[str, bytes]] | TaskFailure:
    """Evaluate the baseline on all folds and build the files of a result that consists of it alone.

    ``trial``: the number that it gets. The score is as honest as that of any trial: each fold's rows are predicted by
    what was learned of the other rows.
    """
    request = _parsed(request_json)
    engine = engine_for(request.task)
    _import_for(request.task, candidate.model)

    def work() -> tuple[LeaderboardRow, Combination, dict[str, bytes]]:
        outcomes = [
            engine.evaluate(prepared, fold, candidate, request, seed=request.seed, deadline=None) for fold in folds
        ]
        pairs = [pair for pair in zip(folds, outcomes, strict=True) if pair[0].scored]
        results = {place: result_of(outcome) for place, (_, outcome) in enumerate(pairs)}
        shapes = [FoldShape(fold.group, fold.weight, fold.scored) for fold in folds]
        row = baseline_row(trial, candidate, results, shapes)
        found = engine.combine(prepared, folds, {trial: [outcome for _, outcome in pairs]}, request)
        combination = replace(found, settings={**found.settings, BASELINE: True})
        files = _files(engine, prepared, folds, {trial: candidate}, {trial: outcomes}, combination, request)
        return row, combination, files

    return _within(caps, work)


def _files(
    engine: Engine,
    prepared: Any,
    folds: Sequence[Fold],
    candidates: Mapping[int, Candidate],
    found: Mapping[int, Sequence[FoldOutcome]],
    combination: Combination,
    request: RunRequest,
) -> dict[str, bytes]:
    bundle = engine.assemble(prepared, folds, candidates, found, combination, request)
    files = {"model.zip": bundle}
    files["predictions.parquet"] = _parquet(engine.blended(prepared, folds, found, combination, request))
    forecast = engine.final_forecast(bundle)
    return files if forecast is None else files | _forecast_files(forecast)


def _forecast_files(forecast: pa.Table) -> dict[str, bytes]:
    import pyarrow.csv

    out = io.BytesIO()
    pyarrow.csv.write_csv(with_short_times(forecast), out)
    records = json.dumps(forecast.to_pylist(), default=str).encode()
    return {"forecast.parquet": _parquet(forecast), "forecast.csv": out.getvalue(), "forecast.json": records}


def result_of(outcome: FoldOutcome) -> FoldResult:
    """Return a fold's outcome without its arrays."""
    size = int(outcome.model.nbytes)
    return FoldResult(outcome.score, outcome.fit_s, outcome.predict_s, size, outcome.stopped_at)


def _within(caps: Caps, work: Any) -> Any:
    remaining_s = caps.remaining_s(time.time())
    try:
        with limited(remaining_s, caps.memory_bytes):
            return work()
    except TimeCapReached:
        return _time_failure(caps)
    except TrialError as error:
        return _time_failure(caps) if error.code == "trial-timeout" else failure_of(error)
    except MemoryError:
        return _memory_failure(caps)


def _time_failure(caps: Caps) -> TaskFailure:
    if caps.deadline_at is not None and time.time() >= caps.deadline_at - 0.05:
        return TaskFailure("deadline", "The run's time was up.")
    text = f"The model did not end within its time cap of {caps.seconds or 0:g} s."
    return TaskFailure("trial-timeout", text, "Raise trial_timeout_s, or use a smaller model.")


def _memory_failure(caps: Caps) -> TaskFailure:
    cap = "" if caps.memory_bytes is None else f" of {caps.memory_bytes / 2**20:,.0f} MiB"
    text = f"The model asked for more memory than its cap{cap}."
    return TaskFailure("out-of-memory", text, "Use a smaller model, or raise resources.memory_bytes.")


def _parquet(table: pa.Table) -> bytes:
    import pyarrow.parquet

    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()


def predict(bundle: bytes, task: TaskType, data: Any, format: str | None, proba: bool) -> pa.Table:
    """Predict with a model bundle; ``data`` as in `stage`, or None for series.

    The proxy has checked the bundle's digest, and this is a task process: a caller's own class may be loaded.

    Raises:
        InvalidData: the table does not fit the training schema. InvalidRequest: no probabilities.
        Unavailable: ``prediction-timeout``.
    """
    from rayctl.automl.ingest import normalize, to_table

    table = None if data is None else to_table(_materialize(data), format)
    if table is not None:
        zoned = table.column_names if task is TaskType.FORECASTING else ()
        table = normalize(table, zoned, keep_others=True)
    try:
        with limited(PREDICT_LIMIT_S, None):
            return engine_for(task).predict(bundle, table, proba=proba, allow_pickle=True)
    except TimeCapReached:
        raise Unavailable(
            f"The model has not predicted within {PREDICT_LIMIT_S:g} s.",
            code="prediction-timeout",
            hint="Send fewer rows at once, or train with max_predict_ms.",
        ) from None


_BASE_MODULES = (
    *("pandas", "pyarrow.parquet", "scipy.optimize", "threadpoolctl", "skops.io"),
    *("sklearn.ensemble", "sklearn.linear_model", "sklearn.neural_network", "sklearn.preprocessing"),
    *("sklearn.neighbors", "sklearn.kernel_approximation", "sklearn.decomposition", "sklearn.feature_extraction.text"),
)
_BOOSTERS = ("lightgbm", "catboost")
_SERIES_MODULES = ("statsforecast.models", "statsmodels.tsa.seasonal")
_imported: set[str] = set()


def warm(tasks: Sequence[str]) -> None:
    """Import what trials need, so that the first trial does not pay for it. Once per process."""
    for task in tasks:
        engine_for(TaskType(task))
    _import((*_BASE_MODULES, *_BOOSTERS, *(_SERIES_MODULES if TaskType.FORECASTING.value in tasks else ())))


def _import_for(task: TaskType, model: str) -> None:
    """Import what one model needs; a new process should not wait for libraries of other models."""
    wanted = [name for name in _BOOSTERS if name in model.lower()]
    _import((*_BASE_MODULES, *wanted, *(_SERIES_MODULES if task is TaskType.FORECASTING else ())))


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        if name not in _imported:
            with suppress(ModuleNotFoundError):  # an optional library that is not installed
                importlib.import_module(name)
            _imported.add(name)


def _remote(function: Any, **options: Any) -> Any:
    """Make a function remote; it takes its tenant's envelope beside its arguments."""
    return ray.remote(**options)(carrying(function))


# A trial's task is never repeated by Ray itself: the trainer knows how often it may be, and for what reason.
TRAIN_AND_EVALUATE = _remote(train_and_evaluate, num_cpus=1, max_retries=0)
COMBINE = _remote(combine, num_cpus=0, max_retries=3)
ASSEMBLE = _remote(assemble, num_cpus=0, max_retries=3)
FALL_BACK = _remote(fall_back, num_cpus=0, max_retries=3)
PREPARE = _remote(prepare, num_cpus=0, max_retries=3, num_returns=2)
STAGE = _remote(stage, num_cpus=0, max_retries=2, num_returns=2)
STAGE_URI = _remote(stage_uri, num_cpus=0, max_retries=2, num_returns=2)
PREDICT = _remote(predict, num_cpus=0, max_retries=1)
WARM = _remote(warm, num_cpus=0, max_retries=0)


@lru_cache(maxsize=1)
def versions() -> Mapping[str, str]:
    """Versions of what a result depends on, without importing any of it."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in (
        "rayctl",
        "ray",
        "numpy",
        "pandas",
        "pyarrow",
        "scikit-learn",
        "lightgbm",
        "catboost",
        "statsforecast",
    ):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
