"""The store's file: SQLite in WAL mode, one transaction per batch of writes. No Kubernetes in here.

``full`` waits for the disk at every transaction and survives power loss; ``normal`` survives the death of the
process (kill -9) and may lose the last moment on power loss; ``memory`` keeps nothing.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rayctl.embedded.apiserver.sealing import SEALED, Key, Sealer, is_sealed

__all__ = ["Database", "Durability", "EventRow", "Key", "ObjectRow"]

Durability = Literal["full", "normal", "memory"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    revision INTEGER PRIMARY KEY, at REAL NOT NULL, type TEXT NOT NULL, resource TEXT NOT NULL, namespace TEXT NOT NULL,
    name TEXT NOT NULL, value BLOB NOT NULL, previous BLOB
);
"""
FORMAT = "1"


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """An object as it is now; ``value`` is its JSON."""

    key: Key
    revision: int
    value: bytes


@dataclass(frozen=True, slots=True)
class EventRow:
    """A change. ``type``: ADDED, MODIFIED or DELETED; ``previous`` is the object before it; ``at``: epoch seconds."""

    revision: int
    at: float
    type: str
    key: Key
    value: bytes
    previous: bytes | None


class Database:
    """One file. Every method is a transaction; an error leaves the file as it was.

    Args:
        folder: Made with mode 0700 if it is not there; the file gets 0600.
        durability: ``full`` or ``normal``.
        sealer: Encrypts what `SEALED` names; what is there in clear text is encrypted now.

    Raises:
        ValueError: The file was written by a newer version, or is encrypted with another key or any.
        sqlite3.Error: The file cannot be used.
    """

    def __init__(self, folder: Path, durability: Durability, sealer: Sealer | None = None) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / "kubernetes.db"
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._connection = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
        execute = self._connection.execute
        execute("PRAGMA journal_mode=WAL")
        execute(f"PRAGMA synchronous={'FULL' if durability == 'full' else 'NORMAL'}")
        execute("PRAGMA locking_mode=EXCLUSIVE")
        self._connection.executescript(_SCHEMA)
        found = self.meta("format")
        if found is None:
            self.set_meta({"format": FORMAT})
        elif found != FORMAT:
            raise ValueError(f"{path} has format {found}; this version of rayctl reads {FORMAT}. Use another folder.")
        self._path, self._sealer = path, sealer
        if sealer is not None:
            self._seal_all()

    def meta(self, name: str) -> str | None:
        """Return a remembered value."""
        row = self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, values: dict[str, str]) -> None:
        """Remember values."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))

    def objects(self) -> Iterator[ObjectRow]:
        """Yield everything there is."""
        for row in self._connection.execute("SELECT resource, namespace, name, revision, value FROM objects"):
            key = (row[0], row[1], row[2])
            yield ObjectRow(key, row[3], self._opened(key, row[4]))

    def events(self) -> Iterator[EventRow]:
        """Yield the remembered changes, oldest first."""
        for row in self._connection.execute("SELECT * FROM events ORDER BY revision"):
            key, previous = (row[3], row[4], row[5]), row[7]
            before = None if previous is None else self._opened(key, previous)
            yield EventRow(row[0], row[1], row[2], key, self._opened(key, row[6]), before)

    def _opened(self, key: Key, value: bytes) -> bytes:
        if key[0] != SEALED or not is_sealed(value):
            return value
        if self._sealer is None:
            raise ValueError(f"the Secrets in {self._path} are encrypted: --secrets-key-file names their key")
        return self._sealer.open(key, value)

    def _sealed(self, key: Key, value: bytes | None) -> bytes | None:
        if self._sealer is None or value is None or key[0] != SEALED or is_sealed(value):
            return value
        return self._sealer.seal(key, value)

    def _seal_all(self) -> None:
        """Encrypt what an earlier run has left in clear text, and leave none of it behind in the files."""
        execute = self._connection.execute
        objects = execute("SELECT namespace, name, value FROM objects WHERE resource = ?", (SEALED,)).fetchall()
        query = "SELECT revision, namespace, name, value, previous FROM events WHERE resource = ?"
        events = execute(query, (SEALED,)).fetchall()
        if all(is_sealed(row[2]) for row in objects) and all(
            value is None or is_sealed(value) for row in events for value in row[3:]
        ):
            return
        execute("PRAGMA secure_delete=ON")
        with self._connection:
            execute("BEGIN IMMEDIATE")
            for namespace, name, value in objects:
                given = (self._sealed((SEALED, namespace, name), value), SEALED, namespace, name)
                execute("UPDATE objects SET value = ? WHERE resource = ? AND namespace = ? AND name = ?", given)
            for revision, namespace, name, value, previous in events:
                key = (SEALED, namespace, name)
                sealed = (self._sealed(key, value), self._sealed(key, previous), revision)
                execute("UPDATE events SET value = ?, previous = ? WHERE revision = ?", sealed)
        execute("VACUUM")
        execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def write(self, events: Sequence[EventRow]) -> None:
        """Write changes, all or none."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            for event in events:
                if event.type == "DELETED":
                    execute("DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?", event.key)
                else:
                    execute(
                        "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
                        (*event.key, event.revision, self._sealed(event.key, event.value)),
                    )
                execute(
                    "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (event.revision, event.at, event.type, *event.key, *self._both_sealed(event)),
                )
            execute("COMMIT")
        except BaseException:
            # A full disk has ended the transaction already; rolling back again would hide why.
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise

    def _both_sealed(self, event: EventRow) -> tuple[bytes | None, bytes | None]:
        return self._sealed(event.key, event.value), self._sealed(event.key, event.previous)

    def compact(self, up_to: int, revision: int) -> None:
        """Forget the changes up to and including ``up_to``; ``revision``: the newest, which must outlive them."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM events WHERE revision <= ?", (up_to,))
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('compacted', ?)", (str(up_to),))
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('revision', ?)", (str(revision),))

    def close(self) -> None:
        """Write everything back into the main file and close it."""
        self._connection.close()
