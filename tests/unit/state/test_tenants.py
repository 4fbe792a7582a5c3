"""The registry of tenants: versions, concurrent writers, deletion, quotas that two at once cannot share."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, text

from rayctl.automl.model import RunState
from rayctl.errors import Conflict, NotFound, QuotaExceeded, RayctlError
from rayctl.state.catalog import Catalog
from rayctl.state.database import Database
from rayctl.state.quota import Bounds, Usage
from rayctl.state.runs import RunStore
from rayctl.state.schema import SCHEMA_VERSION
from rayctl.state.tenants import TenantStore
from tests.unit.state.test_runs import new_run


@pytest.fixture
def database(url: str) -> Database:
    return Database(url)


@pytest.fixture
def store(database: Database) -> TenantStore:
    return TenantStore(database)


def put(store: TenantStore, name: str, content: str, **more: Any) -> int:
    return store.put(name, content.encode(), content.ljust(64, "0"), 1.0, **more).version


def at_once(work: Callable[[int], Any], count: int) -> list[Any]:
    """Run the work in threads that start together; returns results and rayctl's errors."""
    found: list[Any] = [None] * count
    barrier = threading.Barrier(count)

    def one(number: int) -> None:
        barrier.wait()
        try:
            found[number] = work(number)
        except RayctlError as error:
            found[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_every_version_stays(store: TenantStore) -> None:
    assert put(store, "a", "one", author="ann", note="first") == 1
    assert put(store, "a", "two") == 2
    assert put(store, "b", "one") == 1
    assert store.get("a").envelope == b"two"
    first = store.get("a", 1)
    assert (first.envelope, first.author, first.note) == (b"one", "ann", "first")
    assert [found.version for found in store.history("a")] == [2, 1]
    assert [(found.tenant, found.version) for found in store.list()] == [("a", 2), ("b", 1)]
    assert [found.tenant for found in store.list("b")] == ["b"]


def test_the_same_contents_again_are_no_new_version(store: TenantStore) -> None:
    assert put(store, "a", "one") == put(store, "a", "one") == 1


def test_what_is_not_there_is_said(store: TenantStore) -> None:
    for call in (store.get, store.history, lambda name: store.delete(name, 1.0)):
        with pytest.raises(NotFound) as caught:
            call("nobody")
        assert caught.value.code == "tenant-not-found"
    put(store, "a", "one")
    with pytest.raises(NotFound) as caught:
        store.get("a", 7)
    assert caught.value.code == "tenant-version-not-found"
    assert store.find("nobody") is None


def test_a_write_says_what_it_is_based_on(store: TenantStore) -> None:
    assert put(store, "a", "one", expected=0) == 1
    with pytest.raises(Conflict) as caught:
        put(store, "a", "two", expected=0)
    assert caught.value.code == "tenant-exists"
    assert put(store, "a", "two", expected=1) == 2
    with pytest.raises(Conflict) as caught:
        put(store, "a", "three", expected=1)
    assert caught.value.code == "tenant-changed"
    with pytest.raises(NotFound):
        put(store, "b", "one", expected=3)


def test_of_many_writers_at_once_one_wins_and_the_others_know(store: TenantStore) -> None:
    found = at_once(lambda number: put(store, "a", f"v{number}", expected=0), 8)
    assert found.count(1) == 1
    assert sorted(getattr(error, "code", "") for error in found)[1:] == ["tenant-exists"] * 7
    found = at_once(lambda number: put(store, "a", f"w{number}", expected=1), 8)
    assert found.count(2) == 1
    found = at_once(lambda number: put(store, "a", f"x{number}"), 8)
    assert sorted(found) == list(range(3, 11))


def test_a_tenant_in_use_is_not_deleted(store: TenantStore, database: Database) -> None:
    put(store, "a", "one")
    runs = RunStore(database)
    runs.accept(new_run("r1", tenant="a", tenant_version=1))
    with pytest.raises(Conflict) as caught:
        store.delete("a", 2.0)
    assert caught.value.code == "tenant-in-use"
    runs.finish("r1", RunState.CANCELLED, 2.0, reason="cancelled")
    Catalog(database).add_deployment("model", "a", "r1", "/m", 2.0)
    with pytest.raises(Conflict):
        store.delete("a", 2.0)
    Catalog(database).remove_deployment("model", "a")
    store.delete("a", 2.0)
    assert store.list() == []
    assert runs.get("r1")["tenant"] == "a", "ended runs stay"
    assert put(store, "a", "new") == 2, "a version that a run names is not given again"


def test_another_tenants_uploads_and_deployments_are_not_there(database: Database) -> None:
    """Every way in, HTTP or Ray, asks here: what is another's looks like what never was."""
    catalog = Catalog(database)
    RunStore(database).accept(new_run("r1", tenant="a"))
    catalog.add_upload("u1", "a", "data/x", 1, ["c"], 10, 1.0)
    catalog.add_deployment("model", "a", "r1", "/m", 1.0)
    assert catalog.upload_key("u1", "a") == "data/x"
    for ask in (
        lambda: catalog.upload_key("u1", "b"),
        lambda: catalog.upload_key("none", "b"),
        lambda: catalog.remove_deployment("model", "b"),
        lambda: catalog.remove_deployment("none", "b"),
    ):
        with pytest.raises(NotFound):
            ask()
    assert catalog.deployments("b") == []
    assert [found["name"] for found in catalog.deployments("a")] == ["model"]
    with pytest.raises(NotFound) as foreign:
        catalog.upload_key("u1", "b")
    with pytest.raises(NotFound) as missing:
        catalog.upload_key("u2", "b")
    assert foreign.value.message.replace("u1", "*") == missing.value.message.replace("u2", "*")


def test_usage_counts_runs_bytes_and_deployments(store: TenantStore, database: Database) -> None:
    runs, catalog = RunStore(database), Catalog(database)
    runs.accept(new_run("r1", tenant="a", stored_bytes=100))
    runs.accept(new_run("r2", tenant="a", stored_bytes=50))
    runs.accept(new_run("r3", tenant="b", stored_bytes=7))
    runs.start("r1", 1.0, None)
    catalog.add_upload("u1", "a", "data/x", 1, ["c"], 1000, 1.0)
    catalog.add_deployment("m", "a", "r1", "/m", 1.0)
    assert store.usage("a") == Usage(queued=1, running=1, runs=2, stored_bytes=1150, deployments=1)
    assert store.usage("nobody") == Usage(0, 0, 0, 0, 0)


@pytest.mark.security("S15")
def test_of_many_runs_at_once_no_more_are_accepted_than_the_quota_allows(
    store: TenantStore, database: Database
) -> None:
    put(store, "a", "one")
    runs = RunStore(database)
    bounds = Bounds(max_running=2, max_queued=1)
    found = at_once(lambda number: runs.accept(new_run(f"r{number}", tenant="a"), bounds), 12)
    accepted = [item for item in found if isinstance(item, tuple)]
    refused = [item for item in found if isinstance(item, QuotaExceeded)]
    assert (len(accepted), len(refused)) == (3, 9)
    assert {error.code for error in refused} == {"quota-runs"}
    assert runs.accept(new_run("other", tenant="b"), bounds) == ("other", True), "others have a quota of their own"


def test_of_many_bytes_at_once_no_more_are_kept_than_the_quota_allows(store: TenantStore, database: Database) -> None:
    put(store, "a", "one")
    runs = RunStore(database)
    bounds = Bounds(max_stored_bytes=350)
    found = at_once(lambda number: runs.accept(new_run(f"r{number}", tenant="a", stored_bytes=100), bounds), 8)
    assert sum(isinstance(item, tuple) for item in found) == 3
    assert {error.code for error in found if isinstance(error, QuotaExceeded)} == {"quota-bytes"}
    assert store.usage("a").stored_bytes == 300


def test_a_repeated_submission_finds_its_run_also_when_the_quota_is_full(
    store: TenantStore, database: Database
) -> None:
    put(store, "a", "one")
    runs = RunStore(database)
    bounds = Bounds(max_running=1, max_queued=0)
    assert runs.accept(new_run("r1", tenant="a", idempotency_key="k"), bounds) == ("r1", True)
    assert runs.accept(new_run("r2", tenant="a", idempotency_key="k"), bounds) == ("r1", False)


@pytest.mark.parametrize(
    ("bounds", "used", "code"),
    [
        (Bounds(), Usage(99, 99, 999, 10**12, 9), None),
        (Bounds(max_running=1), Usage(50, 1, 60, 0, 0), None),
        (Bounds(max_running=1, max_queued=0), Usage(0, 1, 1, 0, 0), "quota-runs"),
        (Bounds(max_running=1, max_queued=0), Usage(0, 0, 9, 0, 0), None),
        (Bounds(max_queued=2), Usage(1, 9, 10, 0, 0), None),
        (Bounds(max_queued=2), Usage(2, 0, 2, 0, 0), "quota-runs"),
        (Bounds(max_stored_bytes=10), Usage(0, 0, 0, 5, 0), None),
        (Bounds(max_stored_bytes=10), Usage(0, 0, 0, 6, 0), "quota-bytes"),
    ],
)
def test_bounds(bounds: Bounds, used: Usage, code: str | None) -> None:
    if code is None:
        bounds.check("a", used, 5)
        return
    with pytest.raises(QuotaExceeded) as caught:
        bounds.check("a", used, 5)
    assert caught.value.code == code


def test_a_database_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "rayctl.db"
    url = f"sqlite:///{path}"
    runs = RunStore(Database(url))
    runs.accept(new_run("r1"))
    with sqlite3.connect(path) as connection:
        # What version 1 was: without the new tables and columns.
        connection.execute("ALTER TABLE runs DROP COLUMN tenant_version")
        connection.execute("ALTER TABLE runs DROP COLUMN stored_bytes")
        connection.execute("DROP TABLE tenants")
        connection.execute("DROP TABLE tenant_versions")
        connection.execute("UPDATE schema_info SET version = 1")
    database = Database(url)
    with database.transaction() as connection:
        assert connection.execute(text("SELECT version FROM schema_info")).scalar() == SCHEMA_VERSION
        assert {"tenants", "tenant_versions"} <= set(inspect(connection).get_table_names())
    row = RunStore(database).get("r1")
    assert (row["tenant_version"], row["stored_bytes"]) == (None, 0)
    assert put(TenantStore(database), "a", "one") == 1
    Database(url)
