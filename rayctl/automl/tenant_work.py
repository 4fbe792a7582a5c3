"""What a run's tasks are given of their tenant: the configuration that counted at its acceptance, its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rayctl.tenancy import overlay
from rayctl.tenancy.calls import ENVELOPE
from rayctl.tenancy.cluster import prepare
from rayctl.tenancy.codec import decode
from rayctl.tenancy.environment import Facts, merged
from rayctl.tenancy.model import TenantConfig

if TYPE_CHECKING:
    from rayctl.tenancy.registry import TenantRegistry

__all__ = ["Carried", "TenantWork"]


@dataclass(frozen=True)
class Carried:
    """What tasks are given: the tenant's configuration as bytes (None: not registered), and Ray's environment.

    ``config``: the same configuration, for whoever decides about the run.
    """

    envelope: bytes | None = None
    runtime_env: Mapping[str, Any] | None = None
    config: TenantConfig | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Ray's options for a task."""
        return {"runtime_env": dict(self.runtime_env)} if self.runtime_env else {}

    @property
    def arguments(self) -> dict[str, Any]:
        """What a task is called with beside its own arguments."""
        return {} if self.envelope is None else {ENVELOPE: self.envelope}


class TenantWork:
    """Looks up and prepares; lives in the proxy. Synchronous, for threads."""

    def __init__(self, registry: TenantRegistry) -> None:
        self._registry = registry
        self._facts: Facts | None = None

    def of(self, tenant: str, version: int | None, own: Mapping[str, Any] | None) -> Carried:
        """Return what the tasks of a request get.

        Args:
            tenant: Whose it is.
            version: Of the tenant's configuration; None: the tenant was not registered.
            own: The runtime environment that the request itself asks for; it lies on top of the tenant's.

        Raises:
            InvalidRequest: ``environment-error``: the tenant's packages cannot be installed; with the reason.
            NotFound: the version has been removed meanwhile.
        """
        if version is None:
            return Carried(None, own)
        envelope = self._registry.envelope(tenant, version)
        config = decode(envelope)
        if config.environment.is_plain:
            return Carried(envelope, own, config)
        if self._facts is None:
            # The proxy runs in the cluster's own environment, like the workers that have none of their own.
            found = overlay.look()
            self._facts = Facts(
                str(found["python"]),
                str(found["ray"]),
                str(found["rayctl"]),
                str(found["venv"]) if found["venv"] else None,
                str(found["overlays"]),
            )
        return Carried(envelope, merged(prepare(config, self._facts), own), config)
