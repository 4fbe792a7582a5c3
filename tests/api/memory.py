"""The service's port in memory: a small real state machine for the tests of the HTTP API."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pyarrow as pa

from rayctl.automl.follow_up import continuation, refuse_unfinished, repetition
from rayctl.automl.model import LeaderboardRow, RunRequest, RunState
from rayctl.automl.request import build_request
from rayctl.automl.staging import check_http_request
from rayctl.errors import (
    Conflict,
    IdempotencyConflict,
    InvalidData,
    InvalidRequest,
    NotFound,
    QueueFull,
    ResultNotReady,
    RunFailed,
)
from rayctl.settings import ServiceSettings

from .real_tenants import RealTenants
from .sample_report import sample_report

NOW = "2030-01-01T00:00:00Z"
MODEL = bytes(range(256)) * 40_000  # 10 MB: more than two download chunks


class MemoryService(RealTenants):
    """Runs stay queued until the test moves them on with `start`, `trial`, `succeed` or `fail`."""

    def __init__(self, *, max_runs: int = 100) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.requests: dict[str, tuple[dict[str, Any], Any]] = {}
        self.log: dict[str, list[dict[str, Any]]] = {}
        self.boards: dict[str, list[dict[str, Any]]] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.keys: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
        self.uploads: list[tuple[bytes, str | None, str]] = []
        self.deployments: dict[str, dict[str, Any]] = {}
        self.predicted: list[tuple[Any, bool, str | None]] = []
        self.built = 0  # how often a report was asked for
        self.broken: Exception | None = None  # raised by every method, if set
        self.changed = asyncio.Condition()
        self.waiting = 0
        self.poll = asyncio.Event()  # set as soon as someone waits for events
        self.max_runs = max_runs

    # -- what the tests do

    async def emit(self, run_id: str, kind: str, data: dict[str, Any]) -> None:
        log = self.log[run_id]
        log.append({"run_id": run_id, "seq": len(log) + 1, "at": NOW, "kind": kind, "data": data})
        async with self.changed:
            self.changed.notify_all()

    async def move(self, run_id: str, state: str, **fields: Any) -> None:
        self.runs[run_id] |= {"state": state, **fields}
        ended = state in ("succeeded", "failed", "cancelled")
        await self.emit(run_id, "done" if ended else "state", dict(self.runs[run_id]))

    async def trial(self, run_id: str, model: str, score: float | None) -> None:
        row = {"trial": len(self.boards[run_id]), "model": model, "state": "done", "score": score, "params": {"a": 1}}
        if score is None:
            row |= {"state": "failed", "error": {"code": "model-error", "message": "no, really"}}
        self.boards[run_id].append(row)
        await self.emit(run_id, "trial", row)

    async def succeed(self, run_id: str) -> None:
        self.files[run_id] = {"model.zip": MODEL, "page.html": b"<script>1</script>"}
        await self.move(run_id, "succeeded", finished_at=NOW)

    # -- the port

    def _mine(self, run_id: str, tenant: str | None) -> dict[str, Any]:
        if self.broken:
            raise self.broken
        run = self.runs.get(run_id)
        if run is None or tenant not in (None, run["tenant"]):
            raise NotFound(f"There is no run {run_id!r}.")
        return run

    async def do_auto_ml(
        self, request: dict[str, Any], data: Any = None, idempotency_key: str | None = None, via: str = "ray"
    ) -> str:
        if self.broken:
            raise self.broken
        assert via == "http"
        check_http_request(build_request(request), ServiceSettings())
        if len(self.runs) >= self.max_runs:
            raise QueueFull("Too many runs wait.", retry_after_s=7)
        return await self._begin(request, data, idempotency_key)

    async def _begin(self, request: dict[str, Any], data: Any, key: str | None) -> str:
        run_id = f"run-{len(self.runs) + 1}"
        if key is not None:
            known_id, known = self.keys.setdefault((request.get("tenant", "default"), key), (run_id, request))
            if known != request:
                raise IdempotencyConflict("The key was used with another request.")
            if known_id != run_id:
                return known_id
        self.requests[run_id] = (request, data)
        self.boards[run_id], self.log[run_id] = [], []
        self.runs[run_id] = {
            "id": run_id,
            "tenant": request.get("tenant", "default"),
            "task": request["task"],
            "target": request["target"],
            "state": "queued",
            "metric": "rmse",
            "greater_is_better": False,
            "seed": 0,
            "created_at": NOW,
            "elapsed_s": 0.0,
            "continues": request.get("continues"),
            "replay_of": request.get("replay_of"),
        }
        await self.emit(run_id, "state", dict(self.runs[run_id]))
        return run_id

    async def upload(self, data: bytes, format: str | None = None, tenant: str = "default") -> dict[str, Any]:
        self.uploads.append((data, format, tenant))
        return {"upload": f"up-{len(self.uploads)}", "rows": 1, "columns": ["a"], "bytes": len(data)}

    async def get_run(self, run_id: str, tenant: str | None = None) -> dict[str, Any]:
        run = self._mine(run_id, tenant)
        run["elapsed_s"] += 0.5  # time passes
        return dict(run)

    async def list_runs(
        self, tenant: str | None = None, state: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> dict[str, Any]:
        items = [r for r in self.runs.values() if tenant in (None, r["tenant"]) and state in (None, r["state"])]
        if cursor and not cursor.isdigit():
            raise InvalidRequest("The cursor is not valid.", code="invalid-cursor")
        start = int(cursor or 0)
        more = start + limit < len(items)
        return {"items": items[::-1][start : start + limit], "next": str(start + limit) if more else None}

    async def leaderboard(
        self, run_id: str, limit: int | None = None, tenant: str | None = None
    ) -> list[dict[str, Any]]:
        self._mine(run_id, tenant)
        return self.boards[run_id][:limit]

    async def get_result(self, run_id: str, wait_s: float = 0.0, tenant: str | None = None) -> dict[str, Any]:
        run = self._mine(run_id, tenant)
        if wait_s and run["state"] in ("queued", "running"):
            await self.succeed(run_id)
        if run["state"] in ("queued", "running"):
            raise ResultNotReady("The run has no result yet.")
        if run["state"] != "succeeded":
            raise RunFailed(f"The run was {run['state']}.")
        artifacts = [
            {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in self.files[run_id].items()
        ]
        forecast = [{"ds": NOW, "prediction": float("nan")}]
        board = self.boards[run_id]
        best = board[0] if board else None
        return {"run": dict(run), "best": best, "leaderboard": board, "artifacts": artifacts, "forecast": forecast}

    async def events(
        self, run_id: str, after: int = 0, wait_s: float = 0.0, limit: int = 500, tenant: str | None = None
    ) -> list[dict[str, Any]]:
        self._mine(run_id, tenant)

        def new() -> list[dict[str, Any]]:
            return [event for event in self.log[run_id] if event["seq"] > after][:limit]

        if not new() and wait_s:
            self.waiting += 1
            self.poll.set()
            try:
                async with self.changed:
                    await asyncio.wait_for(self.changed.wait_for(new), wait_s)
            except asyncio.TimeoutError:
                return []
            finally:
                self.waiting -= 1
        return new()

    async def watch(self, run_id: str, after: int = 0, tenant: str | None = None) -> AsyncIterator[dict[str, Any]]:
        for event in await self.events(run_id, after=after, tenant=tenant):
            yield event

    async def cancel(self, run_id: str, tenant: str | None = None) -> dict[str, Any]:
        run = self._mine(run_id, tenant)
        if run["state"] in ("queued", "running"):
            await self.move(run_id, "cancelled", cancel_requested=True)
        return dict(run)

    async def finish_early(self, run_id: str, tenant: str | None = None) -> dict[str, Any]:
        run = self._mine(run_id, tenant)
        if run["state"] == "queued":
            raise Conflict(f"Run {run_id} is not training now.", code="run-not-training", hint="Cancel it.")
        if run["state"] == "running":
            await self.succeed(run_id)
        return dict(run)

    def _ended(self, run_id: str, tenant: str | None) -> tuple[RunRequest, list[LeaderboardRow]]:
        refuse_unfinished(run_id, RunState(self._mine(run_id, tenant)["state"]))
        rows = [LeaderboardRow.model_validate(row) for row in self.boards[run_id]]
        return RunRequest.model_validate(self.requests[run_id][0]), rows

    async def extend(
        self,
        run_id: str,
        time_budget_s: float | None = None,
        max_trials: int | None = None,
        tenant: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        wanted = continuation(run_id, *self._ended(run_id, tenant), time_budget_s, max_trials)
        await asyncio.sleep(0)
        return await self._begin(wanted.model_dump(mode="json"), None, idempotency_key)

    async def replay(self, run_id: str, tenant: str | None = None, idempotency_key: str | None = None) -> str:
        wanted = repetition(run_id, *self._ended(run_id, tenant))
        return await self._begin(wanted.model_dump(mode="json"), None, idempotency_key)

    async def report(self, run_id: str, tenant: str | None = None) -> list[dict[str, Any]]:
        run = self._mine(run_id, tenant)
        refuse_unfinished(run_id, RunState(run["state"]))
        built = sample_report(run, self.boards[run_id], {"0": 1.0})
        self.files.setdefault(run_id, {}).update(built)
        self.built += 1
        return [
            {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in built.items()
        ]

    async def delete_run(self, run_id: str, tenant: str | None = None) -> None:
        if self._mine(run_id, tenant)["state"] in ("queued", "running"):
            raise Conflict("The run has not ended.")
        del self.runs[run_id]

    async def artifact(
        self, run_id: str, name: str, offset: int = 0, length: int | None = None, tenant: str | None = None
    ) -> bytes:
        self._mine(run_id, tenant)
        try:
            data = self.files.get(run_id, {})[name]
        except KeyError:
            raise NotFound("There is no such artifact.") from None
        return data[offset:] if length is None else data[offset : offset + length]

    async def predict(
        self, run_id: str, data: Any = None, proba: bool = False, format: str | None = None, tenant: str | None = None
    ) -> Any:
        self._mine(run_id, tenant)
        self.predicted.append((data, proba, format))
        rows = data.num_rows if isinstance(data, pa.Table) else 2
        if isinstance(data, pa.Table) and "a" not in data.column_names:
            raise InvalidData("Column a is missing.", code="missing-column")
        return pa.table({"prediction": [1.5, float("nan"), 3.0][:rows]})

    async def deploy(self, run_id: str, name: str | None = None, tenant: str | None = None) -> dict[str, Any]:
        self._mine(run_id, tenant)
        name = name or run_id
        if name in self.deployments:
            raise Conflict("The name is taken.", code="name-taken")
        self.deployments[name] = {"name": name, "route": f"/{name}", "run_id": run_id, "state": "starting"}
        return self.deployments[name]

    async def undeploy(self, name: str, tenant: str | None = None) -> None:
        if name not in self.deployments:
            raise NotFound("There is no such deployment.")
        self._mine(self.deployments[name]["run_id"], tenant)
        del self.deployments[name]

    async def list_deployments(self, tenant: str | None = None) -> list[dict[str, Any]]:
        return [d for d in self.deployments.values() if tenant in (None, self.runs[d["run_id"]]["tenant"])]

    async def info(self) -> dict[str, Any]:
        if self.broken:
            raise self.broken
        return {"versions": {"rayctl": "0"}, "limits": {"max_queued": 1}, "runs": {"queued": 3}}
