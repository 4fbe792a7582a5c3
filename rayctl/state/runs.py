"""Runs, trials, events, uploads and deployments in the state database.

Plain synchronous functions of one class; the proxy calls them from threads. Writes of one method are one
transaction: a trial, its events and the run's counters appear together or not at all. Repeating a write is
harmless, because Ray may repeat a call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from rayctl.automl.leaderboard import best_row
from rayctl.automl.model import LeaderboardRow, RunState, TrialState
from rayctl.clock import iso
from rayctl.errors import Conflict, IdempotencyConflict, InvalidRequest, NotFound
from rayctl.state.database import Database
from rayctl.state.quota import Bounds
from rayctl.state.schema import events, runs, tenants, trials
from rayctl.state.tenants import usage_of

__all__ = ["NewRun", "RunStore"]

Row = dict[str, Any]
_TERMINAL = (RunState.SUCCEEDED.value, RunState.FAILED.value, RunState.CANCELLED.value)
_CURSOR_DIGITS = 18  # what a database can compare


@dataclass(frozen=True)
class NewRun:
    """What is written when a run is accepted. ``request`` and ``summary`` are JSON texts.

    ``tenant_version``: version of the tenant's configuration that counts for it; None: the tenant is not registered.
    ``stored_bytes``: of its data.
    """

    id: str
    tenant: str
    request: str
    request_digest: str
    idempotency_key: str | None
    data_key: str
    summary: str
    metric: str
    greater_is_better: bool
    time_budget_s: float | None
    planned: int | None
    created_at: float
    tenant_version: int | None = None
    stored_bytes: int = 0


class RunStore:
    """The journal of the AutoML service."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accept(self, run: NewRun, quota: Bounds | None = None) -> tuple[str, bool]:
        """Write a new queued run, if the tenant's quota has room for it. Returns (run id, whether it is new).

        What a tenant uses is counted in the transaction that writes, so that two requests cannot share the last place.

        With an idempotency key that was used before, the earlier run's id is returned and nothing is written.

        Raises:
            IdempotencyConflict: the key was used with another request or other data.
            QuotaExceeded: the tenant has as many runs or bytes as it may have.
            Unavailable: the database did not do it.
        """
        if run.idempotency_key is not None:
            earlier = self.find_by_key(run.tenant, run.idempotency_key)
            if earlier is not None:
                return _same_request(earlier, run), False
        values = dict(vars(run), state=RunState.QUEUED.value, cancel_requested=False)
        try:
            with self._database.transaction() as connection:
                if quota is not None and quota.is_bounded:
                    touch = update(tenants).where(tenants.c.name == run.tenant)
                    connection.execute(touch.values(counted_at=run.created_at))  # keeps others out while we count
                    quota.check(run.tenant, usage_of(connection, run.tenant), run.stored_bytes)
                connection.execute(insert(runs).values(**values))
        except IntegrityError:
            # Somebody else used the key between our look and our write.
            earlier = self.find_by_key(run.tenant, run.idempotency_key or "")
            if earlier is None:
                raise
            return _same_request(earlier, run), False
        return run.id, True

    def find_by_key(self, tenant: str, key: str) -> Row | None:
        """Return the run that was accepted with this idempotency key, or None."""
        query = select(runs).where(runs.c.tenant == tenant, runs.c.idempotency_key == key)
        with self._database.transaction() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else dict(row)

    def get(self, run_id: str, tenant: str | None = None) -> Row:
        """Return a run's row.

        Raises:
            NotFound: no such run, or another tenant's.
        """
        with self._database.transaction() as connection:
            return _get(connection, run_id, tenant)

    def page(
        self, tenant: str | None, state: str | None, limit: int, cursor: str | None
    ) -> tuple[list[Row], str | None]:
        """Return up to ``limit`` runs, newest first, and the cursor of the next page (None: no more).

        Raises:
            InvalidRequest: the cursor or the state is not one of ours.
        """
        query = select(runs).order_by(runs.c.position.desc()).limit(limit + 1)
        if tenant is not None:
            query = query.where(runs.c.tenant == tenant)
        if state is not None:
            if state not in {known.value for known in RunState}:
                hint = "One of " + ", ".join(known.value for known in RunState) + "."
                raise InvalidRequest(f"There is no run state {state!r}.", code="unknown-state", hint=hint)
            query = query.where(runs.c.state == state)
        if cursor is not None:
            if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _CURSOR_DIGITS):
                hint = "Use `next` of the last page."
                raise InvalidRequest("The cursor is not valid.", code="invalid-cursor", hint=hint)
            query = query.where(runs.c.position < int(cursor))
        with self._database.transaction() as connection:
            found = [dict(row) for row in connection.execute(query).mappings()]
        more = len(found) > limit
        return found[:limit], str(found[limit - 1]["position"]) if more else None

    def unfinished(self) -> list[Row]:
        """Return queued and running runs, oldest first."""
        query = select(runs).where(runs.c.state.not_in(_TERMINAL)).order_by(runs.c.position)
        with self._database.transaction() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def unannounced(self) -> list[str]:
        """Return ended runs whose event log has no end yet (a crash came in between)."""
        closed = select(events.c.run_id).where(events.c.kind == "done")
        query = select(runs.c.id).where(runs.c.state.in_(_TERMINAL), runs.c.id.not_in(closed))
        with self._database.transaction() as connection:
            return list(connection.execute(query).scalars())

    def counts(self) -> dict[str, int]:
        """Return how many runs are in each state."""
        query = select(runs.c.state, func.count()).group_by(runs.c.state)
        with self._database.transaction() as connection:
            return {state: count for state, count in connection.execute(query).all()}

    def start(self, run_id: str, started_at: float, deadline_at: float | None) -> Row:
        """Mark a run as running (again): the first start fixes its times, later ones count as attempts."""
        with self._database.transaction() as connection:
            row = _get(connection, run_id, None)
            changes: dict[str, Any] = {"attempts": row["attempts"] + 1, "state": RunState.RUNNING.value}
            if row["started_at"] is None:
                changes |= {"started_at": started_at, "deadline_at": deadline_at}
            connection.execute(update(runs).where(runs.c.id == run_id).values(**changes))
            return _get(connection, run_id, None)

    def request_cancel(self, run_id: str, tenant: str | None) -> Row:
        """Note that a run is to stop; harmless for runs that have ended or were asked before."""
        with self._database.transaction() as connection:
            row = _get(connection, run_id, tenant)
            if row["state"] not in _TERMINAL and not row["cancel_requested"]:
                connection.execute(update(runs).where(runs.c.id == run_id).values(cancel_requested=True))
            return _get(connection, run_id, tenant)

    def record(
        self,
        run_id: str,
        rows: Sequence[LeaderboardRow],
        new_events: Sequence[tuple[str, Mapping[str, Any]]],
        now: float,
        running: int = 0,
    ) -> bool:
        """Journal ended trials with their events; returns whether the run is to stop.

        A trial that is there already is left as it is and causes no second event.
        """
        with self._database.transaction() as connection:
            run = _get(connection, run_id, None)
            if run["state"] in _TERMINAL:
                return True
            known = _known_trials(connection, run_id, [row.trial for row in rows])
            fresh = [row for row in rows if row.trial not in known]
            if fresh:
                common = {"run_id": run_id, "at": now}
                values = [
                    {"number": row.trial, "state": row.state.value, "row": row.model_dump_json(), **common}
                    for row in fresh
                ]
                connection.execute(insert(trials), values)
            changes = _counters(run, fresh) | {"running": running}
            connection.execute(update(runs).where(runs.c.id == run_id).values(**changes))
            trial_events = [("trial", row.model_dump(mode="json")) for row in fresh]
            _append(connection, run_id, [*trial_events, *new_events], now)
            return bool(run["cancel_requested"])

    def add_events(self, run_id: str, new_events: Sequence[tuple[str, Mapping[str, Any]]], now: float) -> int:
        """Append events to a run's log; returns the last sequence number."""
        with self._database.transaction() as connection:
            return _append(connection, run_id, new_events, now)

    def close_events(self, run_id: str, last_events: Sequence[tuple[str, Mapping[str, Any]]], now: float) -> None:
        """Append the last events of an ended run; does nothing if its log is closed already."""
        with self._database.transaction() as connection:
            query = select(func.count()).where(events.c.run_id == run_id, events.c.kind == "done")
            if not connection.execute(query).scalar_one():
                _append(connection, run_id, last_events, now)

    def finish(
        self,
        run_id: str,
        state: RunState,
        now: float,
        reason: str | None = None,
        error: Mapping[str, Any] | None = None,
        result: Mapping[str, Any] | None = None,
    ) -> bool:
        """End a run. Returns whether this call ended it (False: it had ended before, nothing changed)."""
        with self._database.transaction() as connection:
            row = _get(connection, run_id, None)
            if row["state"] in _TERMINAL:
                return False
            kept = sum(file["bytes"] for file in (result or {}).get("artifacts", ()))
            values = {
                "state": state.value,
                "finished_at": now,
                "running": 0,
                "reason": reason,
                "error": json.dumps(error) if error is not None else None,
                "result": json.dumps(result) if result is not None else None,
                "stored_bytes": row["stored_bytes"] + kept,
            }
            connection.execute(update(runs).where(runs.c.id == run_id).values(**values))
            return True

    def trials(self, run_id: str) -> list[LeaderboardRow]:
        """Return the journalled trials by number."""
        query = select(trials.c.row).where(trials.c.run_id == run_id).order_by(trials.c.number)
        with self._database.transaction() as connection:
            return [LeaderboardRow.model_validate_json(text) for text in connection.execute(query).scalars()]

    def events(self, run_id: str, after: int, limit: int) -> list[dict[str, Any]]:
        """Return event documents with ``seq > after``, in order."""
        query = (
            select(events).where(events.c.run_id == run_id, events.c.seq > after).order_by(events.c.seq).limit(limit)
        )
        with self._database.transaction() as connection:
            found = list(connection.execute(query).mappings())
        return [
            {"run_id": run_id, "seq": e["seq"], "at": iso(e["at"]), "kind": e["kind"], "data": json.loads(e["data"])}
            for e in found
        ]

    def delete(self, run_id: str, tenant: str | None) -> str | None:
        """Remove an ended run. Returns the data key if no other run uses that data, else None.

        Raises:
            NotFound: no such run. Conflict: it has not ended.
        """
        with self._database.transaction() as connection:
            row = _get(connection, run_id, tenant)
            if row["state"] not in _TERMINAL:
                raise Conflict(
                    f"Run {run_id} is {row['state']}; only ended runs can be deleted.",
                    code="run-not-ended",
                    hint=f"Cancel it first: rayctl automl cancel {run_id}",
                )
            for table in (events, trials):
                connection.execute(delete(table).where(table.c.run_id == run_id))
            connection.execute(delete(runs).where(runs.c.id == run_id))
            others = connection.execute(
                select(func.count()).select_from(runs).where(runs.c.data_key == row["data_key"])
            ).scalar_one()
            return None if others else str(row["data_key"])


def _get(connection: Connection, run_id: str, tenant: str | None) -> Row:
    row = connection.execute(select(runs).where(runs.c.id == run_id)).mappings().first()
    if row is None or (tenant is not None and row["tenant"] != tenant):
        raise NotFound(f"There is no run {run_id!r}.", code="run-not-found", hint="See `rayctl automl list`.")
    return dict(row)


def _same_request(earlier: Row, run: NewRun) -> str:
    if earlier["request_digest"] != run.request_digest or earlier["data_key"] != run.data_key:
        raise IdempotencyConflict(
            f"The idempotency key was used for run {earlier['id']} with another request or other data.",
            hint="Use a new key for a new request.",
        )
    return str(earlier["id"])


def _known_trials(connection: Connection, run_id: str, numbers: Iterable[int]) -> set[int]:
    query = select(trials.c.number).where(trials.c.run_id == run_id, trials.c.number.in_(list(numbers)))
    return set(connection.execute(query).scalars())


def _counters(run: Row, fresh: Sequence[LeaderboardRow]) -> dict[str, Any]:
    greater_is_better = bool(run["greater_is_better"])
    changes: dict[str, Any] = {
        name: run[name] + sum(row.state is state for row in fresh)
        for name, state in (("done", TrialState.DONE), ("failed", TrialState.FAILED), ("skipped", TrialState.SKIPPED))
    }
    best = best_row(fresh, greater_is_better)
    if best is not None and best.score is not None:
        old = run["best_score"]
        better = old is None or (best.score > old if greater_is_better else best.score < old)
        # Among equal scores the earlier trial leads, as on the leaderboard.
        if better or (best.score == old and best.trial < run["best_trial"]):
            changes |= {"best_score": best.score, "best_model": best.model, "best_trial": best.trial}
    return changes


def _append(
    connection: Connection, run_id: str, new_events: Sequence[tuple[str, Mapping[str, Any]]], now: float
) -> int:
    if new_events:
        # First, because it locks: of two that read the number before one of them wrote, one would lose its events.
        counted = runs.c.last_event + len(new_events)
        connection.execute(update(runs).where(runs.c.id == run_id).values(last_event=counted))
    last = int(connection.execute(select(runs.c.last_event).where(runs.c.id == run_id)).scalar_one())
    rows = [
        {"run_id": run_id, "seq": seq, "at": now, "kind": kind, "data": json.dumps(data, default=str)}
        for seq, (kind, data) in enumerate(new_events, start=last - len(new_events) + 1)
    ]
    if rows:
        connection.execute(insert(events), rows)
    return last
