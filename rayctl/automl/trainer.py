"""The actor that trains one run: a thin shell around `rayctl.automl.schedule.Schedule`.

It puts the data into the object store once, submits folds as tasks, journals every ended trial through the
proxy, and returns the outcome. It decides nothing and runs no caller's code. Its proxy is its owner: when the
proxy dies, Ray ends the trainer, and the restarted proxy makes a new one that continues from the journal.
(A detached trainer would survive, but Ray keeps the warm workers of every detached actor apart, and each
run would start with cold processes.)
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any

import ray
from ray.exceptions import RayError, TaskCancelledError

from rayctl.automl import adaptive, tasks
from rayctl.automl.actions import (
    Action,
    Combine,
    FinishRun,
    FoldShape,
    RecordTrial,
    StartFold,
    StopTask,
)
from rayctl.automl.baseline import falls_back, is_baseline, next_number
from rayctl.automl.delivery import INCOMPLETE
from rayctl.automl.engine import Candidate, Combination, Fold, FoldOutcome, engine_for
from rayctl.automl.failures import TaskFailure, failure_of, failure_of_task
from rayctl.automl.journal import Journal
from rayctl.automl.leaderboard import rank, to_csv, with_weights
from rayctl.automl.limits import CombineTime, Limits
from rayctl.automl.model import DataSummary, LeaderboardRow, Resources, RunRequest
from rayctl.automl.pace import Pace
from rayctl.automl.partial import Partial
from rayctl.automl.proposals import Proposals
from rayctl.automl.replay import Replay
from rayctl.automl.schedule import Schedule
from rayctl.automl.search import derive_seed, expand_search_space, seed_key
from rayctl.automl.selection import worth_keeping
from rayctl.automl.sequence import candidate_of, with_recorded
from rayctl.automl.strategy import KnownTrial, Strategy
from rayctl.automl.tasks import Assembled, Caps
from rayctl.automl.trial_files import FoundTrial, TrialFiles
from rayctl.automl.turns import FoldTask, Turns
from rayctl.errors import RayctlError
from rayctl.state.artifacts import ArtifactStore, StoredArtifact
from rayctl.tenancy.calls import ENVELOPE

__all__ = ["Outcome", "TrainerActor", "TrainingOrder"]

log = logging.getLogger(__name__)

STOP_DELAY_S = 0.1


@dataclass(frozen=True)
class TrainingOrder:
    """Everything a trainer needs to know. Times are seconds since the epoch.

    ``folder``: where the trials' files are kept, and looked for; ``earlier_folder``: also looked at (the run that this
    one continues). ``recorded`` are the trials that ended before (after a crash); ``replay``: the run that is repeated.
    ``slots`` is how many tasks may be in flight, and ``prefetch`` whether short folds may wait beyond that, and share
    tasks (they may not where a ceiling is to be kept). ``helper_cpus``: what the tasks beside the trials reserve.
    ``runtime_env``: of the tasks, the tenant's included;
    ``envelope``: the tenant's configuration.
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
    folder: str
    earlier_folder: str | None = None
    prefetch: bool = False
    helper_cpus: float = 0.0
    recorded: tuple[LeaderboardRow, ...] = ()
    replay: Replay | None = None
    runtime_env: dict[str, Any] | None = None
    envelope: bytes | None = None


@dataclass(frozen=True)
class Outcome:
    """How the training ended.

    ``combination`` is what was delivered, ``trial`` the best of its trials; None with ``error`` or a cancellation.
    ``predict_ms``: see `RunView`.
    """

    trial: int | None
    combination: Combination | None
    reason: str
    error: dict[str, Any] | None = None
    artifacts: tuple[StoredArtifact, ...] = ()
    predict_ms: float | None = None


class TrainerActor:
    """One run. ``run`` returns its `Outcome`; ``stop`` cancels; ``set_slots`` changes its share of the cluster."""

    def __init__(self) -> None:
        self._schedule: Schedule | None = None
        self._wake = asyncio.Event()
        self._stopped = False
        self._closed = False
        self._slots: int | None = None
        self._running: dict[tuple[int, int], FoldTask] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._outcomes: dict[int, dict[int, ray.ObjectRef]] = {}
        self._kept: tuple[int, tuple[int, ...]] = (0, ())

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

    async def close(self) -> None:
        """End the search as if the time were up: the best so far is delivered."""
        self._closed = True
        self._wake.set()

    async def run(self, order: TrainingOrder, proxy: Any) -> Outcome:
        """Train until the schedule says that the run is over."""
        # A baseline that was journalled before a crash is made again: it is no trial to build on.
        recorded = tuple(row for row in order.recorded if not is_baseline(row))
        self._order = order = replace(order, recorded=recorded)
        self._proxy = proxy
        self._store = ArtifactStore(order.store_url)
        self._carried: dict[str, Any] = {} if order.envelope is None else {ENVELOPE: order.envelope}
        data = await asyncio.to_thread(self._store.get, order.data_key)
        trial_options = _options(order.request.resources, order.runtime_env)
        options = trial_options | {"num_cpus": order.helper_cpus}
        self._prepared, self._folds_ref = tasks.PREPARE.options(**options, num_returns=2).remote(
            ray.put(data), order.request, **self._carried
        )
        del data
        self._warming = asyncio.ensure_future(self._warm())
        try:
            self._folds: list[Fold] = await self._folds_ref
        except RayError as error:
            return Outcome(None, None, "failed", failure_of_task(error).as_error)
        self._files, *self._earlier_files = self._open_files()
        known = await asyncio.to_thread(self._find_known)
        # Made once: both cost more than the submission of a task.
        self._request_json = order.request.model_dump_json(exclude_unset=True)
        self._evaluate = lru_cache(lambda count: tasks.TRAIN_AND_EVALUATE.options(num_returns=count, **trial_options))
        self._schedule = schedule = self._make_schedule(known)
        self._turns = Turns(lambda: schedule.slots, schedule.longest_task_s)
        again = f", {len(order.recorded)} trials were there already" if order.recorded else ""
        reused = f", {len(known)} trials of earlier runs can be used" if known else ""
        rows = f"{order.summary.rows} rows, {len(self._folds)} folds"
        self._proxy.note.remote(order.run_id, f"training starts: {rows}{again}{reused}")  # nobody waits for it
        self._journal = Journal(order.run_id, proxy, self._files, self._to_keep, lambda: schedule.running_trials)
        journal = asyncio.create_task(self._journal.work(self._written))
        try:
            finish = await self._drive(schedule)
        finally:
            self._journal.close()
            await journal
        return await self._deliver(finish)

    async def _warm(self) -> None:
        """Have a process beside those of the trials that has imported what weights and packing need.

        Without it the last steps would meet a new process, whose imports take longer than all else that they do. Where
        these steps wait for a CPU anyway, they find the processes of the trials.
        """
        if self._order.helper_cpus:
            return
        warm = tasks.WARM.options(runtime_env=self._order.runtime_env)
        try:
            await warm.remote([self._order.request.task.value])
        except RayError as error:  # it only saves time
            log.info("run %s: no process was warmed: %s", self._order.run_id, error)

    # What is tried ----------------------------------------------------------------------------------

    def _find_known(self) -> dict[str, FoundTrial]:
        """Return the trials of earlier runs that answer the same question (and of this run, after a crash)."""
        if self._order.replay is not None:
            return {}
        found: dict[str, FoundTrial] = {}
        for files in (*self._earlier_files, self._files):
            found |= files.find()
        return found

    def _open_files(self) -> list[TrialFiles]:
        """Return the folders of this and of earlier runs' trials. Only trials on the same folds are equal."""
        shape = [(fold.group, fold.weight, fold.scored, len(fold.train), len(fold.test)) for fold in self._folds]
        suffix = sha256(repr(shape).encode()).hexdigest()[:16]
        folders = [self._order.folder, *([self._order.earlier_folder] if self._order.earlier_folder else [])]
        return [TrialFiles(self._store, f"{folder}-{suffix}") for folder in folders]

    def _make_schedule(self, known: Mapping[str, FoundTrial]) -> Schedule:
        order, request = self._order, self._order.request
        engine = engine_for(request.task)
        in_time = request.search_space is None and order.limits.deadline_at is not None
        spaces = {} if request.search_space is not None else engine.spaces(order.summary, request)

        def adapt(rows: Sequence[LeaderboardRow], number: int) -> Candidate | None:
            return adaptive.propose(spaces, rows, order.greater_is_better, request.seed, number)

        searches = bool(spaces) and order.replay is None
        # Everything that earlier runs found is taken over where the sequence need not be the same every time.
        take_over = request.search_space is None and (in_time or request.continues is not None)
        return Schedule(
            Proposals(self._fixed(known if take_over else {}), adapt if searches else None, ordered=not in_time),
            [FoldShape(fold.group, fold.weight, fold.scored) for fold in self._folds],
            order.greater_is_better,
            replace(order.limits, rows_factor=self._rows_factor(), forecasts=_forecasts(order.summary, request)),
            self._slots or order.slots,
            Strategy(
                ensemble=request.delivers_ensemble,
                bounded=request.max_predict_ms is not None,
                race=in_time,
                prefetch=order.prefetch,
                replay=order.replay,
            ),
            Pace(lambda candidate: engine.cost(order.summary, request, candidate)),
            order.recorded,
            {key: _known_trial(trial) for key, trial in known.items()},
            order.memory_bytes,
        )

    def _fixed(self, known: Mapping[str, FoundTrial]) -> Iterator[Candidate]:
        """Yield what is tried before adaptive search: the caller's grid, or what is known and the portfolio."""
        order, request = self._order, self._order.request
        if request.search_space is not None:
            yield from expand_search_space(request.search_space)
            return
        if order.replay is not None:
            yield from (candidate_of(row) for _, row in sorted(order.replay.rows.items()))
            return
        portfolio = engine_for(request.task).portfolio(order.summary, request)
        if not known:
            yield from portfolio
            return
        yield from with_recorded([*(trial.candidate for trial in known.values()), *portfolio], order.recorded)

    # The loop ---------------------------------------------------------------------------------------

    async def _drive(self, schedule: Schedule) -> FinishRun:
        while True:
            self._wake.clear()
            if self._stopped:
                schedule.cancel()
            elif self._closed:
                schedule.close()
            now = time.time()
            actions = schedule.plan(now)
            self._drop_unwanted(schedule)
            self._start([action for action in actions if isinstance(action, StartFold)])
            for action in actions:
                if isinstance(action, FinishRun):
                    return action
                self._perform(action)
            check = schedule.next_check(now)
            try:
                await asyncio.wait_for(self._wake.wait(), None if check is None else max(0.001, check - time.time()))
            except asyncio.TimeoutError:
                continue

    def _perform(self, action: Action) -> None:
        if isinstance(action, StopTask):
            self._background(self._stop_task(action))
        elif isinstance(action, RecordTrial):
            self._journal.add(action)
        elif isinstance(action, Combine):
            self._background(self._run_combine(action))

    def _background(self, work: Any) -> None:
        job = asyncio.create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    def _drop_unwanted(self, schedule: Schedule) -> None:
        """What waits and is being stopped does not begin any more, and so has ended."""
        for key in schedule.stopping:
            if self._turns.drop(key):
                schedule.fold_left(*key)
                self._wake.set()

    async def _stop_task(self, action: StopTask) -> None:
        """Cancel a task. Soft cancellation interrupts Python code and keeps the worker; force ends the process.

        Not at once: Ray 2.60 crashes the process that cancels a task in the very moment in which it hands that task to
        a worker (its pull requests 52703 and 54798 mended two more races like this), and both happen when a fold ends.
        """
        key = (action.trial, action.fold)
        task = self._running.get(key)
        await asyncio.sleep(STOP_DELAY_S)
        if task is not None and self._running.get(key) is task and task.stop(key, action.force):
            ray.cancel(task.refs[0], force=action.force, recursive=True)

    def _start(self, starts: Sequence[StartFold]) -> None:
        for start in starts:
            if self._folds[start.fold].scored:
                self._turns.wait(start)
            else:  # for what is delivered: nothing that is being stopped holds it up
                self._run(self._turns.begin([start]))
        self._next_tasks()

    def _next_tasks(self) -> None:
        while (task := self._turns.next()) is not None:
            self._run(task)

    def _run(self, task: FoldTask) -> None:
        task.refs = self._submit(task.starts)
        self._running |= dict.fromkeys(task.keys, task)
        self._background(self._run_folds(task))

    async def _run_folds(self, task: FoldTask) -> None:
        """Wait for a task; what becomes of its folds is told all at once, so that their successors share tasks, too."""
        try:
            outcomes = await asyncio.gather(*task.refs, return_exceptions=True)
        finally:
            self._turns.end(task)
        for start, ref, outcome in zip(task.starts, task.refs, outcomes, strict=True):
            del self._running[(start.trial, start.fold)]
            self._tell(start, ref, outcome)
        # Not before: Ray is given the time to take the worker back, or it would start a process for the next task.
        if not self._stopped and not self._closed:
            self._next_tasks()
        self._wake.set()

    def _tell(self, start: StartFold, ref: ray.ObjectRef, outcome: FoldOutcome | TaskFailure | BaseException) -> None:
        schedule, key, now = self._schedule, (start.trial, start.fold), time.time()
        assert schedule is not None
        if isinstance(outcome, FoldOutcome):
            self._outcomes.setdefault(start.trial, {})[start.fold] = ref
            schedule.fold_done(*key, tasks.result_of(outcome), now)
        elif isinstance(outcome, TaskCancelledError):
            schedule.fold_lost(*key, {"code": "cancelled", "message": "The task was cancelled."}, now)
        elif isinstance(outcome, TaskFailure) and outcome.code == tasks.NOT_BEGUN:
            schedule.fold_left(*key)
        else:
            failure = outcome if isinstance(outcome, TaskFailure) else failure_of_task(outcome)
            ended = schedule.fold_lost if failure.code in ("worker-died", "deadline") else schedule.fold_failed
            ended(*key, failure.as_error, now)

    def _submit(self, starts: Sequence[StartFold]) -> list[ray.ObjectRef]:
        """Submit one task; return a reference to each fold's outcome."""
        jobs = [self._job(start) for start in starts]
        data = [self._prepared, self._folds_ref]
        refs = self._evaluate(len(jobs)).remote(data, jobs, self._request_json, **self._carried)
        return [refs] if len(jobs) == 1 else list(refs)

    def _job(self, start: StartFold) -> tasks.FoldJob:
        schedule, candidate = self._schedule, start.candidate
        assert schedule is not None
        # A fold ends itself when searching stops: an interrupted worker stays warm, a killed one does not.
        caps = replace(self._caps(schedule.fold_ends_at(start.fold)), soft_s=start.soft_s)
        seed = derive_seed(self._order.request.seed, seed_key(candidate), start.fold)
        return tasks.FoldJob(candidate, start.fold, seed, caps, start.stop_at, start.quick_s or 0.0)

    async def _run_combine(self, action: Combine) -> None:
        schedule = self._schedule
        assert schedule is not None
        try:
            result = await self._combine(action.trials)
        except RayctlError as error:
            result = failure_of(error)
        except RayError as error:
            result = failure_of_task(error)
        if isinstance(result, TaskFailure):
            log.warning("run %s: no combination: %s", self._order.run_id, result.message)
            schedule.combine_failed(action.trials, result.as_error)
        else:
            combination, took = result
            schedule.combined(action.trials, combination, took)
            news = {"score": combination.score, "weights": {str(t): w for t, w in combination.weights.items()}}
            self._proxy.note_ensemble.remote(self._order.run_id, news)
        self._wake.set()

    async def _combine(self, trials: Sequence[int]) -> tuple[Combination, CombineTime] | TaskFailure:
        await asyncio.wait([self._warming])  # beside it, a process newer still would have to import everything
        scored = [index for index, fold in enumerate(self._folds) if fold.scored]
        refs = {trial: await self._outcomes_of(trial, scored) for trial in trials}
        task = tasks.COMBINE.options(runtime_env=self._order.runtime_env, num_cpus=self._order.helper_cpus)
        result: tuple[Combination, CombineTime] | TaskFailure = await task.remote(
            self._prepared, self._folds, refs, self._request_json, self._caps(None), **self._carried
        )
        return result

    async def _outcomes_of(self, trial: int, folds: Sequence[int]) -> list[ray.ObjectRef]:
        """Return references to a trial's outcomes: kept in memory, read from its files, or made again (same seeds)."""
        assert self._schedule is not None
        there = dict(self._outcomes.get(trial, {}))
        candidate = self._schedule.candidate(trial)
        if any(fold not in there for fold in folds):
            for files in (self._files, *self._earlier_files):
                stored = await asyncio.to_thread(files.load, candidate)
                there |= {fold: ray.put(outcome) for fold, outcome in stored.items() if fold not in there}
        row = next(row for row in self._schedule.rows if row.trial == trial)
        for fold in folds:
            if fold not in there:
                [there[fold]] = self._submit([StartFold(trial, fold, candidate, 0, stop_at=row.stopped_at.get(fold))])
                if isinstance(outcome := await there[fold], TaskFailure):
                    raise RayctlError(
                        f"Trial {trial} could not be fitted again: {outcome.message}",
                        code=outcome.code,
                        hint=outcome.hint or "Extend the run, or submit it again.",
                    )
        if trial in self._worth_keeping():
            self._outcomes.setdefault(trial, {}).update(there)
        return [there[fold] for fold in folds]

    # What tasks get ---------------------------------------------------------------------------------

    def _caps(self, deadline_at: float | None) -> Caps:
        return Caps(self._order.limits.fold_timeout_s, deadline_at, self._order.memory_bytes)

    def _rows_factor(self) -> float:
        """Rows of an unscored fold per row of a scored fold's train part."""
        scored = [len(fold.train) for fold in self._folds if fold.scored]
        final = [len(fold.train) for fold in self._folds if not fold.scored]
        return max(1.0, (sum(final) / len(final)) / (sum(scored) / len(scored))) if final and scored else 1.0

    # The journal ------------------------------------------------------------------------------------

    def _worth_keeping(self) -> tuple[int, ...]:
        assert self._schedule is not None
        ended = self._schedule.ended
        if self._kept[0] != ended:  # asked for each trial
            self._kept = ended, worth_keeping(self._schedule.rows, self._order.greater_is_better)
        return self._kept[1]

    def _to_keep(self, record: RecordTrial) -> Mapping[int, ray.ObjectRef]:
        """Return the outcomes of a trial that others may need: it has no score yet, or may be delivered."""
        wanted = record.row.score is None or record.row.trial in self._worth_keeping()
        return self._outcomes.get(record.row.trial, {}) if wanted else {}

    async def _written(self, answer: Mapping[str, Any]) -> None:
        """Trials were written down: forget what nobody will need, and do what the proxy wants."""
        assert self._schedule is not None
        kept, ended = set(self._worth_keeping()), {row.trial for row in self._schedule.rows}
        for trial in [trial for trial in self._outcomes if trial in ended and trial not in kept]:
            del self._outcomes[trial]
        if answer["cancelled"]:
            await self.stop()
        if answer["slots"] != self._schedule.slots:
            await self.set_slots(answer["slots"])

    # The result --------------------------------------------------------------------------------------

    async def _deliver(self, finish: FinishRun) -> Outcome:
        assert self._schedule is not None
        if finish.combination is None:
            instead = await self._fall_back(finish) if falls_back(finish.error, self._order.request) else None
            return instead or Outcome(None, None, finish.reason, dict(finish.error) if finish.error else None)
        order, combination = self._order, finish.combination
        folds = self._delivered_folds(combination)
        partial = Partial.of(combination.settings)
        lacks = {} if partial is None else partial.missing
        refs = {
            trial: await self._outcomes_of(trial, [f.index for f in folds if f.index not in lacks.get(trial, ())])
            for trial in combination.weights
        }
        candidates = {trial: self._schedule.candidate(trial) for trial in combination.weights}
        cpus = 0.0 if order.limits.deadline_at is not None else order.helper_cpus  # a deadline waits for nobody
        task = tasks.ASSEMBLE.options(runtime_env=order.runtime_env, num_cpus=cpus)
        parts = (self._prepared, folds, candidates, refs, combination, self._request_json, order.memory_bytes)
        assembled: Assembled | TaskFailure = await task.remote(*parts, **self._carried)
        if isinstance(assembled, TaskFailure):
            return Outcome(None, None, "failed", assembled.as_error)
        outcome = await self._store_result(dict(assembled.files), self._schedule.rows, combination, finish.reason)
        return replace(outcome, predict_ms=assembled.predict_ms)

    async def _fall_back(self, finish: FinishRun) -> Outcome | None:
        """Deliver the baseline, because no trial has ended; None if not even that can be scored."""
        assert self._schedule is not None
        order, rows = self._order, self._schedule.rows
        candidate = engine_for(order.request.task).baseline(order.summary, order.request)
        task = tasks.FALL_BACK.options(runtime_env=order.runtime_env)
        parts = (self._prepared, self._folds, next_number(rows), candidate, self._request_json, self._caps(None))
        try:
            made = await task.remote(*parts, **self._carried)
        except RayError as error:
            made = failure_of_task(error)
        if isinstance(made, TaskFailure):
            log.warning("run %s: no baseline: %s", order.run_id, made.message)
            return None
        row, combination, files = made
        await self._journal.write([RecordTrial(row, candidate, {})])
        return await self._store_result(files, [*rows, row], combination, finish.reason)

    async def _store_result(
        self, files: dict[str, bytes], trials: Sequence[LeaderboardRow], combination: Combination, reason: str
    ) -> Outcome:
        order = self._order
        rows = with_weights(rank(trials, order.greater_is_better), combination.weights)
        files["leaderboard.csv"] = to_csv(rows).encode()
        files["leaderboard.json"] = ("[" + ",\n ".join(row.model_dump_json() for row in rows) + "]\n").encode()
        stored = await asyncio.gather(
            *(asyncio.to_thread(self._store.put, f"runs/{order.run_id}/{name}", files[name]) for name in sorted(files))
        )
        best = next(row.trial for row in rows if row.trial in combination.weights)
        return Outcome(best, combination, reason, None, tuple(stored))

    def _delivered_folds(self, combination: Combination) -> list[Fold]:
        """Return the folds that the delivered trials have: all, but for one that time cut short (`INCOMPLETE`)."""
        assert self._schedule is not None
        rows = {row.trial: row for row in self._schedule.rows}
        for trial in combination.weights:
            if (rows[trial].error or {}).get("code") == INCOMPLETE:
                there = self._outcomes.get(trial, {})
                return [fold for fold in self._folds if fold.index in there]
        return self._folds


def _forecasts(summary: DataSummary, request: RunRequest) -> int:
    return (summary.series or 0) * (request.horizon or 0)


def _known_trial(trial: FoundTrial) -> KnownTrial:
    """Return what the schedule may take over. Fits that the end of a run cut short are not worth having."""
    done = trial.row.score is not None
    given_up = (trial.row.error or {}).get("code") == "abandoned"
    results = {fold: result for fold, result in trial.results.items() if done or result.stopped_at is None}
    return KnownTrial(results, trial.row if done or given_up else None)


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
