"""The registry of tenants, for Python programs."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayctl.client.transport import Document, Transport
from rayctl.tenancy.codec import decode, encode, parse
from rayctl.tenancy.model import TenantConfig

__all__ = ["RegisteredTenant", "Tenants"]


@dataclass(frozen=True)
class RegisteredTenant:
    """One version of a registered tenant. ``document``: as the service said it."""

    config: TenantConfig
    version: int | None
    document: Document

    @property
    def name(self) -> str:
        """Its name."""
        return self.config.tenant


def _registered(document: Document) -> RegisteredTenant:
    envelope = document.get("envelope")
    config = parse(document["config"]) if envelope is None else decode(base64.b64decode(envelope))
    return RegisteredTenant(config, document.get("version"), document)


class Tenants:
    """Operations on the registry. Errors are those of `rayctl.errors`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, config: TenantConfig | Mapping[str, Any], *, author: str = "", note: str = "") -> RegisteredTenant:
        """Register a new tenant. Raises InvalidRequest, Forbidden (its policy), Conflict (``tenant-exists``)."""
        return self._put(config, 0, author, note)

    def update(
        self,
        config: TenantConfig | Mapping[str, Any],
        *,
        expected: int | None = None,
        author: str = "",
        note: str = "",
    ) -> RegisteredTenant:
        """Register the next version. ``expected``: the version it is based on; None: whatever is there.

        Raises InvalidRequest, Forbidden, Conflict (``tenant-changed``), NotFound.
        """
        return self._put(config, expected, author, note)

    def check(self, config: TenantConfig | Mapping[str, Any]) -> TenantConfig:
        """Let the service check a configuration without keeping it. Raises InvalidRequest, Forbidden."""
        return self._put(config, None, "", "", dry_run=True).config

    def _put(
        self,
        config: TenantConfig | Mapping[str, Any],
        expected: int | None,
        author: str,
        note: str,
        dry_run: bool = False,
    ) -> RegisteredTenant:
        wanted = config if isinstance(config, TenantConfig) else parse(config)
        sent = (wanted.tenant, encode(wanted), expected, author, note, dry_run)
        return _registered(self._transport.put_tenant(*sent))

    def get(self, name: str, version: int | None = None) -> RegisteredTenant:
        """Return a version; None: the current one. Raises NotFound."""
        return _registered(self._transport.get_tenant(name, version))

    def history(self, name: str) -> list[Document]:
        """Return all versions, newest first, each with its ``changes``. Raises NotFound."""
        return self._transport.tenant_history(name)

    def rollback(
        self, name: str, version: int, *, expected: int | None = None, author: str = "", note: str = ""
    ) -> RegisteredTenant:
        """Make an earlier version the newest again. Raises NotFound, Conflict, Forbidden."""
        return _registered(self._transport.rollback_tenant(name, version, expected, author, note))

    def delete(self, name: str) -> None:
        """Remove a tenant; its ended runs stay. Raises NotFound, Conflict (``tenant-in-use``)."""
        self._transport.delete_tenant(name)

    def list(self) -> list[RegisteredTenant]:
        """Return the current versions of all tenants that this caller may see, by name."""
        return [_registered(document) for document in self._transport.list_tenants()]
