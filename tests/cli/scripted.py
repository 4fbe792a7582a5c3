"""The service's port with runs that follow a script named by the request, complete as soon as they are accepted."""

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
from rayctl.errors import Conflict, InvalidData, NotFound, ResultNotReady, RunFailed
from rayctl.settings import ServiceSettings

from ..api.real_tenants import RealTenants
from ..api.sample_report import sample_report

AT = "2030-01-01T00:00:0{}Z"
FILES = {"model.zip": b"model" * 1000, "leaderboard.json": b"[]"}
ROWS: list[dict[str, Any]] = [
    {
        "trial": 0,
        "model": "lightgbm",
        "state": "done",
        "score": 0.9,
        "std": 0.01,
        "rank": 2,
        "fit_s": 1.5,
        "predict_s": 0.02,
        "params": {"num_leaves": 31},
    },
    {
        "trial": 1,
        "model": "knn",
        "state": "failed",
        "error": {"code": "model-error", "message": "k is too\x1b[31m large"},
    },
    {
        "trial": 2,
        "model": "linear",
        "state": "done",
        "score": 0.95,
        "std": 0.02,
        "rank": 1,
        "fit_s": 0.25,
        "predict_s": 0.001,
        "params": {"C": 1.0},
    },
]
ORDER = (2, 0, 1)

#: What a run named ``rich`` has: an ensemble, folds, sizes, trials that were reused, cut short, given up, left out.
RICH: list[dict[str, Any]] = [
    ROWS[2] | {"fold_scores": [0.97, 0.93], "size_bytes": 2_400_000, "weight": 0.75, "stopped_at": {"0": 120}},
    ROWS[0] | {"fold_scores": [0.91, 0.89], "size_bytes": 812, "weight": 0.25, "reused": True},
    ROWS[1] | {"weight": 0.0},
    {
        "trial": 3,
        "model": "knn",
        "state": "skipped",
        "fold_scores": [0.5],
        "weight": 0.0,
        "error": {"code": "abandoned", "message": "Given up: 0.5 after 1 fold, the best have 0.97."},
    },
    {
        "trial": 4,
        "model": "mlp",
        "state": "skipped",
        "weight": 0.0,
        "error": {"code": "too-slow", "message": "A fold is predicted to take 90 s; 12 s were left for all 2."},
    },
]
WEIGHTS = {"2": 0.75, "0": 0.25}


class ScriptedService(RealTenants):
    """``name`` of the request chooses what happens: ``slow`` never ends, ``fail`` fails, all others succeed."""

    def __init__(self) -> None:
        for name in ("_tenants", "_folder", "_supervisor"):
            self.__dict__.pop(name, None)
        self.runs: dict[str, dict[str, Any]] = {}
        self.log: dict[str, list[dict[str, Any]]] = {}
        self.requests: list[tuple[dict[str, Any], Any, str | None]] = []
        self.reports: dict[str, dict[str, bytes]] = {}
        self.served: dict[str, dict[str, Any]] = {}

    def _run(self, run_id: str) -> dict[str, Any]:
        if run_id not in self.runs:
            raise NotFound(f"There is no run {run_id!r}.", hint="`rayctl automl list` shows what there is.")
        return self.runs[run_id]

    async def do_auto_ml(
        self, request: dict[str, Any], data: Any = None, idempotency_key: str | None = None, via: str = "ray"
    ) -> str:
        check_http_request(build_request(request), ServiceSettings())
        if request["target"] == "nowhere":
            raise InvalidData("The table has no column nowhere.", code="missing-target", hint="It has: a, y.")
        return self._begin(request, data, idempotency_key)

    def _begin(self, request: dict[str, Any], data: Any, key: str | None) -> str:
        for number, (_, _, known) in enumerate(self.requests, start=1):
            if key is not None and key == known:
                return f"r{number}"
        self.requests.append((request, data, key))
        run_id = f"r{len(self.requests)}"
        name = request.get("name")
        view: dict[str, Any] = {
            "id": run_id,
            "name": name,
            "tenant": request.get("tenant", "default"),
            "task": request["task"],
            "target": request["target"],
            "metric": request.get("metric") or "accuracy",
            "greater_is_better": True,
            "seed": request.get("seed", 0),
            "created_at": AT.format(0),
            "state": "queued",
            "queue_position": 1,
            "continues": request.get("continues"),
            "replay_of": request.get("replay_of"),
        }
        if name == "odd":
            view["data"] = {"warnings": [f"Column {number} is\x1b odd." for number in range(10)]}
        log: list[dict[str, Any]] = []

        def emit(kind: str, data: dict[str, Any]) -> None:
            log.append({"run_id": run_id, "seq": len(log) + 1, "at": AT.format(len(log)), "kind": kind, "data": data})

        emit("state", dict(view))
        view |= {"state": "running", "queue_position": None, "time_budget_s": 60.0}
        emit("state", dict(view))
        for row in ROWS[:1] if name == "slow" else RICH if name == "rich" else ROWS:
            emit("trial", row)
        if name == "rich":
            emit("ensemble", {"score": 0.97, "weights": WEIGHTS})
        if name == "slow":
            view |= {"trials": {"done": 1, "running": 1}, "best_score": 0.9, "best_model": "lightgbm"}
        else:
            view |= {
                "state": "succeeded",
                "trials": {"done": 2, "failed": 1},
                "elapsed_s": 3.5,
                "finished_at": AT.format(9),
            }
            view |= {"best_score": 0.95, "best_model": "linear", "best_trial": 2}
            if name == "rich":
                view |= {"reason": "deadline", "elapsed_s": 59.2, "trials": {"done": 2, "failed": 1, "skipped": 2}}
                view |= {"ensemble_score": 0.97, "ensemble": WEIGHTS}
            if name == "fail":
                reason = "every trial failed"
                view |= {"state": "failed", "reason": reason, "best_score": None, "best_model": None}
                view["error"] = {"code": "no-model", "message": reason}
            emit("done", dict(view))
        self.runs[run_id], self.log[run_id] = view, log
        return run_id

    async def upload(self, data: bytes, format: str | None = None, tenant: str = "default") -> dict[str, Any]:
        raise NotImplementedError

    async def get_run(self, run_id: str, tenant: str | None = None) -> dict[str, Any]:
        return dict(self._run(run_id))

    async def list_runs(
        self, tenant: str | None = None, state: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> dict[str, Any]:
        found = [run for run in reversed(self.runs.values()) if state in (None, run["state"])]
        start = int(cursor or 0)
        end = start + limit
        return {"items": found[start:end], "next": str(end) if end < len(found) else None}

    async def leaderboard(
        self, run_id: str, limit: int | None = None, tenant: str | None = None
    ) -> list[dict[str, Any]]:
        return self._rows(run_id)[:limit]

    def _rows(self, run_id: str) -> list[dict[str, Any]]:
        return RICH if self._run(run_id)["name"] == "rich" else [ROWS[place] for place in ORDER]

    async def get_result(self, run_id: str, wait_s: float = 0.0, tenant: str | None = None) -> dict[str, Any]:
        run = self._run(run_id)
        if run["state"] == "running":
            await asyncio.sleep(wait_s)
            raise ResultNotReady(f"Run {run_id} has not ended.", retry_after_s=1)
        if run["state"] != "succeeded":
            raise RunFailed(f"Run {run_id} {run['state']}: {run.get('reason')}")
        artifacts = [
            {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in FILES.items()
        ]
        reproduce = {"seed": 0, "data_fingerprint": "abc"}
        return {
            "run": dict(run),
            "best": ROWS[2],
            "ensemble": {"score": run.get("ensemble_score"), "weights": run.get("ensemble") or {}},
            "leaderboard": self._rows(run_id),
            "artifacts": artifacts,
            "reproduce": reproduce,
            "forecast": [{"ds": AT.format(0), "prediction": 1.5}],
        }

    async def events(
        self, run_id: str, after: int = 0, wait_s: float = 0.0, limit: int = 500, tenant: str | None = None
    ) -> list[dict[str, Any]]:
        self._run(run_id)
        found = [event for event in self.log[run_id] if event["seq"] > after]
        if not found:
            await asyncio.sleep(min(wait_s, 0.2))
        return found

    async def watch(self, run_id: str, after: int = 0, tenant: str | None = None) -> AsyncIterator[dict[str, Any]]:
        for event in await self.events(run_id, after):
            yield event

    async def cancel(self, run_id: str, tenant: str | None = None) -> dict[str, Any]:
        run = self._run(run_id)
        if run["state"] == "running":
            run |= {"state": "cancelled", "cancel_requested": True, "reason": "cancelled by its owner"}
            log = self.log[run_id]
            log.append({"run_id": run_id, "seq": len(log) + 1, "at": AT.format(8), "kind": "done", "data": dict(run)})
        return dict(run)

    async def finish_early(self, run_id: str, tenant: str | None = None) -> dict[str, Any]:
        run = self._run(run_id)
        if run["state"] == "running":
            run |= {"state": "succeeded", "reason": "finished-early", "elapsed_s": 4.0}
            log = self.log[run_id]
            log.append({"run_id": run_id, "seq": len(log) + 1, "at": AT.format(8), "kind": "done", "data": dict(run)})
        return dict(run)

    def _ended(self, run_id: str) -> tuple[RunRequest, list[LeaderboardRow]]:
        refuse_unfinished(run_id, RunState(self._run(run_id)["state"]))
        request = RunRequest.model_validate(self.requests[int(run_id[1:]) - 1][0])
        return request, [LeaderboardRow.model_validate(row) for row in self._rows(run_id)]

    async def extend(
        self,
        run_id: str,
        time_budget_s: float | None = None,
        max_trials: int | None = None,
        tenant: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        wanted = continuation(run_id, *self._ended(run_id), time_budget_s, max_trials)
        return self._begin(wanted.model_dump(mode="json"), None, idempotency_key)

    async def replay(self, run_id: str, tenant: str | None = None, idempotency_key: str | None = None) -> str:
        wanted = repetition(run_id, *self._ended(run_id))
        return self._begin(wanted.model_dump(mode="json"), None, idempotency_key)

    async def report(self, run_id: str, tenant: str | None = None) -> list[dict[str, Any]]:
        run = self._run(run_id)
        refuse_unfinished(run_id, RunState(run["state"]))
        self.reports[run_id] = sample_report(run, self._rows(run_id), run.get("ensemble") or {})
        return [
            {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in self.reports[run_id].items()
        ]

    async def delete_run(self, run_id: str, tenant: str | None = None) -> None:
        if self._run(run_id)["state"] == "running":
            raise Conflict(f"Run {run_id} has not ended.", hint="Cancel it first.")
        del self.runs[run_id]

    async def artifact(
        self, run_id: str, name: str, offset: int = 0, length: int | None = None, tenant: str | None = None
    ) -> bytes:
        self._run(run_id)
        files = FILES | self.reports.get(run_id, {})
        if name not in files:
            raise NotFound(f"Run {run_id} has no file {name!r}.")
        return files[name][offset:][:length]

    async def predict(
        self, run_id: str, data: Any = None, proba: bool = False, format: str | None = None, tenant: str | None = None
    ) -> Any:
        self._run(run_id)
        if data is None:
            return pa.table({"ds": ["2030-01-02"], "prediction": [1.5]})
        if b"bad" in bytes(data):
            raise InvalidData("Column a is missing.", code="missing-column")
        columns: dict[str, list[Any]] = {"prediction": ["x, y", "z"]}
        return pa.table(columns | ({"proba_x": [0.25, 0.75]} if proba else {}))

    async def deploy(self, run_id: str, name: str | None = None, tenant: str | None = None) -> dict[str, Any]:
        self._run(run_id)
        name = name or f"model-{run_id}"
        self.served[name] = {"name": name, "route": f"/models/{name}", "run_id": run_id, "state": "starting"}
        return self.served[name]

    async def undeploy(self, name: str, tenant: str | None = None) -> None:
        if self.served.pop(name, None) is None:
            raise NotFound(f"There is no deployment {name!r}.")

    async def list_deployments(self, tenant: str | None = None) -> list[dict[str, Any]]:
        return list(self.served.values())

    async def info(self) -> dict[str, Any]:
        return {"versions": {"rayctl": "0"}, "limits": {}, "runs": {}}
