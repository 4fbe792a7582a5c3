"""Opening the state database: durability settings, schema version, errors in our own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from rayctl.errors import RayctlError, Unavailable
from rayctl.state.schema import SCHEMA_VERSION, metadata, schema_info
from rayctl.state.upgrade import upgrade

__all__ = ["Database"]


class Database:
    """One state database. Transactions are short; every error arrives as `Unavailable` with a reason.

    SQLite runs in WAL mode with ``synchronous=FULL``: what a commit acknowledged survives a power cut.

    Raises:
        Unavailable: the database cannot be opened or belongs to a newer rayctl.
    """

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite and parsed.database:
            folder = Path(parsed.database).parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise Unavailable(
                    f"The folder of the state database cannot be made: {error.strerror}.",
                    code="state-unavailable",
                    hint="Make it writable, or point RAYCTL_DATABASE_URL elsewhere.",
                ) from error
        arguments: dict[str, Any] = {"connect_args": {"timeout": 30}} if self.is_sqlite else {"pool_pre_ping": True}
        self.engine: Engine = create_engine(url, **arguments)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _durable_sqlite)
        self._prepare()

    def _prepare(self) -> None:
        with self.transaction() as connection:
            metadata.create_all(connection)
            version = connection.execute(select(schema_info.c.version)).scalar()
            if version is None:
                connection.execute(insert(schema_info).values(version=SCHEMA_VERSION))
            elif version < SCHEMA_VERSION:
                upgrade(connection, version)
            elif version > SCHEMA_VERSION:
                raise Unavailable(
                    f"The state database has schema {version}; this rayctl knows up to {SCHEMA_VERSION}.",
                    code="state-too-new",
                    hint="Use the rayctl version that wrote it, or a newer one.",
                )

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that commits at the end of the block and rolls back on any error.

        Raises:
            Unavailable: the database did not do it (disk full, locked, away). Nothing was written.
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except (RayctlError, IntegrityError):
            raise
        except SQLAlchemyError as error:
            raise _unavailable(error) from error

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def _durable_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _unavailable(error: SQLAlchemyError) -> Unavailable:
    reason = str(error.orig) if isinstance(error, DBAPIError) and error.orig is not None else str(error)
    lowered = reason.lower()
    if "full" in lowered or "disk i/o" in lowered or "no space" in lowered:
        return Unavailable(
            f"The state database cannot be written: {reason}.",
            code="state-disk-full",
            hint="Free space on the disk that holds the state database; nothing that was accepted is lost.",
            retry_after_s=5,
        )
    return Unavailable(f"The state database does not answer: {reason}.", code="state-unavailable", retry_after_s=2)
