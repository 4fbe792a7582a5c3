"""Uploads and deployments in the state database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, delete, insert, select, update

from rayctl.errors import Conflict, NotFound
from rayctl.state.database import Database
from rayctl.state.quota import Bounds
from rayctl.state.schema import deployments, tenants, uploads
from rayctl.state.tenants import usage_of

__all__ = ["Catalog"]


class Catalog:
    """What tenants have put there beside their runs. Repeating a write is harmless."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_upload(
        self,
        upload_id: str,
        tenant: str,
        data_key: str,
        rows: int,
        columns: Sequence[str],
        size: int,
        now: float,
        quota: Bounds | None = None,
    ) -> None:
        """Note an upload; the same contents again change nothing.

        Raises:
            QuotaExceeded: ``quota-bytes``: it does not fit into what the tenant may store.
        """
        with self._database.transaction() as connection:
            if quota is not None and quota.is_bounded:
                connection.execute(update(tenants).where(tenants.c.name == tenant).values(counted_at=now))
            query = select(uploads.c.id).where(uploads.c.id == upload_id, uploads.c.tenant == tenant)
            if connection.execute(query).first() is None:
                if quota is not None:
                    quota.check_bytes(tenant, usage_of(connection, tenant), size)
                values = {"id": upload_id, "tenant": tenant, "data_key": data_key, "rows": rows, "bytes": size}
                connection.execute(insert(uploads).values(columns=json.dumps(list(columns)), created_at=now, **values))

    def upload_key(self, upload_id: str, tenant: str) -> str:
        """Return the artifact key of an upload.

        Raises:
            NotFound: no such upload of this tenant.
        """
        query = select(uploads.c.data_key).where(uploads.c.id == upload_id, uploads.c.tenant == tenant)
        with self._database.transaction() as connection:
            key = connection.execute(query).scalar()
        if key is None:
            raise NotFound(f"There is no upload {upload_id!r}.", code="upload-not-found", hint="Upload the file again.")
        return str(key)

    def uses(self, data_key: str) -> bool:
        """Whether an upload refers to this data."""
        with self._database.transaction() as connection:
            return connection.execute(select(uploads.c.id).where(uploads.c.data_key == data_key)).first() is not None

    def add_deployment(self, name: str, tenant: str, run_id: str, route: str, now: float) -> None:
        """Note a deployment, or that it serves another run now.

        Raises:
            Conflict: the name is another tenant's.
        """
        with self._database.transaction() as connection:
            owner = connection.execute(select(deployments.c.tenant).where(deployments.c.name == name)).scalar()
            if owner is not None and owner != tenant:
                message = f"The deployment name {name!r} is taken."
                raise Conflict(message, code="name-taken", hint="Choose another name.")
            connection.execute(delete(deployments).where(deployments.c.name == name))
            values = {"name": name, "tenant": tenant, "run_id": run_id, "route": route, "created_at": now}
            connection.execute(insert(deployments).values(**values))

    def deployments(self, tenant: str | None) -> list[RowMapping]:
        """Return the deployments of a tenant (None: all), by name."""
        query = select(deployments).order_by(deployments.c.name)
        if tenant is not None:
            query = query.where(deployments.c.tenant == tenant)
        with self._database.transaction() as connection:
            return list(connection.execute(query).mappings())

    def remove_deployment(self, name: str, tenant: str | None) -> dict[str, Any]:
        """Forget a deployment and return what it was.

        Raises:
            NotFound: no such deployment of this tenant.
        """
        with self._database.transaction() as connection:
            row = connection.execute(select(deployments).where(deployments.c.name == name)).mappings().first()
            if row is None or (tenant is not None and row["tenant"] != tenant):
                raise NotFound(f"There is no deployment {name!r}.", code="deployment-not-found")
            connection.execute(delete(deployments).where(deployments.c.name == name))
            return dict(row)
