"""The proxy's methods for tenants: a thin async layer over the registry, which also tells the supervisor of quotas."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rayctl.automl.admission import TenantBound
from rayctl.automl.model import RunRequest
from rayctl.automl.tenant_work import Carried, TenantWork
from rayctl.settings import ServiceSettings
from rayctl.state.quota import Bounds
from rayctl.tenancy.model import Quota, TenantConfig
from rayctl.tenancy.policy import Policy
from rayctl.tenancy.registry import TenantRegistry, bounds_of, jsonable

if TYPE_CHECKING:
    from rayctl.automl.supervision import Supervisor
    from rayctl.state.database import Database

__all__ = ["Registered", "TenantMethods", "policy_of", "tenant_bound"]


def policy_of(settings: ServiceSettings) -> Policy:
    """Return the operator's rules for tenants."""
    return Policy(
        packages=settings.tenant_packages,
        denied_packages=settings.tenant_denied_packages,
        urls=settings.tenant_package_urls,
        variables=settings.tenant_variables,
        denied_variables=settings.tenant_denied_variables,
        images=settings.tenant_images,
    )


def tenant_bound(quota: Quota) -> TenantBound | None:
    """Return what of a quota counts while runs run; None: nothing."""
    if quota.max_running is None and quota.max_cpus is None:
        return None
    return TenantBound(quota.max_running, quota.max_cpus)


@dataclass(frozen=True)
class Registered:
    """What is registered of a tenant; None for both: nothing."""

    version: int | None
    config: TenantConfig | None

    @property
    def bounds(self) -> Bounds | None:
        """What is counted when something is accepted."""
        return None if self.config is None else bounds_of(self.config.quota)


class TenantMethods:
    """Part of `rayctl.automl.proxy.ProxyActor`; implements `rayctl.tenancy.port.TenantService`."""

    note: Callable[[str, str], Awaitable[None]]
    _tenants: TenantRegistry
    _work: TenantWork
    _supervisor: Supervisor

    def _open_tenants(self, database: Database, settings: ServiceSettings) -> dict[str, TenantBound]:
        """Open the registry; returns what the runs of each tenant may use together."""
        from rayctl.state.tenants import TenantStore

        self._tenants = TenantRegistry(TenantStore(database), policy_of(settings))
        self._work = TenantWork(self._tenants)
        bounds = {name: tenant_bound(quota) for name, quota in self._tenants.quotas().items()}
        return {name: bound for name, bound in bounds.items() if bound is not None}

    async def _carried(self, request: RunRequest, version: int | None) -> Carried:
        """Return what the tasks of a request are given of its tenant.

        Raises:
            InvalidRequest: ``environment-error``: the tenant's packages cannot be installed.
        """
        return await asyncio.to_thread(self._work.of, request.tenant, version, request.runtime_env)

    async def _tenant_of(self, name: str) -> Registered:
        """Return what is registered of a tenant now."""
        return Registered(*(await asyncio.to_thread(self._tenants.current, name) or (None, None)))

    async def put_tenant(
        self,
        document: Mapping[str, Any] | bytes,
        expected: int | None = None,
        author: str = "",
        note: str = "",
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Register a tenant or its next version."""
        if dry_run:
            config = await asyncio.to_thread(self._tenants.check, document)
            return {"tenant": config.tenant, "version": None, "config": jsonable(config)}
        written = await asyncio.to_thread(
            self._tenants.put, document, time.time(), expected=expected, author=author, note=note
        )
        await self._rebound(written["tenant"])
        return written

    async def get_tenant(self, name: str, version: int | None = None) -> dict[str, Any]:
        """Return a version of a tenant with what it uses."""
        return await asyncio.to_thread(self._tenants.get, name, version)

    async def list_tenants(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the current versions of all tenants, or of one."""
        return await asyncio.to_thread(self._tenants.list, name)

    async def tenant_history(self, name: str) -> list[dict[str, Any]]:
        """Return all versions of a tenant with their changes."""
        return await asyncio.to_thread(self._tenants.history, name)

    async def rollback_tenant(
        self, name: str, version: int, expected: int | None = None, author: str = "", note: str = ""
    ) -> dict[str, Any]:
        """Make an earlier version the newest again."""
        written = await asyncio.to_thread(
            self._tenants.rollback, name, version, time.time(), expected=expected, author=author, note=note
        )
        await self._rebound(name)
        return written

    async def delete_tenant(self, name: str) -> None:
        """Remove a tenant."""
        await asyncio.to_thread(self._tenants.delete, name, time.time())
        await self._rebound(name)

    async def _rebound(self, name: str) -> None:
        """Let the quota that counts now count for what runs and waits."""
        current = await asyncio.to_thread(self._tenants.current, name)
        self._supervisor.bound(name, None if current is None else tenant_bound(current[1].quota))
        for run_id, cpus in self._supervisor.too_large(name):
            await self.note(run_id, f"waits: its tasks need {cpus:g} CPUs each, more than quota.max_cpus of {name} now")
