"""The store against a model: lists of past moments, histories, compaction, and what a restart finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayctl.embedded.apiserver.database import Database
from rayctl.embedded.apiserver.store import Change, Event, Store

WRITES = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from("xyz"), st.one_of(st.none(), st.integers(0, 3))), max_size=25
)


def document(name: str, value: int) -> dict[str, Any]:
    return {"metadata": {"name": name}, "value": value}


def write(store: Store, namespace: str, name: str, value: int | None) -> int | None:
    """Write or delete; returns the revision, None if there was nothing to delete."""
    if value is None and store.newest("things", namespace, name) is None:
        return None
    stored, settled = store.write(Change(("things", namespace, name), None if value is None else document(name, value)))
    assert settled is None
    return stored.revision


@settings(max_examples=100, deadline=None)
@given(writes=WRITES)
def test_every_past_moment_can_be_listed(writes: list[tuple[str, str, int | None]]) -> None:
    store = Store(None, lambda: 0.0)
    model: dict[tuple[str, str], int] = {}
    moments: dict[int, dict[tuple[str, str], int]] = {store.revision: {}}
    told: list[Event] = []
    store.subscribe(told.append)
    for namespace, name, value in writes:
        revision = write(store, namespace, name, value)
        if revision is None:
            continue
        if value is None:
            del model[(namespace, name)]
        else:
            model[(namespace, name)] = value
        moments[revision] = dict(model)
    for revision, expected in moments.items():
        found = store.items_at("things", "", revision)
        assert found is not None
        assert {stored.key[1:]: stored.object["value"] for stored in found} == expected
        assert [stored.key[1:] for stored in found] == sorted(expected)
        in_a = store.items_at("things", "a", revision)
        assert in_a is not None
        assert {stored.name for stored in in_a} == {name for namespace, name in expected if namespace == "a"}
        assert store.changes_after("things", revision) == [event for event in told if event.revision > revision]
    assert [event.revision for event in told] == sorted({event.revision for event in told})


@settings(max_examples=30, deadline=None)
@given(writes=WRITES, kept=st.integers(0, 25))
def test_a_restart_finds_objects_history_and_revision(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[str, str, int | None]], kept: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    store = Store(Database(folder, "normal"), lambda: 0.0)
    revisions = [found for namespace, name, value in writes if (found := write(store, namespace, name, value))]
    if revisions and kept < len(revisions):
        store.compact(revisions[kept])
    before = (store.revision, store.compacted, store.items("things"), list(store.all_changes()))
    store._database.close()  # type: ignore[union-attr]  (as a killed process leaves it: nothing is written at the end)
    again = Store(Database(folder, "normal"), lambda: 0.0)
    assert (again.revision, again.compacted, again.items("things"), list(again.all_changes())) == before
    assert again.items_at("things", "", again.compacted - 1) is None
    again.close()


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    database = Database(tmp_path, "normal")
    database.set_meta({"format": "99"})
    database.close()
    with pytest.raises(ValueError, match="Use another folder"):
        Database(tmp_path, "normal")


async def test_when_the_disk_refuses_nothing_has_changed(tmp_path: Path) -> None:
    database = Database(tmp_path, "full")
    store = Store(database, lambda: 0.0, grouping="thread")
    stored, settled = store.write(Change(("things", "a", "x"), document("x", 1)))
    assert store.get("things", "a", "x") is None, "readers see what is on the disk"
    assert store.newest("things", "a", "x") == stored, "writers build on what is under way"
    assert settled is not None
    await settled
    assert store.get("things", "a", "x") == stored
    database._connection.execute("PRAGMA query_only = 1")
    _, settled = store.write(Change(("things", "a", "y"), document("y", 1)))
    assert settled is not None
    with pytest.raises(Exception, match="readonly"):
        await settled
    assert store.newest("things", "a", "y") is None
    database._connection.execute("PRAGMA query_only = 0")
    later, settled = store.write(Change(("things", "a", "y"), document("y", 2)))
    assert settled is not None
    await settled
    assert later.revision > stored.revision
    await store.settle()
    store.close()
