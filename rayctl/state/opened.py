"""The state database, opened for those who keep something in it."""

from __future__ import annotations

from rayctl.state.catalog import Catalog
from rayctl.state.database import Database
from rayctl.state.runs import RunStore

__all__ = ["open_state"]


def open_state(url: str) -> tuple[Database, RunStore, Catalog]:
    """Open the database at ``url``; bring its schema up to date.

    Raises:
        Unavailable: see `rayctl.state.database.Database`.
    """
    database = Database(url)
    return database, RunStore(database), Catalog(database)
