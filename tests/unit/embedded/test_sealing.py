"""With a key, no Secret is in the data folder in clear text; without the right one, it is not served at all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from rayctl.embedded.apiserver.database import Database
from rayctl.embedded.apiserver.sealing import Sealer, read_key
from rayctl.embedded.apiserver.serve import ServeOptions, serve
from rayctl.embedded.apiserver.store import Change, Store
from rayctl.errors import InvalidRequest

CANARY = "c4n4ry-" * 20
FIRST, OTHER = Sealer(bytes(32)), Sealer(bytes([1]) * 32)
KEY = ("secrets", "default", "s")


def secret(value: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": "default"},
        "data": {"k": value},
    }


def files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def kept(folder: Path, sealer: Sealer | None, *values: str) -> Store:
    """Write values one after the other, without closing: as kill -9 leaves the files."""
    store = Store(Database(folder, "normal", sealer), lambda: 0.0)
    for value in values:
        store.write(Change(KEY, secret(value)))
    return store


@pytest.mark.security("S8")
def test_no_file_has_it_and_the_server_has(tmp_path: Path) -> None:
    store = kept(tmp_path, FIRST, CANARY, CANARY + "2")
    store.write(Change(("configmaps", "default", "m"), {**secret("in-the-open"), "kind": "ConfigMap"}))
    assert b"c4n4ry" not in files(tmp_path)
    assert b"in-the-open" in files(tmp_path)
    store.close()
    assert b"c4n4ry" not in files(tmp_path)
    again = kept(tmp_path, FIRST)
    found = again.get(*KEY)
    assert found is not None
    assert found.object["data"] == {"k": CANARY + "2"}
    events = again.changes_after("secrets", 0)
    assert [event.before and event.before.object["data"]["k"] for event in events] == [None, CANARY]
    again.close()


@pytest.mark.security("S8")
def test_what_was_in_clear_text_is_encrypted_and_leaves_no_trace(tmp_path: Path) -> None:
    before = kept(tmp_path, None, CANARY, CANARY + "2")
    before.close()
    assert b"c4n4ry" in files(tmp_path)
    after = kept(tmp_path, FIRST)
    assert b"c4n4ry" not in files(tmp_path)
    assert after.get(*KEY) is not None
    assert len(after.changes_after("secrets", 0)) == 2
    after.close()


@pytest.mark.parametrize(("sealer", "said"), [(None, "are encrypted"), (OTHER, "cannot be decrypted")])
def test_without_the_right_key_nothing_is_served(tmp_path: Path, sealer: Sealer | None, said: str) -> None:
    kept(tmp_path, FIRST, CANARY).close()
    database = Database(tmp_path, "normal", sealer)
    with pytest.raises(ValueError, match=said) as raised:
        Store(database, lambda: 0.0)
    assert "c4n4ry" not in str(raised.value)
    database.close()


@pytest.mark.security("S8")
def test_a_value_does_not_pass_for_another_objects() -> None:
    sealed = FIRST.seal(KEY, b"value")
    with pytest.raises(ValueError, match="cannot be decrypted"):
        FIRST.open(("secrets", "default", "other"), sealed)


@pytest.mark.security("S8")
def test_a_key_is_made_once_and_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "secrets.key"
    key = read_key(path)
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key(path) == key
    path.chmod(0o640)
    with pytest.raises(ValueError, match="others may read"):
        read_key(path)
    path.chmod(0o600)
    path.write_text("too short\n")
    with pytest.raises(ValueError, match="64 hexadecimal digits") as raised:
        read_key(path)
    assert "too short" not in str(raised.value)


def test_the_key_does_not_lie_beside_what_it_protects(tmp_path: Path) -> None:
    options = ServeOptions(tmp_path, secrets_key_file=tmp_path / "secrets.key")
    with pytest.raises(InvalidRequest, match=re.escape("is in the data folder")):
        serve(options, lambda url: None)
    assert not (tmp_path / "secrets.key").exists()
