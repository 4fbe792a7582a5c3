"""The registry of tenants: every version of every tenant's configuration, in the state database.

A version is never changed or removed while its tenant exists. Writes name the version that they are based on, so two
people who edit the same tenant cannot overwrite each other unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from rayctl.errors import Conflict, NotFound
from rayctl.state.database import Database
from rayctl.state.quota import Usage
from rayctl.state.schema import deployments, runs, tenant_versions, tenants, uploads

__all__ = ["TenantStore", "TenantVersion", "usage_of"]


@dataclass(frozen=True)
class TenantVersion:
    """One version of a tenant. ``envelope``: its configuration. ``created_at``: seconds since the epoch."""

    tenant: str
    version: int
    fingerprint: str
    envelope: bytes
    created_at: float
    author: str
    note: str


class TenantStore:
    """Synchronous; the proxy calls it from threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(
        self,
        tenant: str,
        envelope: bytes,
        fingerprint: str,
        now: float,
        *,
        expected: int | None = None,
        author: str = "",
        note: str = "",
    ) -> TenantVersion:
        """Write a new version and return it; the same contents again return the version that has them.

        ``expected``: the version that this one is based on; 0: there must be none yet; None: whatever is there.

        Raises:
            Conflict: ``tenant-exists``, ``tenant-changed``: somebody else wrote in between.
            NotFound: ``tenant-not-found``: a version is expected of a tenant that is not there.
        """
        wanted = (tenant, envelope, fingerprint, now, expected, author, note)
        try:
            return self._put(*wanted)
        except IntegrityError:
            # Somebody created the same tenant at the same moment; now it is there.
            return self._put(*wanted)

    def _put(
        self,
        tenant: str,
        envelope: bytes,
        fingerprint: str,
        now: float,
        expected: int | None,
        author: str,
        note: str,
    ) -> TenantVersion:
        with self._database.transaction() as connection:
            current = self._lock(connection, tenant, now)
            latest = None if current is None else _version(connection, tenant, current)
            _check_expected(tenant, current, expected)
            if latest is not None and latest.fingerprint == fingerprint:
                return latest
            # Version numbers go on after a deletion, because runs of the deleted tenant name theirs.
            used = connection.execute(select(func.max(runs.c.tenant_version)).where(runs.c.tenant == tenant)).scalar()
            made = TenantVersion(tenant, max(current or 0, used or 0) + 1, fingerprint, envelope, now, author, note)
            connection.execute(insert(tenant_versions).values(**vars(made)))
            if current is None:
                row = {"name": tenant, "version": made.version, "created_at": now, "updated_at": now}
                connection.execute(insert(tenants).values(**row))
            else:
                changed = update(tenants).where(tenants.c.name == tenant)
                connection.execute(changed.values(version=made.version, updated_at=now))
            return made

    @staticmethod
    def _lock(connection: Connection, tenant: str, now: float) -> int | None:
        """Keep other writers of this tenant out until the end of the transaction; returns the current version."""
        # A write first: it takes SQLite's write lock before anything is read, and PostgreSQL's row lock.
        connection.execute(update(tenants).where(tenants.c.name == tenant).values(counted_at=now))
        return connection.execute(select(tenants.c.version).where(tenants.c.name == tenant)).scalar()

    def get(self, tenant: str, version: int | None = None) -> TenantVersion:
        """Return a version (None: the current one).

        Raises:
            NotFound: ``tenant-not-found``, ``tenant-version-not-found``.
        """
        with self._database.transaction() as connection:
            current = connection.execute(select(tenants.c.version).where(tenants.c.name == tenant)).scalar()
            if current is None:
                raise _no_tenant(tenant)
            found = _version(connection, tenant, current if version is None else version)
        if found is None:
            raise NotFound(
                f"Tenant {tenant} has no version {version}; the current one is {current}.",
                code="tenant-version-not-found",
                hint=f"See `rayctl tenant history {tenant}`.",
            )
        return found

    def find(self, tenant: str) -> TenantVersion | None:
        """Return the current version, None if nothing is registered under this name."""
        try:
            return self.get(tenant)
        except NotFound:
            return None

    def history(self, tenant: str) -> list[TenantVersion]:
        """Return all versions, newest first. Raises NotFound (``tenant-not-found``)."""
        query = select(tenant_versions).where(tenant_versions.c.tenant == tenant)
        with self._database.transaction() as connection:
            rows = connection.execute(query.order_by(tenant_versions.c.version.desc())).mappings().all()
        if not rows:
            raise _no_tenant(tenant)
        return [TenantVersion(**row) for row in rows]

    def list(self, tenant: str | None = None) -> list[TenantVersion]:
        """Return the current versions of all tenants (or of the named one, if it is there), by name."""
        joined = (tenants.c.name == tenant_versions.c.tenant) & (tenants.c.version == tenant_versions.c.version)
        query = select(tenant_versions).join(tenants, joined).order_by(tenants.c.name)
        if tenant is not None:
            query = query.where(tenants.c.name == tenant)
        with self._database.transaction() as connection:
            return [TenantVersion(**row) for row in connection.execute(query).mappings()]

    def usage(self, tenant: str) -> Usage:
        """Return what a tenant has and uses now (also one that is not registered)."""
        with self._database.transaction() as connection:
            return usage_of(connection, tenant)

    def delete(self, tenant: str, now: float) -> None:
        """Remove a tenant and its versions. Its ended runs stay, for those who may see them.

        Raises:
            NotFound: ``tenant-not-found``.
            Conflict: ``tenant-in-use``: it has runs under way or deployments.
        """
        with self._database.transaction() as connection:
            if self._lock(connection, tenant, now) is None:
                raise _no_tenant(tenant)
            used = usage_of(connection, tenant)
            if used.queued or used.running or used.deployments:
                raise Conflict(
                    f"Tenant {tenant} has {used.queued + used.running} runs under way, {used.deployments} deployments.",
                    code="tenant-in-use",
                    hint="Cancel its runs and remove its deployments first.",
                )
            connection.execute(delete(tenant_versions).where(tenant_versions.c.tenant == tenant))
            connection.execute(delete(tenants).where(tenants.c.name == tenant))


def usage_of(connection: Connection, tenant: str) -> Usage:
    """Count inside a transaction of the caller."""
    counts = select(runs.c.state, func.count(), func.coalesce(func.sum(runs.c.stored_bytes), 0))
    rows = connection.execute(counts.where(runs.c.tenant == tenant).group_by(runs.c.state)).all()
    by_state = {state: count for state, count, _ in rows}
    uploaded = select(func.coalesce(func.sum(uploads.c.bytes), 0)).where(uploads.c.tenant == tenant)
    stored = sum(int(size) for _, _, size in rows) + int(connection.execute(uploaded).scalar_one())
    served = select(func.count()).select_from(deployments).where(deployments.c.tenant == tenant)
    return Usage(
        by_state.get("queued", 0),
        by_state.get("running", 0),
        sum(by_state.values()),
        stored,
        int(connection.execute(served).scalar_one()),
    )


def _version(connection: Connection, tenant: str, version: int) -> TenantVersion | None:
    wanted = (tenant_versions.c.tenant == tenant) & (tenant_versions.c.version == version)
    row: Any = connection.execute(select(tenant_versions).where(wanted)).mappings().first()
    return None if row is None else TenantVersion(**row)


def _check_expected(tenant: str, current: int | None, expected: int | None) -> None:
    if expected is None or expected == (current or 0):
        return
    if expected == 0:
        raise Conflict(
            f"There is a tenant {tenant} already (version {current}).",
            code="tenant-exists",
            hint="Change it with `rayctl tenant set`, or choose another name.",
        )
    if current is None:
        raise _no_tenant(tenant)
    raise Conflict(
        f"Tenant {tenant} is at version {current} by now, not {expected}: somebody else changed it.",
        code="tenant-changed",
        hint="Look at the changes (`rayctl tenant history`), then try again on the current version.",
    )


def _no_tenant(tenant: str) -> NotFound:
    return NotFound(
        f"There is no tenant {tenant!r}.", code="tenant-not-found", hint="See `rayctl tenant list`, or create it."
    )
