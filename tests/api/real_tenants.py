"""The proxy's own methods for tenants over the real registry, for services that are otherwise in memory."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path

from rayctl.automl.admission import TenantBound
from rayctl.automl.tenant_methods import TenantMethods, policy_of
from rayctl.settings import ServiceSettings
from rayctl.state.database import Database
from rayctl.state.tenants import TenantStore
from rayctl.tenancy.registry import TenantRegistry


class Bounds:
    """What the supervisor was told of quotas."""

    def __init__(self) -> None:
        self.told: dict[str, TenantBound | None] = {}

    def bound(self, tenant: str, bound: TenantBound | None) -> None:
        self.told[tenant] = bound

    def too_large(self, tenant: str) -> list[tuple[str, float]]:
        return []


class RealTenants(TenantMethods):
    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="rct-")

    @cached_property
    def _tenants(self) -> TenantRegistry:  # type: ignore[override]
        database = Database(f"sqlite:///{Path(self._folder.name) / 'tenants.db'}")
        return TenantRegistry(TenantStore(database), policy_of(ServiceSettings()))

    @cached_property
    def _supervisor(self) -> Bounds:  # type: ignore[override]
        return Bounds()
