"""The artifact store: whole files or none, keys that stay inside."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from pathlib import Path

import pytest

from rayctl.errors import NotFound, Unavailable
from rayctl.state.artifacts import ArtifactStore


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    url = f"file://{tmp_path / 'artifacts'}" if request.param == "file" else f"memory://{tmp_path.name}"
    return ArtifactStore(url)


def test_what_is_put_comes_back_whole_and_in_parts(store: ArtifactStore) -> None:
    stored = store.put("runs/r1/model.zip", b"0123456789")
    assert (stored.bytes, stored.sha256) == (10, hashlib.sha256(b"0123456789").hexdigest())
    assert store.get("runs/r1/model.zip") == b"0123456789"
    assert store.get("runs/r1/model.zip", 3, 4) == b"3456"
    assert store.get("runs/r1/model.zip", 8, 100) == b"89"
    assert store.exists("runs/r1/model.zip")


def test_putting_again_replaces(store: ArtifactStore) -> None:
    store.put("a", b"one")
    store.put("a", b"two")
    assert store.get("a") == b"two"


def test_deleting_a_prefix_removes_all_below_and_is_repeatable(store: ArtifactStore) -> None:
    store.put("runs/r1/a", b"1")
    store.put("runs/r1/b", b"2")
    store.put("runs/r2/a", b"3")
    store.delete("runs/r1")
    store.delete("runs/r1")
    assert not store.exists("runs/r1/a")
    assert store.get("runs/r2/a") == b"3"


@pytest.mark.parametrize("key", ["../secret", "/etc/passwd", "a//b", "", ".hidden", "a/../../b", "a b"])
@pytest.mark.security("S13")
def test_keys_cannot_leave_the_store(store: ArtifactStore, key: str) -> None:
    with pytest.raises(NotFound):
        store.get(key)
    with pytest.raises(NotFound):
        store.put(key, b"x")


def test_a_missing_file_is_not_found(store: ArtifactStore) -> None:
    with pytest.raises(NotFound):
        store.get("runs/none")


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}")
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(Unavailable):
        store.put("runs/r1/model.zip", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_listing_finds_everything_below_a_prefix_with_size_and_time(store: ArtifactStore) -> None:
    before = time.time()
    for key, size in {"a/x/1": 3, "a/x/2": 0, "a/y/z/3": 70_000, "ab/4": 1, "b": 2}.items():
        store.put(key, bytes(size))
    found = store.list("a")
    assert [(file.key, file.bytes) for file in found] == [("a/x/1", 3), ("a/x/2", 0), ("a/y/z/3", 70_000)]
    assert all(before - 2 <= file.changed_at <= time.time() + 2 for file in found)
    assert [file.key for file in store.list("a/x")] == ["a/x/1", "a/x/2"]
    assert store.list("nothing/here") == []


def test_listing_follows_what_is_put_and_deleted(store: ArtifactStore) -> None:
    assert store.list("q") == []
    store.put("q/1", b"1")
    assert [file.key for file in store.list("q")] == ["q/1"]
    store.put("q/2", b"2")
    store.delete("q/1")
    assert [file.key for file in store.list("q")] == ["q/2"]


@pytest.mark.parametrize("prefix", ["../", "/etc", "", "a/../.."])
def test_listing_cannot_leave_the_store(store: ArtifactStore, prefix: str) -> None:
    with pytest.raises(NotFound):
        store.list(prefix)


def test_files_that_are_being_written_are_not_listed(tmp_path: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}")
    store.put("q/1", b"1")
    (tmp_path / "q" / ".2.json.0a1b2c3d").write_bytes(b"half")
    assert [file.key for file in store.list("q")] == ["q/1"]


def test_a_store_whose_address_ends_with_a_slash_lists_the_same_keys(tmp_path: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}/")
    store.put("q/1", b"1")
    assert [file.key for file in store.list("q")] == ["q/1"]
    assert store.get(store.list("q")[0].key) == b"1"


def test_listing_a_store_that_does_not_answer_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ArtifactStore(f"file://{tmp_path}")

    def find(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(store._fs), "find", find)
    with pytest.raises(Unavailable):
        store.list("q")


@pytest.mark.parametrize("durable", [True, False])
def test_only_durable_files_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool) -> None:
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(descriptor), real(descriptor)))
    store = ArtifactStore(f"file://{tmp_path}")
    stored = store.put("q/1", b"content", durable=durable)
    assert bool(synced) is durable
    assert (store.get("q/1"), stored.bytes) == (b"content", 7)
    assert [path.name for path in (tmp_path / "q").iterdir()] == ["1"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """Whatever a reader gets while a file is replaced is the old or the new one, whole."""
    store = ArtifactStore(f"file://{tmp_path}")
    contents = [bytes([number]) * 300_000 for number in range(2)]
    store.put("q/1", contents[0], durable=False)
    stop = threading.Event()

    def write() -> None:
        for number in itertools.cycle((1, 0)):
            if stop.is_set():
                return
            store.put("q/1", contents[number], durable=False)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert all(store.get("q/1") in contents for _ in range(60))
        assert all([file.key for file in store.list("q")] == ["q/1"] for _ in range(60))
    finally:
        stop.set()
        writer.join()
