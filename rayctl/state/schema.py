"""The tables of the state database.

Documents (requests, leaderboard rows, events) are JSON texts of the pydantic models; what is searched or
changed in place has a column of its own. Times are seconds since the epoch.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = [
    "SCHEMA_VERSION",
    "deployments",
    "events",
    "metadata",
    "runs",
    "schema_info",
    "tenant_versions",
    "tenants",
    "trials",
    "uploads",
]

SCHEMA_VERSION = 2
"""2: tenants with their versions; a run's tenant version and stored bytes (see `rayctl.state.upgrade`)."""

metadata = MetaData()
# SQLite hands out row ids by itself only for INTEGER primary keys.
_AUTO = BigInteger().with_variant(Integer, "sqlite")

schema_info = Table("schema_info", metadata, Column("version", Integer, nullable=False))

runs = Table(
    "runs",
    metadata,
    Column("position", _AUTO, primary_key=True, autoincrement=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("tenant", String(63), nullable=False),
    Column("state", String(16), nullable=False),
    Column("request", Text, nullable=False),
    Column("request_digest", String(64), nullable=False),
    Column("idempotency_key", String(200)),
    Column("data_key", String(300), nullable=False),
    Column("summary", Text, nullable=False),
    Column("metric", String(60), nullable=False),
    Column("greater_is_better", Boolean, nullable=False),
    Column("time_budget_s", Float),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("deadline_at", Float),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("planned", Integer),
    Column("running", Integer, nullable=False, default=0),
    Column("done", Integer, nullable=False, default=0),
    Column("failed", Integer, nullable=False, default=0),
    Column("skipped", Integer, nullable=False, default=0),
    Column("best_score", Float),
    Column("best_model", String(300)),
    Column("best_trial", Integer),
    Column("last_event", Integer, nullable=False, default=0),
    Column("reason", Text),
    Column("error", Text),
    Column("result", Text),
    Column("tenant_version", Integer),
    Column("stored_bytes", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("tenant", "idempotency_key", name="one_run_per_idempotency_key"),
    Index("runs_by_state", "state"),
)

trials = Table(
    "trials",
    metadata,
    Column("run_id", String(40), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("row", Text, nullable=False),
    Column("at", Float, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("run_id", String(40), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("data", Text, nullable=False),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("tenant", String(63), primary_key=True),
    Column("data_key", String(300), nullable=False),
    Column("rows", Integer, nullable=False),
    Column("columns", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
)

deployments = Table(
    "deployments",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("tenant", String(63), nullable=False),
    Column("run_id", String(40), nullable=False),
    Column("route", String(200), nullable=False),
    Column("created_at", Float, nullable=False),
)

tenants = Table(
    "tenants",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    # Written first by every transaction that counts what a tenant uses, so that two of them cannot count at once.
    Column("counted_at", Float),
)

tenant_versions = Table(
    "tenant_versions",
    metadata,
    Column("tenant", String(63), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("author", String(200), nullable=False, server_default=""),
    Column("note", Text, nullable=False, server_default=""),
)
