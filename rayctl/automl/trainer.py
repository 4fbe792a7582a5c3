"""The actor that trains one run: a thin shell around `rayctl.automl.schedule.Schedule`.

It puts the data into the object store once, submits folds as tasks, journals every ended trial through the
proxy, and returns the outcome. It decides nothing and runs no caller's code. Its proxy is its owner: when the
proxy dies, Ray ends the trainer, and the restarted proxy makes a new one that continues from the journal.
(A detached trainer would survive, but Ray keeps the warm workers of every detached actor apart, and each
run would start with cold processes.)
"""

from __future__ import annotations

import asyncio
import io
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, RuntimeEnvSetupError, TaskCancelledError

from rayctl.automl import tasks
from rayctl.automl.engine import Candidate, Fold, FoldOutcome, engine_for
from rayctl.automl.leaderboard import best_row, rank, to_csv
from rayctl.automl.model import DataSummary, LeaderboardRow, Resources, RunRequest
from rayctl.automl.schedule import Action, FinishRun, FitFinal, Limits, RecordTrial, Schedule, StartFold, StopTask
from rayctl.automl.search import derive_seed, expand_search_space
from rayctl.automl.tasks import Caps, TaskFailure
from rayctl.errors import NotFound, RayctlError
from rayctl.state.artifacts import ArtifactStore, StoredArtifact

__all__ = ["Outcome", "TrainerActor", "TrainingOrder"]

log = logging.getLogger(__name__)

JOURNAL_RETRY_S = 1.0
JOURNAL_BATCH_S = 0.02
"""Trials that end within this time are written in one transaction."""


@dataclass(frozen=True)
class TrainingOrder:
    """Everything a trainer needs to know. Times are seconds since the epoch.

    ``recorded`` are the trials that ended before (after a crash); ``slots`` is how many tasks may be in flight, and
    ``prefetch`` whether tasks of milliseconds may queue up beyond that (they may not where a ceiling is to be kept).
    """

    run_id: str
    request: RunRequest
    summary: DataSummary
    metric: str
    greater_is_better: bool
    data_key: str
    store_url: str
    limits: Limits
    slots: int
    memory_bytes: int | None
    prefetch: bool = False
    recorded: tuple[LeaderboardRow, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How the training ended. ``trial`` is the delivered one; None with ``error`` or a cancellation."""

    trial: int | None
    reason: str
    error: dict[str, Any] | None = None
    artifacts: tuple[StoredArtifact, ...] = ()


class TrainerActor:
    """One run. ``run`` returns its `Outcome`; ``stop`` cancels; ``set_slots`` changes its share of the cluster."""

    def __init__(self) -> None:
        self._schedule: Schedule | None = None
        self._wake = asyncio.Event()
        self._stopped = False
        self._slots: int | None = None
        self._refs: dict[tuple[int, int | None], ray.ObjectRef] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._predictions: dict[tuple[int, int], Any] = {}
        self._bundles: dict[int, ray.ObjectRef] = {}
        self._kept: set[int] = set()
        self._journal: asyncio.Queue[RecordTrial | None] = asyncio.Queue()

    async def ping(self) -> bool:
        """Answer once the process is up."""
        return True

    async def set_slots(self, slots: int) -> None:
        """Change how many tasks may be in flight."""
        self._slots = slots
        if self._schedule is not None:
            self._schedule.slots = slots
        self._wake.set()

    async def stop(self) -> None:
        """Cancel the run: its tasks are stopped and `run` returns a cancelled outcome."""
        self._stopped = True
        self._wake.set()

    async def run(self, order: TrainingOrder, proxy: Any) -> Outcome:
        """Train until the schedule says that the run is over."""
        self._order = order
        self._proxy = proxy
        self._store = ArtifactStore(order.store_url)
        data = await asyncio.to_thread(self._store.get, order.data_key)
        options = _options(order.request.resources, order.request.runtime_env) | {"num_cpus": 0}
        self._prepared, folds_ref = tasks.PREPARE.options(**options, num_returns=2).remote(ray.put(data), order.request)
        del data
        try:
            self._folds: list[Fold] = await folds_ref
        except RayError as error:
            return Outcome(None, "failed", _failure(error).as_error)
        # Made once: both cost more than the submission of a task.
        self._request_json = order.request.model_dump_json(exclude_unset=True)
        self._train_and_evaluate = tasks.TRAIN_AND_EVALUATE.options(
            **_options(order.request.resources, order.request.runtime_env)
        )
        self._fold_refs = [ray.put(fold) for fold in self._folds]
        self._schedule = Schedule(
            self._candidates(),
            len(self._folds),
            order.greater_is_better,
            replace(order.limits, rows_factor=self._rows_factor()),
            self._slots or order.slots,
            order.recorded,
            prefetch=order.prefetch,
        )
        rows = f"{order.summary.rows} rows, {len(self._folds)} folds"
        again = f", {len(order.recorded)} trials were there already" if order.recorded else ""
        self._proxy.note.remote(order.run_id, f"training starts: {rows}{again}")  # nobody waits for it
        journal = asyncio.create_task(self._write_journal())
        try:
            finish = await self._drive(self._schedule)
        finally:
            self._journal.put_nowait(None)
            await journal
        return await self._deliver(finish)

    # The loop ---------------------------------------------------------------------------------------

    async def _drive(self, schedule: Schedule) -> FinishRun:
        while True:
            self._wake.clear()
            if self._stopped:
                schedule.cancel()
            now = time.time()
            for action in schedule.plan(now):
                if isinstance(action, FinishRun):
                    return action
                self._perform(action)
            check = schedule.next_check(now)
            try:
                await asyncio.wait_for(self._wake.wait(), None if check is None else max(0.001, check - time.time()))
            except asyncio.TimeoutError:
                continue

    def _perform(self, action: Action) -> None:
        if isinstance(action, StartFold):
            self._background(self._run_fold(action))
        elif isinstance(action, FitFinal):
            self._background(self._run_final(action))
        elif isinstance(action, StopTask):
            ref = self._refs.get((action.trial, action.fold))
            if ref is not None:
                # Soft cancellation interrupts Python code and keeps the worker; force ends the process.
                ray.cancel(ref, force=action.force, recursive=True)
        elif isinstance(action, RecordTrial):
            self._journal.put_nowait(action)

    def _background(self, work: Any) -> None:
        job = asyncio.create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _run_fold(self, action: StartFold) -> None:
        schedule, key = self._schedule, (action.trial, action.fold)
        assert schedule is not None
        request = self._order.request
        ref = self._train_and_evaluate.remote(
            self._prepared,
            self._fold_refs[action.fold],
            action.candidate,
            self._request_json,
            derive_seed(request.seed, action.trial, action.fold),
            # A fold ends itself when searching stops: an interrupted worker stays warm, a killed one does not.
            self._caps(schedule.stop_searching_at),
        )
        self._refs[key] = ref
        try:
            outcome: FoldOutcome | TaskFailure = await ref
        except TaskCancelledError:
            schedule.fold_lost(*key, {"code": "cancelled", "message": "The task was cancelled."}, time.time())
        except RayError as error:
            failure = _failure(error)
            ended = schedule.fold_lost if failure.code == "worker-died" else schedule.fold_failed
            ended(*key, failure.as_error, time.time())
        else:
            if isinstance(outcome, FoldOutcome):
                self._predictions[key] = outcome.predictions
                schedule.fold_done(*key, outcome.score, outcome.fit_s, outcome.predict_s)
            elif outcome.code == "deadline":
                schedule.fold_lost(*key, outcome.as_error, time.time())
            else:
                schedule.fold_failed(*key, outcome.as_error, time.time())
        finally:
            del self._refs[key]
            self._wake.set()

    async def _run_final(self, action: FitFinal) -> None:
        schedule = self._schedule
        assert schedule is not None
        request = self._order.request
        limits = self._order.limits
        caps = replace(self._caps(limits.deadline_at), seconds=4 * limits.fold_timeout_s)
        options = _options(request.resources, request.runtime_env)
        outcome_ref, bundle_ref = tasks.FIT_FINAL.options(**options, num_returns=2).remote(
            self._prepared, action.candidate, request, derive_seed(request.seed, action.trial, -1), caps
        )
        self._refs[(action.trial, None)] = outcome_ref
        try:
            outcome: float | TaskFailure = await outcome_ref
        except TaskCancelledError:
            schedule.final_lost(action.trial, {"code": "cancelled", "message": "The final fit was cancelled."})
        except RayError as error:
            failure = _failure(error)
            ended = schedule.final_lost if failure.code == "worker-died" else schedule.final_failed
            ended(action.trial, failure.as_error)
        else:
            if isinstance(outcome, TaskFailure):
                schedule.final_failed(action.trial, outcome.as_error)
            else:
                # Only the newest leader's model is ever delivered.
                self._bundles = {action.trial: bundle_ref}
                schedule.final_done(action.trial, outcome)
        finally:
            del self._refs[(action.trial, None)]
            self._wake.set()

    # What tasks get ---------------------------------------------------------------------------------

    def _candidates(self) -> Any:
        request = self._order.request
        if request.search_space is not None:
            return expand_search_space(request.search_space)
        return engine_for(request.task).portfolio(self._order.summary, request)

    def _caps(self, deadline_at: float | None) -> Caps:
        return Caps(self._order.limits.fold_timeout_s, deadline_at, self._order.memory_bytes)

    def _rows_factor(self) -> float:
        train = sum(len(fold.train) for fold in self._folds) / len(self._folds)
        rows = max(len(fold.train) + len(fold.test) for fold in self._folds)
        return max(1.0, rows / max(train, 1.0))

    # The journal ------------------------------------------------------------------------------------

    async def _write_journal(self) -> None:
        """Write ended trials in batches: predictions first, then the rows. Repeats until it is done."""
        open_end = True
        while open_end:
            batch = [await self._journal.get()]
            if batch[0] is not None:
                await asyncio.sleep(JOURNAL_BATCH_S)
            while not self._journal.empty():
                batch.append(self._journal.get_nowait())
            open_end = None not in batch
            rows = [record.row for record in batch if record is not None]
            if rows:
                await self._journal_rows(rows)

    async def _journal_rows(self, rows: Sequence[LeaderboardRow]) -> None:
        assert self._schedule is not None
        texts = [row.model_dump_json() for row in rows]
        leader = best_row(self._schedule.rows, self._order.greater_is_better)
        while True:
            try:
                if leader is not None:
                    await self._keep_predictions(leader.trial)
                answer = await self._proxy.record.remote(self._order.run_id, texts, self._schedule.running_trials)
            except (RayctlError, RayError) as error:
                # A full disk or a proxy that is starting again: the trials are safe in memory meanwhile.
                log.warning("run %s: the journal cannot be written, trying again: %s", self._order.run_id, error)
                await asyncio.sleep(JOURNAL_RETRY_S)
                continue
            break
        for row in rows:
            for fold in range(len(self._folds)):
                self._predictions.pop((row.trial, fold), None)
        if answer["cancelled"]:
            await self.stop()
        if answer["slots"] != self._schedule.slots:
            await self.set_slots(answer["slots"])

    async def _keep_predictions(self, trial: int) -> None:
        """Keep the leader's validation predictions; those of trials that never led can be made again."""
        import numpy as np

        keys = [(trial, fold) for fold in range(len(self._folds))]
        if trial in self._kept or any(key not in self._predictions for key in keys):
            return
        out = io.BytesIO()
        np.savez(out, allow_pickle=False, **{str(fold): self._predictions[(trial, fold)] for _, fold in keys})
        await asyncio.to_thread(self._store.put, _predictions_key(self._order.run_id, trial), out.getbuffer())
        self._kept.add(trial)

    # The result --------------------------------------------------------------------------------------

    async def _deliver(self, finish: FinishRun) -> Outcome:
        assert self._schedule is not None
        if finish.trial is None:
            return Outcome(None, finish.reason, dict(finish.error) if finish.error else None)
        trial, bundle_ref = finish.trial, self._bundles[finish.trial]
        predictions = await self._predictions_of(trial)
        order = self._order
        files: dict[str, bytes] = await tasks.PACKAGE.options(runtime_env=order.request.runtime_env, num_cpus=0).remote(
            self._prepared, bundle_ref, self._folds, predictions, order.summary, order.request.task
        )
        files["model.zip"] = await bundle_ref
        rows = rank(self._schedule.rows, order.greater_is_better)
        files["leaderboard.csv"] = to_csv(rows).encode()
        files["leaderboard.json"] = ("[" + ",\n ".join(row.model_dump_json() for row in rows) + "]\n").encode()
        stored = await asyncio.to_thread(self._store_files, files)
        return Outcome(trial, finish.reason, None, tuple(stored))

    async def _predictions_of(self, trial: int) -> list[Any]:
        """Return a trial's validation predictions, per fold; made again if they were not kept (same seeds)."""
        import numpy as np

        try:
            data = await asyncio.to_thread(self._store.get, _predictions_key(self._order.run_id, trial))
        except NotFound:
            assert self._schedule is not None
            candidate = self._schedule.candidate(trial)
            return [await self._predict_again(candidate, trial, fold) for fold in range(len(self._folds))]
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return [arrays[str(fold)] for fold in range(len(self._folds))]

    async def _predict_again(self, candidate: Candidate, trial: int, fold: int) -> Any:
        seed = derive_seed(self._order.request.seed, trial, fold)
        arguments = (self._prepared, self._fold_refs[fold], candidate, self._request_json, seed, self._caps(None))
        options = _options(self._order.request.resources, self._order.request.runtime_env) | {"max_retries": 3}
        outcome: FoldOutcome | TaskFailure = await tasks.TRAIN_AND_EVALUATE.options(**options).remote(*arguments)
        if isinstance(outcome, TaskFailure):
            raise RayctlError(f"Trial {trial} could not be evaluated again: {outcome.message}", code=outcome.code)
        return outcome.predictions

    def _store_files(self, files: dict[str, bytes]) -> list[StoredArtifact]:
        return [self._store.put(f"runs/{self._order.run_id}/{name}", files[name]) for name in sorted(files)]


def _predictions_key(run_id: str, trial: int) -> str:
    return f"runs/{run_id}/trials/{trial}.npz"


def _options(resources: Resources, runtime_env: dict[str, Any] | None) -> dict[str, Any]:
    options: dict[str, Any] = {"num_cpus": resources.cpus}
    if resources.gpus:
        options["num_gpus"] = resources.gpus
    if resources.memory_bytes:
        options["memory"] = resources.memory_bytes
    if resources.custom:
        options["resources"] = dict(resources.custom)
    if runtime_env:
        options["runtime_env"] = runtime_env
    return options


def _failure(error: RayError) -> TaskFailure:
    """Say why a task gave nothing: the environment, memory, the caller's data, or a dead worker."""
    if isinstance(error, RuntimeEnvSetupError):
        return TaskFailure("environment-error", f"The runtime environment could not be built: {error.error_message}")
    if isinstance(error, OutOfMemoryError):
        return TaskFailure("out-of-memory", "The worker was stopped because its node ran out of memory.")
    if isinstance(error, RayTaskError):
        cause = error.cause
        if isinstance(cause, RayctlError):
            return TaskFailure(cause.code, cause.message)
        return TaskFailure("model-error", f"{type(cause).__name__}: {cause}"[:500])
    return TaskFailure("worker-died", f"The worker process died ({type(error).__name__}).")
