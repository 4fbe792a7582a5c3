"""The named actor `automl-proxy`: admission, one trainer per run, results, cancellation, event streams.

A thin async shell: tables are read in tasks (`staging`), runs are driven by `supervision`, everything that must
survive is in the state database. It runs no caller's code. Ray restarts it when it dies; it then takes up all
unfinished runs by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import ray
from ray.exceptions import RayError

from rayctl import __version__
from rayctl.automl import tasks
from rayctl.automl.cluster import ClusterView, check_satisfiable, to_json
from rayctl.automl.follow_up import continuation, refuse_unfinished, repetition
from rayctl.automl.model import LeaderboardRow, RunRequest, RunState, RunView, TaskType
from rayctl.automl.reporting import Reporter
from rayctl.automl.request import build_request
from rayctl.automl.serving import DEPLOY, REMOVE, deployment_name, route_of, serve_failed, states
from rayctl.automl.staging import Stager, check_http_request, staging_error
from rayctl.automl.supervision import Supervisor, load_result
from rayctl.automl.tenant_methods import TenantMethods
from rayctl.automl.tenant_resources import for_tenant
from rayctl.automl.trial_files import forget_data
from rayctl.automl.views import (
    ended_without_result,
    leaderboard_rows,
    not_ready,
    result_document,
    run_view,
)
from rayctl.errors import Conflict, InvalidRequest, NotFound, QueueFull, Unavailable
from rayctl.settings import ServiceSettings
from rayctl.state.artifacts import ArtifactStore

if TYPE_CHECKING:  # whoever gets a handle of the proxy imports this module: a trainer needs no database
    from rayctl.state.runs import NewRun

__all__ = ["ProxyActor"]

log = logging.getLogger(__name__)

STATE_EVENT_EVERY_S = 0.25
LEADERBOARD_EVENT_ROWS = 10
MAX_WAIT_S = 60.0
MODEL_CACHE = 4
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class ProxyActor(TenantMethods):
    """Implements `rayctl.automl.port.AutoMLService`; see there for what each method promises.

    The methods for tenants are in `rayctl.automl.tenant_methods`.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._job_id = ray.get_runtime_context().get_job_id()
        self._started_at = time.time()
        from rayctl.state.opened import open_state

        database, self._runs, self._catalog = open_state(settings.state_url)
        self._store = ArtifactStore(settings.store_url)
        self._cluster = ClusterView()
        self._stager = Stager(settings, self._store, self._catalog)
        bounds = self._open_tenants(database, settings)
        parts = (settings, self._store, self._runs, self._cluster)
        self._supervisor = Supervisor(*parts, self._announce, self._work, bounds)
        self._reporter = Reporter(self._runs, self._store)
        self._reporting: dict[str, asyncio.Lock] = {}
        self._news: dict[str, asyncio.Event] = {}
        self._announced_at: dict[str, float] = {}
        self._announcing: set[asyncio.Task[None]] = set()
        self._models: OrderedDict[str, ray.ObjectRef] = OrderedDict()
        self._leaving = False
        for run_id in self._runs.unannounced():
            self._announce(run_id, at_once=True)
        self._supervisor.recover(self._runs.unfinished())
        if settings.warm_workers:
            self._warming = asyncio.create_task(self._warm_workers())

    # Submitting -----------------------------------------------------------------------------------

    async def do_auto_ml(
        self, request: Mapping[str, Any], data: Any = None, idempotency_key: str | None = None, via: str = "ray"
    ) -> str:
        """Accept a request and return its run id. The data is checked and kept safe before this returns."""
        arrived_at = time.time()
        asked = build_request(dict(request))
        if asked.continues is not None or asked.replay_of is not None:
            raise InvalidRequest(
                "continues and replay_of are set by the service.", code="reserved-field", hint="Use extend or replay."
            )
        if via == "http":
            check_http_request(asked, self._settings)
        _check_key(idempotency_key)
        await self._check_room(asked.tenant, idempotency_key)
        tenant = await self._tenant_of(asked.tenant)
        wanted = for_tenant(asked, tenant.config)
        nodes = await self._cluster.nodes()
        check_satisfiable(wanted.resources, nodes, "task")
        check_satisfiable(wanted.trainer_resources, nodes, "trainer")
        self._check_ceilings(wanted)
        carried = await self._carried(wanted, tenant.version)
        staged = await self._stager.stage(data, None, wanted, wanted.tenant, carried)
        run = self._new_run(asked, staged.data_key, staged.found, idempotency_key, arrived_at)
        await self._check_room(asked.tenant, idempotency_key)
        return await self._accept(replace(run, stored_bytes=staged.bytes), asked, arrived_at)

    async def _accept(self, run: NewRun, asked: RunRequest, arrived_at: float) -> str:
        """Write the run down with the version of its tenant that counts from now on, and what this version means."""
        tenant = await self._tenant_of(run.tenant)
        wanted = for_tenant(asked, tenant.config)
        run = replace(run, request=wanted.model_dump_json(exclude_unset=True), tenant_version=tenant.version)
        run_id, is_new = await asyncio.to_thread(self._runs.accept, run, tenant.bounds)
        if is_new:
            self._announce(run_id)
            self._supervisor.enqueue(run_id, wanted, arrived_at)
        return run_id

    async def _check_room(self, tenant: str, key: str | None) -> None:
        if not self._supervisor.is_full:
            return
        if key is not None and await asyncio.to_thread(self._runs.find_by_key, tenant, key) is not None:
            return  # a repeated submission finds its run also when the queue is full
        raise QueueFull(
            f"{self._settings.max_running} runs are running and {self._settings.max_queued} are waiting.",
            hint="Try again later, or cancel a run that is not needed.",
            retry_after_s=10,
        )

    def _check_ceilings(self, wanted: RunRequest) -> None:
        limits = (self._settings.max_run_cpus, self._settings.max_total_cpus)
        ceiling = min((limit for limit in limits if limit is not None), default=None)
        if ceiling is not None and wanted.resources.cpus > ceiling:
            raise InvalidRequest(
                f"One task asks for {wanted.resources.cpus:g} CPUs; a run may use {ceiling:g} at once.",
                code="over-resource-ceiling",
                hint="Ask for fewer CPUs per task.",
            )

    def _new_run(
        self, wanted: RunRequest, data_key: str, found: Mapping[str, Any], key: str | None, now: float
    ) -> NewRun:
        from rayctl.state.runs import NewRun

        canonical = wanted.model_dump_json(exclude={"data"})
        budget = wanted.time_budget_s
        if budget is None and wanted.max_trials is None and wanted.search_space is None:
            budget = self._settings.default_time_budget_s
        day = datetime.fromtimestamp(now, tz=timezone.utc).strftime("%m%d")
        return NewRun(
            id=f"run-{day}-{uuid4().hex[:10]}",
            tenant=wanted.tenant,
            request=wanted.model_dump_json(exclude_unset=True),
            request_digest=hashlib.sha256(canonical.encode()).hexdigest(),
            idempotency_key=key,
            data_key=data_key,
            summary=json.dumps(found["summary"]),
            metric=found["metric"],
            greater_is_better=found["greater_is_better"],
            time_budget_s=budget,
            planned=wanted.max_trials,
            created_at=now,
        )

    async def upload(self, data: bytes, format: str | None = None, tenant: str = "default") -> dict[str, Any]:
        """Keep a table for later requests."""
        staged = await self._stager.stage(data, format, None, tenant)
        quota = (await self._tenant_of(tenant)).bounds
        upload_id = f"upload-{staged.found['fingerprint'][:24]}"
        columns, rows = staged.found["columns"], staged.found["rows"]
        found = (upload_id, tenant, staged.data_key, rows, columns, staged.bytes, time.time(), quota)
        await asyncio.to_thread(self._catalog.add_upload, *found)
        return {"upload": upload_id, "rows": rows, "columns": columns, "bytes": staged.bytes}

    # Looking --------------------------------------------------------------------------------------

    def _view(self, row: Mapping[str, Any]) -> RunView:
        return run_view(row, time.time(), self._supervisor.queue_position(row["id"]))

    async def get_run(self, run_id: str, tenant: str | None = None) -> dict[str, Any]:
        """Return the run's document."""
        row = await asyncio.to_thread(self._runs.get, run_id, tenant)
        return self._view(row).model_dump(mode="json")

    async def list_runs(
        self, tenant: str | None = None, state: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> dict[str, Any]:
        """Return a page of runs, newest first."""
        rows, following = await asyncio.to_thread(self._runs.page, tenant, state, max(1, min(limit, 500)), cursor)
        return {"items": [self._view(row).model_dump(mode="json") for row in rows], "next": following}

    async def leaderboard(
        self, run_id: str, limit: int | None = None, tenant: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the trials in leaderboard order."""
        row = await asyncio.to_thread(self._runs.get, run_id, tenant)
        rows = leaderboard_rows(row, await asyncio.to_thread(self._runs.trials, run_id))
        return [entry.model_dump(mode="json") for entry in rows[:limit]]

    async def get_result(self, run_id: str, wait_s: float = 0.0, tenant: str | None = None) -> dict[str, Any]:
        """Return the result document, waiting up to ``wait_s`` seconds for the end of the run."""
        until = time.monotonic() + min(wait_s, MAX_WAIT_S)
        while True:
            news = self._news_of(run_id)
            row = await asyncio.to_thread(self._runs.get, run_id, tenant)
            view = self._view(row)
            left = until - time.monotonic()
            if view.state.is_terminal or left <= 0 or self._leaving:
                break
            await _wait(news, left)
        if not view.state.is_terminal:
            raise not_ready(view)
        if view.state is not RunState.SUCCEEDED:
            raise ended_without_result(view)
        rows = leaderboard_rows(row, await asyncio.to_thread(self._runs.trials, run_id))
        forecast = None
        if view.task is TaskType.FORECASTING:
            forecast = json.loads(await asyncio.to_thread(self._store.get, f"runs/{run_id}/forecast.json"))
        return result_document(row, view, rows, forecast)

    async def events(
        self, run_id: str, after: int = 0, wait_s: float = 0.0, limit: int = 500, tenant: str | None = None
    ) -> list[dict[str, Any]]:
        """Return events after ``after``, waiting up to ``wait_s`` seconds for the first."""
        until = time.monotonic() + min(wait_s, MAX_WAIT_S)
        while True:
            news = self._news_of(run_id)
            row = await asyncio.to_thread(self._runs.get, run_id, tenant)
            found: list[dict[str, Any]] = []
            if row["last_event"] > after:
                found = await asyncio.to_thread(self._runs.events, run_id, after, max(1, min(limit, 5000)))
            left = until - time.monotonic()
            if found or left <= 0 or self._leaving:
                return found
            await _wait(news, left)

    async def watch(self, run_id: str, after: int = 0, tenant: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """Stream events up to and including ``done``."""
        while True:
            for event in await self.events(run_id, after, wait_s=15.0, tenant=tenant):
                after = event["seq"]
                yield event
                if event["kind"] == "done":
                    return

    async def artifact(
        self, run_id: str, name: str, offset: int = 0, length: int | None = None, tenant: str | None = None
    ) -> bytes:
        """Return (a part of) a file of a finished run."""
        row = await asyncio.to_thread(self._runs.get, run_id, tenant)
        known = {artifact["name"] for artifact in load_result(row)["artifacts"]} if row["result"] else set()
        known |= {file["name"] for file in await asyncio.to_thread(self._reporter.files, run_id)}
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise NotFound(
                f"Run {run_id} has no artifact {name!r}.", code="artifact-not-found", hint=f"It has: {listed}."
            )
        return await asyncio.to_thread(self._store.get, f"runs/{run_id}/{name}", offset, length)

    # Following --------------------------------------------------------------------------------------

    async def extend(
        self,
        run_id: str,
        time_budget_s: float | None = None,
        max_trials: int | None = None,
        tenant: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Continue a finished run with more budget, as a new run."""
        row, request, trials = await self._ended(run_id, tenant)
        wanted = continuation(run_id, request, trials, time_budget_s, max_trials)
        return await self._follow(row, wanted, idempotency_key)

    async def replay(self, run_id: str, tenant: str | None = None, idempotency_key: str | None = None) -> str:
        """Repeat exactly what finished in a run, as a new run."""
        row, request, trials = await self._ended(run_id, tenant)
        return await self._follow(row, repetition(run_id, request, trials), idempotency_key)

    async def _ended(
        self, run_id: str, tenant: str | None
    ) -> tuple[Mapping[str, Any], RunRequest, list[LeaderboardRow]]:
        row = await asyncio.to_thread(self._runs.get, run_id, tenant)
        refuse_unfinished(run_id, RunState(row["state"]))
        request = RunRequest.model_validate_json(row["request"])
        return row, request, await asyncio.to_thread(self._runs.trials, run_id)

    async def _follow(self, row: Mapping[str, Any], request: RunRequest, key: str | None) -> str:
        arrived_at = time.time()
        _check_key(key)
        await self._check_room(request.tenant, key)
        found = {"summary": json.loads(row["summary"]), **{n: row[n] for n in ("metric", "greater_is_better")}}
        run = self._new_run(request, row["data_key"], found, key, arrived_at)
        return await self._accept(run, request, arrived_at)

    async def report(self, run_id: str, tenant: str | None = None) -> list[dict[str, Any]]:
        """Build the report of an ended run, once, and return its files."""
        row = await asyncio.to_thread(self._runs.get, run_id, tenant)
        refuse_unfinished(run_id, RunState(row["state"]))
        async with self._reporting.setdefault(run_id, asyncio.Lock()):
            request = RunRequest.model_validate_json(row["request"])
            carried = await self._carried(request, row["tenant_version"])
            return await self._reporter.report(run_id, self._view(row), carried)

    # Ending ---------------------------------------------------------------------------------------

    async def cancel(self, run_id: str, tenant: str | None = None) -> dict[str, Any]:
        """Ask a run to stop."""
        row = await asyncio.to_thread(self._runs.request_cancel, run_id, tenant)
        if not RunState(row["state"]).is_terminal:
            await self._supervisor.cancel(run_id)
            row = await asyncio.to_thread(self._runs.get, run_id, tenant)
        return self._view(row).model_dump(mode="json")

    async def finish_early(self, run_id: str, tenant: str | None = None) -> dict[str, Any]:
        """End a run's search now; it delivers its best so far."""
        row = await asyncio.to_thread(self._runs.get, run_id, tenant)
        if not RunState(row["state"]).is_terminal:
            await self._supervisor.close(run_id)
        return self._view(row).model_dump(mode="json")

    async def delete_run(self, run_id: str, tenant: str | None = None) -> None:
        """Remove an ended run, its files, and its data if no other run uses it."""
        serving = [
            d["name"] for d in await asyncio.to_thread(self._catalog.deployments, tenant) if d["run_id"] == run_id
        ]
        if serving:
            raise Conflict(
                f"Run {run_id} is deployed as {serving[0]}.",
                code="run-deployed",
                hint=f"Remove that first: rayctl automl undeploy {serving[0]}",
            )
        unused = await asyncio.to_thread(self._runs.delete, run_id, tenant)
        self._models.pop(run_id, None)
        await asyncio.to_thread(self._store.delete, f"runs/{run_id}")
        if unused is not None and not await asyncio.to_thread(self._catalog.uses, unused):
            await asyncio.to_thread(self._store.delete, unused)
            await asyncio.to_thread(forget_data, self._store, unused)
        self._announce(run_id)
        self._news.pop(run_id, None)

    # Predicting -----------------------------------------------------------------------------------

    async def predict(
        self, run_id: str, data: Any = None, proba: bool = False, format: str | None = None, tenant: str | None = None
    ) -> Any:
        """Predict with a finished run's model; returns an Arrow table."""
        row = await self._finished(run_id, tenant)
        request = RunRequest.model_validate_json(row["request"])
        if data is None and request.task is not TaskType.FORECASTING:
            raise InvalidRequest("There are no rows to predict for.", code="missing-data", hint="Send a table.")
        bundle = await self._model(row)
        carried = await self._carried(request, row["tenant_version"])
        task = tasks.PREDICT.options(**carried.options)
        try:
            return await task.remote(bundle, request.task, data, format, proba, **carried.arguments)
        except RayError as error:
            raise staging_error(error, "predicted") from error

    async def _finished(self, run_id: str, tenant: str | None) -> Mapping[str, Any]:
        row = await asyncio.to_thread(self._runs.get, run_id, tenant)
        view = self._view(row)
        if not view.state.is_terminal:
            raise not_ready(view)
        if view.state is not RunState.SUCCEEDED:
            raise ended_without_result(view)
        return row

    async def _model(self, row: Mapping[str, Any]) -> ray.ObjectRef:
        """Put a model into the object store once; what was changed in the artifact store is refused."""
        run_id = row["id"]
        if run_id in self._models:
            self._models.move_to_end(run_id)
            return self._models[run_id]
        data = await asyncio.to_thread(self._store.get, f"runs/{run_id}/model.zip")
        if hashlib.sha256(data).hexdigest() != _model_digest(row):
            raise Unavailable(
                f"The model of run {run_id} is not the one that was stored.",
                code="model-changed",
                hint="The artifact store was changed or damaged; run it again.",
            )
        self._models[run_id] = ray.put(data)
        while len(self._models) > MODEL_CACHE:
            self._models.popitem(last=False)
        return self._models[run_id]

    async def deploy(self, run_id: str, name: str | None = None, tenant: str | None = None) -> dict[str, Any]:
        """Serve a finished run's model under ``/models/<name>``."""
        row = await self._finished(run_id, tenant)
        name = name or deployment_name(run_id)
        if not _NAME.fullmatch(name):
            raise InvalidRequest(
                f"{name!r} is not a deployment name.",
                code="invalid-name",
                hint="Use up to 63 lower-case letters, digits and dashes.",
            )
        await asyncio.to_thread(self._catalog.add_deployment, name, row["tenant"], run_id, route_of(name), time.time())
        return await self._start_deployment(name, row)

    async def _start_deployment(self, name: str, row: Mapping[str, Any]) -> dict[str, Any]:
        request = RunRequest.model_validate_json(row["request"])
        arguments = {
            "run_id": row["id"],
            "task": request.task.value,
            "tenant": row["tenant"],
            "sha256": _model_digest(row),
            "token_file": str(self._settings.token_file or self._settings.home / "token"),
        }
        try:
            state = await DEPLOY.remote(name, arguments)
        except RayError as error:
            await asyncio.to_thread(self._catalog.remove_deployment, name, None)
            raise serve_failed(f"The model could not be deployed: {error}", "deploy-failed") from error
        return {"name": name, "route": route_of(name), "run_id": row["id"], "state": state.lower()}

    async def restore_deployments(self) -> list[str]:
        """Start recorded deployments again that Serve does not have (after a restart of the cluster)."""
        known, seen = await asyncio.to_thread(self._catalog.deployments, None), await asyncio.to_thread(states)
        missing = [entry for entry in known if entry["name"] not in seen]
        for entry in missing:
            row = await asyncio.to_thread(self._runs.get, entry["run_id"])
            await self._start_deployment(entry["name"], row)
        return [entry["name"] for entry in missing]

    async def undeploy(self, name: str, tenant: str | None = None) -> None:
        """Remove a deployment."""
        await asyncio.to_thread(self._catalog.remove_deployment, name, tenant)
        try:
            await REMOVE.remote(name)
        except RayError as error:
            raise serve_failed(f"Serve did not remove {name!r}: {error}", "undeploy-failed") from error

    async def list_deployments(self, tenant: str | None = None) -> list[dict[str, Any]]:
        """Return the deployments made by `deploy`, with what Serve says of each; ``missing``: it has it no more."""
        found = await asyncio.to_thread(self._catalog.deployments, tenant)
        try:
            seen = await asyncio.to_thread(states) if found else {}
        except RayError as error:
            raise serve_failed(f"Serve does not answer: {error}", "serve-unavailable") from error
        shown = ("name", "route", "run_id", "tenant")
        return [{**{key: d[key] for key in shown}, "state": seen.get(d["name"], "missing")} for d in found]

    # Trainers and housekeeping ----------------------------------------------------------------------

    async def record(self, run_id: str, rows: list[str], running: int) -> dict[str, Any]:
        """Journal ended trials (JSON texts of `LeaderboardRow`); called by trainers. Safe to repeat.

        Returns the run's share of the cluster and whether it was cancelled.
        """
        entries = [LeaderboardRow.model_validate_json(text) for text in rows]
        cancelled = await asyncio.to_thread(self._runs.record, run_id, entries, (), time.time(), running)
        self._announce(run_id)
        return {"slots": self._supervisor.slots(run_id), "cancelled": cancelled}

    async def note_ensemble(self, run_id: str, found: dict[str, Any]) -> None:
        """Add the combination so far (score, weights) to a run's event log; called by trainers."""
        await asyncio.to_thread(self._runs.add_events, run_id, [("ensemble", found)], time.time())
        self._wake(run_id)

    async def note(self, run_id: str, message: str) -> None:
        """Add a message to a run's event log; called by trainers."""
        await asyncio.to_thread(self._runs.add_events, run_id, [("log", {"message": message})], time.time())
        self._wake(run_id)

    async def info(self) -> dict[str, Any]:
        """Return versions, limits, cluster resources and counts of runs."""
        nodes = await self._cluster.nodes()
        return {
            "version": __version__,
            "versions": dict(tasks.versions()),
            "started_at": self._started_at,
            "pid": os.getpid(),
            "job_id": self._job_id,
            "runs": await asyncio.to_thread(self._runs.counts),
            "active": self._supervisor.active,
            "cluster": to_json(nodes),
            "limits": {
                "max_running": self._settings.max_running,
                "max_queued": self._settings.max_queued,
                "max_data_bytes": self._settings.max_data_bytes,
                "default_time_budget_s": self._settings.default_time_budget_s,
            },
        }

    async def ping(self) -> str:
        """Return the id of the job that this actor belongs to."""
        return str(self._job_id)

    async def warmed(self) -> bool:
        """Wait until the first worker processes are warm; False if they are not to be warmed here."""
        if not self._settings.warm_workers:
            return False
        await asyncio.shield(self._warming)
        return True

    async def _warm_workers(self) -> None:
        """Start the worker processes and their imports before the first request needs them.

        One more than CPUs: weights are chosen beside the trials.
        """
        nodes = await self._cluster.nodes()
        count = int(sum(node.resources.get("CPU", 0.0) for node in nodes))
        kinds = [kind.value for kind in TaskType]
        try:
            await asyncio.gather(*(tasks.WARM.options(num_cpus=cpus).remote(kinds) for cpus in [1] * count + [0]))
        except RayError as error:
            log.warning("workers could not be warmed: %s", error)

    # News -----------------------------------------------------------------------------------------

    async def leave(self) -> None:
        """Answer now whoever waits for news: this actor is about to be killed, and its state taken over."""
        self._leaving = True
        for run_id in list(self._news):
            self._wake(run_id)

    def _news_of(self, run_id: str) -> asyncio.Event:
        return self._news.setdefault(run_id, asyncio.Event())

    def _announce(self, run_id: str, at_once: bool = False) -> None:
        """Write state and leaderboard events (not too often) and wake those who wait for news of a run."""
        self._wake(run_id)
        task = asyncio.create_task(self._announce_later(run_id, at_once))
        self._announcing.add(task)
        task.add_done_callback(self._announcing.discard)

    def _wake(self, run_id: str) -> None:
        event = self._news.pop(run_id, None)
        if event is not None:
            event.set()

    async def _announce_later(self, run_id: str, at_once: bool) -> None:
        now = time.monotonic()
        last = self._announced_at.get(run_id)
        if not at_once and last is not None:
            if now < last:
                return  # one is waiting already and will see this change
            due = last + STATE_EVENT_EVERY_S
            if due > now:
                self._announced_at[run_id] = due
                await asyncio.sleep(due - now)
        self._announced_at[run_id] = time.monotonic()
        try:
            await asyncio.to_thread(self._write_news, run_id)
        except NotFound:
            self._announced_at.pop(run_id, None)
            return
        except Unavailable as error:
            log.warning("run %s: events cannot be written: %s", run_id, error.message)
            await asyncio.sleep(1.0)
            self._announce(run_id)
            return
        self._wake(run_id)

    def _write_news(self, run_id: str) -> None:
        row = self._runs.get(run_id)
        view = self._view(row)
        document = view.model_dump(mode="json", exclude={"data"})
        if view.state.is_terminal:
            rows = leaderboard_rows(row, self._runs.trials(run_id))[:LEADERBOARD_EVENT_ROWS]
            board = {"metric": view.metric, "rows": [entry.model_dump(mode="json") for entry in rows]}
            news = [("leaderboard", board), ("state", document), ("done", document)]
            self._runs.close_events(run_id, news, time.time())
        else:
            self._runs.add_events(run_id, [("state", document)], time.time())


def _check_key(key: str | None) -> None:
    if key is not None and not 0 < len(key) <= 200:
        text = "An idempotency key has 1 to 200 characters."
        raise InvalidRequest(text, code="invalid-idempotency-key", hint="Send a shorter one, or none.")


def _model_digest(row: Mapping[str, Any]) -> str:
    artifacts = load_result(row)["artifacts"]
    return str(next(entry["sha256"] for entry in artifacts if entry["name"] == "model.zip"))


async def _wait(news: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(news.wait(), seconds)
    except asyncio.TimeoutError:
        return
