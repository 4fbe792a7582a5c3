"""The registry of tenants as its callers see it; part of the `automl-proxy` actor, beside `rayctl.automl.port`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["TenantService"]


class TenantService(Protocol):
    """Documents of a version have: ``tenant``, ``version``, ``fingerprint``, ``created_at``, ``author``, ``note``,
    ``config`` (JSON, for people) and ``envelope`` (base64, exact)."""

    async def put_tenant(
        self,
        document: Mapping[str, Any] | bytes,
        expected: int | None = None,
        author: str = "",
        note: str = "",
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Register a tenant (``expected`` 0) or its next version (``expected``: the one it is based on).

        ``document``: fields of `TenantConfig`, or an envelope. ``dry_run``: only check; the version's number is None.

        Raises:
            InvalidRequest, Forbidden (``tenant-policy``), Conflict (``tenant-exists``, ``tenant-changed``), NotFound.
        """

    async def get_tenant(self, name: str, version: int | None = None) -> dict[str, Any]:
        """Return a version (None: the current one), with ``usage``. Raises NotFound."""

    async def list_tenants(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the current versions, by name; ``name``: only this one, if it is there."""

    async def tenant_history(self, name: str) -> list[dict[str, Any]]:
        """Return all versions, newest first, each with its ``changes``. Raises NotFound."""

    async def rollback_tenant(
        self, name: str, version: int, expected: int | None = None, author: str = "", note: str = ""
    ) -> dict[str, Any]:
        """Make an earlier version the newest again. Raises NotFound, Conflict, Forbidden."""

    async def delete_tenant(self, name: str) -> None:
        """Remove a tenant; its ended runs stay. Raises NotFound, Conflict (``tenant-in-use``)."""
