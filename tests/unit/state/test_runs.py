"""The journal: acceptance, trials, events, restarts, a full disk."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import event, text

from rayctl.automl.model import LeaderboardRow, RunState, TrialState
from rayctl.errors import Conflict, IdempotencyConflict, InvalidRequest, NotFound, Unavailable
from rayctl.state.database import Database
from rayctl.state.runs import NewRun, RunStore


def new_run(run_id: str, **changes: object) -> NewRun:
    fields = {
        "id": run_id,
        "tenant": "default",
        "request": "{}",
        "request_digest": "digest",
        "idempotency_key": None,
        "data_key": "data/abc.arrow",
        "summary": "{}",
        "metric": "accuracy",
        "greater_is_better": True,
        "time_budget_s": None,
        "planned": 3,
        "created_at": 1.0,
    }
    return NewRun(**(fields | changes))  # type: ignore[arg-type]


def row(trial: int, score: float | None = None) -> LeaderboardRow:
    state = TrialState.DONE if score is not None else TrialState.FAILED
    return LeaderboardRow(trial=trial, model="m", state=state, score=score)


@pytest.fixture
def store(url: str) -> RunStore:
    return RunStore(Database(url))


def test_an_accepted_run_is_there_after_reopening(url: str) -> None:
    assert RunStore(Database(url)).accept(new_run("r1")) == ("r1", True)
    again = RunStore(Database(url))
    assert again.get("r1")["state"] == "queued"
    assert [found["id"] for found in again.unfinished()] == ["r1"]


def test_the_same_key_gives_the_same_run_and_another_request_is_refused(store: RunStore) -> None:
    store.accept(new_run("r1", idempotency_key="k"))
    assert store.accept(new_run("r2", idempotency_key="k")) == ("r1", False)
    with pytest.raises(IdempotencyConflict):
        store.accept(new_run("r3", idempotency_key="k", request_digest="other"))
    with pytest.raises(IdempotencyConflict):
        store.accept(new_run("r4", idempotency_key="k", data_key="data/other.arrow"))
    assert store.accept(new_run("r5", idempotency_key="k", tenant="other")) == ("r5", True)


def test_racing_submissions_with_one_key_give_one_run(url: str) -> None:
    Database(url)
    barrier = threading.Barrier(6)
    answers: list[tuple[str, bool]] = []

    def submit(number: int) -> None:
        own = RunStore(Database(url))
        barrier.wait()
        answers.append(own.accept(new_run(f"r{number}", idempotency_key="k")))

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({run_id for run_id, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1


def test_recording_a_trial_twice_counts_once(store: RunStore) -> None:
    store.accept(new_run("r1"))
    store.record("r1", [row(0, 0.5)], (), 2.0)
    store.record("r1", [row(0, 0.5), row(1, 0.7)], (), 3.0)
    found = store.get("r1")
    assert (found["done"], found["best_score"], found["best_trial"]) == (2, 0.7, 1)
    assert [event["data"]["trial"] for event in store.events("r1", 0, 10)] == [0, 1]
    assert [event["seq"] for event in store.events("r1", 1, 10)] == [2]


def test_the_best_is_by_direction_and_the_earlier_of_equals(store: RunStore) -> None:
    store.accept(new_run("r1", greater_is_better=False))
    store.record("r1", [row(1, 0.5)], (), 2.0)
    store.record("r1", [row(0, 0.5), row(2, 0.9)], (), 2.0)
    assert store.get("r1")["best_trial"] == 0


def test_a_run_ends_once(store: RunStore) -> None:
    store.accept(new_run("r1"))
    assert store.finish("r1", RunState.CANCELLED, 5.0) is True
    assert store.finish("r1", RunState.SUCCEEDED, 6.0, result={}) is False
    assert store.get("r1")["state"] == "cancelled"
    store.record("r1", [row(0, 0.5)], (), 7.0)
    assert store.trials("r1") == []
    store.close_events("r1", [("done", {})], 8.0)
    store.close_events("r1", [("done", {})], 8.0)
    assert [event["kind"] for event in store.events("r1", 0, 10)] == ["done"]


def test_a_restart_keeps_the_first_start_and_the_deadline(store: RunStore) -> None:
    store.accept(new_run("r1", time_budget_s=10.0))
    store.start("r1", 100.0, 110.0)
    again = store.start("r1", 105.0, 115.0)
    assert (again["started_at"], again["deadline_at"], again["attempts"]) == (100.0, 110.0, 2)


def test_ended_runs_without_an_end_in_their_log_are_found(store: RunStore) -> None:
    store.accept(new_run("r1"))
    store.finish("r1", RunState.FAILED, 5.0)
    assert store.unannounced() == ["r1"]
    store.close_events("r1", [("done", {})], 6.0)
    assert store.unannounced() == []


def test_pages_come_newest_first_and_end(store: RunStore) -> None:
    for number in range(5):
        store.accept(new_run(f"r{number}", tenant="a" if number % 2 else "b"))
    first, cursor = store.page(None, None, 2, None)
    second, cursor = store.page(None, None, 2, cursor)
    third, end = store.page(None, None, 2, cursor)
    assert [r["id"] for r in first + second + third] == ["r4", "r3", "r2", "r1", "r0"]
    assert end is None
    assert [r["id"] for r in store.page("a", None, 10, None)[0]] == ["r3", "r1"]


def test_another_tenants_run_does_not_exist(store: RunStore) -> None:
    store.accept(new_run("r1", tenant="a"))
    with pytest.raises(NotFound):
        store.get("r1", "b")
    with pytest.raises(NotFound):
        store.delete("r1", "b")


def test_only_ended_runs_are_deleted_and_shared_data_stays(store: RunStore) -> None:
    store.accept(new_run("r1"))
    store.accept(new_run("r2"))
    with pytest.raises(Conflict):
        store.delete("r1", None)
    for run_id in ("r1", "r2"):
        store.finish(run_id, RunState.FAILED, 2.0)
    assert store.delete("r1", None) is None
    assert store.delete("r2", None) == "data/abc.arrow"


def test_a_full_disk_is_a_typed_error_and_loses_nothing(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    store = RunStore(database)
    store.accept(new_run("r1"))
    # SQLite says "database or disk is full" when a file may not grow: the same error as on a full disk.
    with database.engine.connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()

    def no_growth(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    event.listen(database.engine, "connect", no_growth)
    database.engine.dispose()
    with pytest.raises(Unavailable) as caught:  # noqa: PT012 (which write fails is the disk's matter)
        for number in range(2000):
            store.add_events("r1", [("log", {"text": "x" * 500, "n": number})], 1.0)
    assert caught.value.code == "state-disk-full"
    assert store.get("r1")["state"] == "queued"
    event.remove(database.engine, "connect", no_growth)
    database.engine.dispose()
    before = store.get("r1")["last_event"]
    store.add_events("r1", [("log", {"text": "room again"})], 1.0)
    assert store.get("r1")["last_event"] == before + 1


def test_a_database_of_a_newer_version_is_refused(url: str) -> None:
    database = Database(url)
    with database.transaction() as connection:
        connection.execute(text("UPDATE schema_info SET version = 999"))
    with pytest.raises(Unavailable, match="999"):
        Database(url)


def test_an_unwritable_place_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(Unavailable):
        Database(f"sqlite:///{tmp_path / 'file' / 'rayctl.db'}")


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "²", "9" * 19])
def test_a_cursor_that_is_none_of_ours_is_refused(store: RunStore, cursor: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        store.page(None, None, 2, cursor)
    assert caught.value.code == "invalid-cursor"


def test_events_that_are_added_at_once_are_all_there(url: str) -> None:
    RunStore(Database(url)).accept(new_run("r1"))
    first = RunStore(Database(url)).get("r1")["last_event"]
    barrier = threading.Barrier(4)
    failed: list[BaseException] = []

    def add(number: int) -> None:
        own = RunStore(Database(url))
        barrier.wait()
        try:
            for count in range(8):
                own.add_events("r1", [("log", {"by": number, "count": count}), ("log", {})], 1.0)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    found = RunStore(Database(url)).events("r1", first, 100)
    assert [event["seq"] for event in found] == list(range(first + 1, first + 65))
