"""Running runs: starts their trainers, brings them back when they die, keeps their results.

Lives in the proxy. What it needs to know after a crash is in the state database; `recover` reads it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError, RuntimeEnvSetupError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rayctl.automl import tasks
from rayctl.automl.admission import Demand, TenantBound, fair_slots, may_start
from rayctl.automl.cluster import ClusterView, NodeView, default_memory_bytes
from rayctl.automl.limits import Limits
from rayctl.automl.model import DataSummary, LeaderboardRow, RunRequest, RunState
from rayctl.automl.port import RAY_NAMESPACE, trainer_name
from rayctl.automl.replay import Replay
from rayctl.automl.tenant_work import TenantWork
from rayctl.automl.trainer import Outcome, TrainerActor, TrainingOrder
from rayctl.automl.trial_files import prune, question_folder
from rayctl.errors import Conflict, InvalidRequest, NotFound, RayctlError, Unavailable
from rayctl.settings import ServiceSettings
from rayctl.state.artifacts import ArtifactStore
from rayctl.tenancy.model import TenantConfig

if TYPE_CHECKING:
    from rayctl.state.runs import RunStore

__all__ = ["Supervisor"]

log = logging.getLogger(__name__)

MAX_DEATHS = 5
"""So many deaths of a run's trainer in a row, without a new trial in between, end the run."""
CANCEL_GRACE_S = 1.5


class Supervisor:
    """The queue of accepted runs and one asyncio task per running run.

    Args:
        changed: Called with a run id after each change of that run, and whether that was its end.
        work: Says what the tasks of a run are given of their tenant.
        bounds: Tenant → what its runs may use together.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        store: ArtifactStore,
        runs: RunStore,
        cluster: ClusterView,
        changed: Callable[[str, bool], None],
        work: TenantWork,
        bounds: Mapping[str, TenantBound] | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._runs = runs
        self._cluster = cluster
        self._changed = changed
        self._work = work
        self._bounds = dict(bounds or {})
        self._waiting: list[Demand] = []
        self._admitted: dict[str, Demand] = {}
        self._training: dict[str, asyncio.Task[None]] = {}
        self._trainers: dict[str, Any] = {}
        self._demands: dict[str, Demand] = {}
        self._slots: dict[str, int] = {}
        self._arrived_at: dict[str, float] = {}
        self._sharing: asyncio.Task[None] | None = None
        self._home = ray.get_runtime_context().get_node_id()
        self._trainer_class = ray.remote(TrainerActor)  # made once: making it takes longer than its use

    @property
    def is_full(self) -> bool:
        """Whether neither a place to run nor a place in the queue is free."""
        return len(self._training) >= self._settings.max_running and len(self._waiting) >= self._settings.max_queued

    @property
    def active(self) -> int:
        """Runs that are training now."""
        return len(self._training)

    def queue_position(self, run_id: str) -> int | None:
        """Return the place in the queue (1 is next), or None."""
        waiting = [demand.run_id for demand in self._waiting]
        return waiting.index(run_id) + 1 if run_id in waiting else None

    def bound(self, tenant: str, bound: TenantBound | None) -> None:
        """Change what a tenant's runs may use together, from now on; None: no bound. Nothing that runs is stopped."""
        self._bounds.pop(tenant, None)
        if bound is not None:
            self._bounds[tenant] = bound
        self._start_waiting()
        self._share()

    def too_large(self, tenant: str) -> list[tuple[str, float]]:
        """Return (run id, CPUs per task) of waiting runs that cannot start: a task is over what the tenant may use."""
        bound = self._bounds.get(tenant, TenantBound()).max_cpus
        mine = [demand for demand in self._waiting if demand.tenant == tenant]
        return [(run.run_id, run.cpus_per_task) for run in mine if bound is not None and run.cpus_per_task > bound]

    def recover(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take up unfinished runs after a restart: running ones first, then the queue in its order."""
        for state in (RunState.RUNNING.value, RunState.QUEUED.value):
            for row in rows:
                if row["state"] == state:
                    request = RunRequest.model_validate_json(row["request"])
                    self.enqueue(row["id"], request)

    def enqueue(self, run_id: str, request: RunRequest, arrived_at: float | None = None) -> None:
        """Put a run into the queue and start what may start.

        ``arrived_at``: when its request came; the time budget of a run that starts at once counts from then.
        """
        if run_id in self._training or self.queue_position(run_id) is not None:
            return
        self._waiting.append(Demand(run_id, request.resources.cpus, request.max_parallel, request.tenant))
        if arrived_at is not None:
            self._arrived_at[run_id] = arrived_at
        self._start_waiting()
        if run_id not in self._training:
            self._arrived_at.pop(run_id, None)

    def slots(self, run_id: str) -> int:
        """Return how many tasks a run may have in flight."""
        return self._slots.get(run_id, 1)

    async def close(self, run_id: str) -> None:
        """End a running run's search; it delivers its best so far."""
        trainer = self._trainers.get(run_id)
        if trainer is None:
            raise Conflict(
                f"Run {run_id} is not training now; there is nothing to end early.",
                code="run-not-training",
                hint="A waiting run can be cancelled; an ended one has its result.",
            )
        await trainer.close.remote()

    async def cancel(self, run_id: str) -> None:
        """Stop a run: a waiting one at once, a running one by its trainer, by force if that does not answer."""
        if self.queue_position(run_id) is not None:
            self._waiting = [demand for demand in self._waiting if demand.run_id != run_id]
            await self._end(run_id, RunState.CANCELLED, reason="cancelled")
            return
        trainer = self._trainers.get(run_id)
        if trainer is None:
            return
        try:
            await asyncio.wait_for(trainer.stop.remote(), CANCEL_GRACE_S)
        except (asyncio.TimeoutError, RayError):
            # It is hanging or already dead; its supervisor sees the death and finds the wish to cancel.
            ray.kill(trainer)

    # Running --------------------------------------------------------------------------------------

    def _start_waiting(self) -> None:
        running = list(self._admitted.values())
        started = set(may_start(self._waiting, running, self._settings.max_running, self._bounds))
        self._admitted |= {demand.run_id: demand for demand in self._waiting if demand.run_id in started}
        begun = [demand.run_id for demand in self._waiting if demand.run_id in started]
        self._waiting = [demand for demand in self._waiting if demand.run_id not in started]
        for run_id in begun:
            task = asyncio.create_task(self._train(run_id))
            self._training[run_id] = task
            task.add_done_callback(lambda done, run_id=run_id: self._stopped(run_id, done))  # type: ignore[misc]

    def _stopped(self, run_id: str, task: asyncio.Task[None]) -> None:
        for table in (
            self._training,
            self._trainers,
            self._demands,
            self._slots,
            self._arrived_at,
            self._admitted,
        ):
            table.pop(run_id, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("run %s: supervision failed", run_id, exc_info=task.exception())
        self._start_waiting()
        self._share()
        if not self._training:
            self._pruning = asyncio.create_task(self._prune())

    async def _prune(self) -> None:
        """Keep what later runs may reuse within its bound."""
        try:
            removed = await asyncio.to_thread(prune, self._store, self._settings.reuse_bytes)
        except RayctlError as error:
            log.warning("trials of earlier runs could not be pruned: %s", error.message)
            return
        if removed:
            log.info("trials of %d earlier questions were removed to keep within RAYCTL_REUSE_BYTES", removed)

    async def _train(self, run_id: str) -> None:
        deaths = 0
        ended_before = -1
        while True:
            row, recorded = await self._begin(run_id)
            if row["cancel_requested"]:
                await self._end(run_id, RunState.CANCELLED, reason="cancelled")
                return
            if len(recorded) > ended_before:
                deaths, ended_before = 0, len(recorded)
            try:
                outcome = await self._train_once(row, recorded)
            except RuntimeEnvSetupError as error:
                problem = {"code": "environment-error", "message": f"The trainer's environment: {error.error_message}"}
                await self._end(run_id, RunState.FAILED, reason="environment-error", error=problem)
                return
            except (NotFound, InvalidRequest) as error:
                # The run that was to be repeated was deleted while this one waited; or so was its tenant, or the
                # tenant's packages cannot be installed.
                problem = {"code": error.code, "message": error.message}
                await self._end(run_id, RunState.FAILED, reason=error.code, error=problem)
                return
            except RayTaskError as error:
                log.exception("run %s: its trainer failed", run_id)
                await self._end(run_id, RunState.FAILED, reason="internal-error", error=_problem(error))
                return
            except (RayActorError, RayError, ValueError) as error:
                deaths += 1
                log.warning("run %s: its trainer died (%d): %s", run_id, deaths, error)
                if deaths >= MAX_DEATHS:
                    message = f"Its trainer died {deaths} times in a row ({type(error).__name__})."
                    problem = {"code": "trainer-died", "message": message}
                    await self._end(run_id, RunState.FAILED, reason="trainer-died", error=problem)
                    return
                await asyncio.sleep(min(0.1 * 2**deaths, 5.0))
                continue
            await self._keep(run_id, outcome)
            return

    async def _begin(self, run_id: str) -> tuple[Mapping[str, Any], list[LeaderboardRow]]:
        now = self._arrived_at.get(run_id, time.time())
        row = await self._insist(self._runs.get, run_id)
        deadline = None if row["time_budget_s"] is None else now + row["time_budget_s"]
        row = await self._insist(self._runs.start, run_id, now, deadline)
        self._changed(run_id, False)
        return row, await self._insist(self._runs.trials, run_id)

    async def _train_once(self, row: Mapping[str, Any], recorded: Sequence[LeaderboardRow]) -> Outcome:
        run_id = row["id"]
        request = RunRequest.model_validate_json(row["request"])
        carried = await self._insist(self._work.of, request.tenant, row["tenant_version"], request.runtime_env)
        nodes = await self._cluster.nodes()
        self._demands[run_id] = self._admitted[run_id]
        self._slots |= await self._fair_slots()
        order = TrainingOrder(
            run_id=run_id,
            request=request,
            summary=DataSummary.model_validate_json(row["summary"]),
            metric=row["metric"],
            greater_is_better=row["greater_is_better"],
            data_key=row["data_key"],
            store_url=self._store.url,
            limits=Limits(
                started_at=row["started_at"],
                deadline_at=row["deadline_at"],
                max_trials=request.max_trials,
                fold_timeout_s=request.trial_timeout_s or self._settings.default_trial_timeout_s,
            ),
            slots=self._slots[run_id],
            memory_bytes=request.resources.memory_bytes or default_memory_bytes(nodes, request.resources.cpus),
            prefetch=self._may_prefetch(request),
            helper_cpus=self._helper_cpus(request, nodes),
            recorded=tuple(recorded),
            runtime_env=None if carried.runtime_env is None else dict(carried.runtime_env),
            envelope=carried.envelope,
            **await self._origins(run_id, request, row, carried.config),
        )
        trainer = self._create(run_id, request)
        self._trainers[run_id] = trainer
        self._share()
        try:
            outcome: Outcome = await trainer.run.remote(order, ray.get_runtime_context().current_actor)
        finally:
            del self._trainers[run_id]
            ray.kill(trainer)
        return outcome

    async def _origins(
        self, run_id: str, request: RunRequest, row: Mapping[str, Any], tenant: TenantConfig | None
    ) -> dict[str, Any]:
        """Return where a run's trials are kept and what it repeats or continues."""
        own = f"runs/{run_id}/trials"
        if request.replay_of is not None:
            trials = await self._insist(self._runs.trials, request.replay_of)
            result = json.loads((await self._insist(self._runs.get, request.replay_of))["result"] or "{}")
            return {"folder": own, "replay": Replay.of(trials, result.get("combination"))}
        earlier = None if request.continues is None else f"runs/{request.continues}/trials"
        if not request.reuse:
            return {"folder": own, "earlier_folder": earlier}
        fingerprint = DataSummary.model_validate_json(row["summary"]).fingerprint
        return {"folder": question_folder(request, fingerprint, tasks.versions(), tenant), "earlier_folder": earlier}

    def _helper_cpus(self, request: RunRequest, nodes: Sequence[NodeView]) -> float:
        """Return what a run's preparing and combining reserve.

        Nothing, so that they run beside the trials, in a process that is kept for that. With more runs than CPUs every
        run would need one more: on a busy machine the imports of new processes take longer than a turn on a CPU.
        """
        cpus = sum(node.resources.get("CPU", 0.0) for node in nodes)
        return min(1.0, request.resources.cpus) if len(self._admitted) > cpus else 0.0

    def _may_prefetch(self, request: RunRequest) -> bool:
        tenant = self._bounds.get(request.tenant, TenantBound())
        ceilings = (request.max_parallel, self._settings.max_run_cpus, self._settings.max_total_cpus, tenant.max_cpus)
        return request.resources.cpus > 0 and all(ceiling is None for ceiling in ceilings)

    def _create(self, run_id: str, request: RunRequest) -> Any:
        wanted = request.trainer_resources
        options: dict[str, Any] = {"num_cpus": wanted.cpus, "num_gpus": wanted.gpus, "resources": dict(wanted.custom)}
        if wanted.memory_bytes:
            options["memory"] = wanted.memory_bytes
        if request.trainer_runtime_env:
            options["runtime_env"] = request.trainer_runtime_env
        if self._store.is_local:
            # Its files are on this node.
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(self._home, soft=False)
        name = trainer_name(run_id)
        try:
            return self._trainer_class.options(name=name, namespace=RAY_NAMESPACE, **options).remote()
        except ValueError:
            # Left over from a proxy that has just died: Ray is ending it, we make sure.
            ray.kill(ray.get_actor(name, namespace=RAY_NAMESPACE))
            raise

    async def _keep(self, run_id: str, outcome: Outcome) -> None:
        if outcome.combination is not None:
            combination = asdict(outcome.combination)
            combination["weights"] = {str(trial): weight for trial, weight in combination["weights"].items()}
            result = {
                "trial": outcome.trial,
                "combination": combination,
                "artifacts": [{"name": stored.key.rsplit("/", 1)[1], **asdict(stored)} for stored in outcome.artifacts],
                "versions": dict(tasks.versions()),
                "predict_ms": outcome.predict_ms,
            }
            await self._end(run_id, RunState.SUCCEEDED, reason=outcome.reason, result=result)
        elif outcome.reason == "cancelled":
            await self._end(run_id, RunState.CANCELLED, reason="cancelled")
        else:
            await self._end(run_id, RunState.FAILED, reason=outcome.reason, error=outcome.error)

    async def _end(self, run_id: str, state: RunState, **fields: Any) -> None:
        await self._insist(self._runs.finish, run_id, state, time.time(), **fields)
        self._changed(run_id, True)

    async def _insist(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        """Repeat a database call until the database is there again: an accepted run is not given up for a full disk."""
        wait_s = 0.2
        while True:
            try:
                return await asyncio.to_thread(call, *args, **kwargs)
            except Unavailable as error:
                log.warning("state database: %s; trying again in %.1f s", error.message, wait_s)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, 5.0)

    # Shares -----------------------------------------------------------------------------------------

    async def _fair_slots(self) -> dict[str, int]:
        nodes = await self._cluster.nodes()
        total = sum(node.resources.get("CPU", 0.0) for node in nodes)
        ceiling = self._settings.max_total_cpus
        return fair_slots(
            list(self._demands.values()),
            total if ceiling is None else min(total, ceiling),
            self._settings.max_run_cpus,
            strict=ceiling is not None,
            bounds=self._bounds,
        )

    def _share(self) -> None:
        """Tell the trainers whose share has changed."""
        if self._sharing is None or self._sharing.done():
            self._sharing = asyncio.create_task(self._share_now())

    async def _share_now(self) -> None:
        slots = await self._fair_slots()
        for run_id, count in slots.items():
            trainer = self._trainers.get(run_id)
            if trainer is not None and self._slots.get(run_id) != count:
                # Not awaited: a trainer that is gone will be made anew with its share.
                trainer.set_slots.remote(count)
        self._slots = slots


def _problem(error: RayTaskError) -> dict[str, Any]:
    cause = error.cause
    if isinstance(cause, RayctlError):
        return {"code": cause.code, "message": cause.message, "hint": cause.hint}
    return {"code": "internal-error", "message": f"{type(cause).__name__}: {cause}"[:500]}


def load_result(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stored result of a succeeded run."""
    result: dict[str, Any] = json.loads(row["result"])
    return result
