"""The artifact store: whole files or none, keys that stay inside."""

from __future__ import annotations

import hashlib
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
