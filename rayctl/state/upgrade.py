"""State databases of earlier versions, brought up to date step by step, each in the transaction that notes it.

New tables are made by SQLAlchemy before this runs; a step adds columns or rewrites rows. Steps never change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, inspect, text, update

from rayctl.state.schema import SCHEMA_VERSION, schema_info

__all__ = ["upgrade"]


def _add_columns(connection: Connection, table: str, columns: Mapping[str, str]) -> None:
    """Add those of the columns (name → SQL type) that are not there; a step may have been cut off on some databases."""
    there = {column["name"] for column in inspect(connection).get_columns(table)}
    for name, kind in columns.items():
        if name not in there:
            connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {name} {kind}"))


def _tenants(connection: Connection) -> None:
    """1 → 2: which version of its tenant's configuration a run used, and what it stores."""
    _add_columns(connection, "runs", {"tenant_version": "INTEGER", "stored_bytes": "BIGINT NOT NULL DEFAULT 0"})


_STEPS: Mapping[int, Callable[[Connection], None]] = {1: _tenants}


def upgrade(connection: Connection, found: int) -> None:
    """Bring a database from version ``found`` to `SCHEMA_VERSION`."""
    for version in range(found, SCHEMA_VERSION):
        _STEPS[version](connection)
    connection.execute(update(schema_info).values(version=SCHEMA_VERSION))
