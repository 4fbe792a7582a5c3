"""State databases for the tests: SQLite always, PostgreSQL where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from rayctl.state.schema import metadata


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'state' / 'rayctl.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, sqlite_url: str) -> str:
    """Both kinds of database; PostgreSQL where RAYCTL_TEST_POSTGRES_URL names one (its tables are dropped first)."""
    if request.param == "sqlite":
        return sqlite_url
    named = os.environ.get("RAYCTL_TEST_POSTGRES_URL")
    if not named:
        pytest.skip("needs a PostgreSQL server: RAYCTL_TEST_POSTGRES_URL names none")
    metadata.drop_all(create_engine(named))
    return named
