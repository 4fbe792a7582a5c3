"""From a connection to the context of its tenant: which configuration counts, and what the cluster has to have."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rayctl import __version__
from rayctl.client.transport import Transport
from rayctl.errors import InvalidRequest, NotFound
from rayctl.tenancy.codec import encode, parse
from rayctl.tenancy.handle import TenantContext
from rayctl.tenancy.keys import signing_key
from rayctl.tenancy.load import load
from rayctl.tenancy.model import TenantConfig
from rayctl.tenancy.versions import check_versions

__all__ = ["Tenant", "config_of", "open_context"]

Tenant = str | TenantConfig | Mapping[str, Any] | os.PathLike[str]
"""A registered tenant's name; a configuration; its fields; or a file with them."""


def config_of(tenant: TenantConfig | Mapping[str, Any] | os.PathLike[str]) -> tuple[str, TenantConfig]:
    """Return (name, configuration).

    Raises:
        InvalidRequest: the configuration or the file is not valid.
    """
    if isinstance(tenant, TenantConfig):
        return tenant.tenant, tenant
    if isinstance(tenant, os.PathLike):
        config = load(Path(tenant)).config
        return config.tenant, config
    config = parse(tenant)
    return config.tenant, config


def open_context(
    transport: Transport, name: str | None, config: TenantConfig | None, has_service: bool
) -> TenantContext:
    """Return the context that starts a tenant's work. Its environment is built here, once, if it needs one.

    Raises:
        InvalidRequest: ``needs-ray``: the connection is over HTTP; ``environment-error``: packages cannot be installed.
        DeadlineExceeded, UnsupportedEnvelope: see `rayctl.tenancy.cluster`.
    """
    if transport.kind != "ray":
        raise InvalidRequest(
            "Functions and actors are started over Ray; this connection is over HTTP.",
            code="needs-ray",
            hint="Connect with ray://host:port, or with auto inside the cluster.",
        )
    if name is None:
        return TenantContext()
    if has_service:
        check_versions(__version__, str(transport.info().get("version", __version__)))
    found = config if config is not None else _registered(transport, name)
    envelope = encode(found, signing_key())
    if found.environment.is_plain and has_service:
        return TenantContext(found, envelope)
    from rayctl.tenancy.cluster import prepare

    return TenantContext(found, envelope, prepare(found))


def _registered(transport: Transport, name: str) -> TenantConfig:
    from rayctl.client.tenants import Tenants

    try:
        return Tenants(transport).get(name).config
    except NotFound:
        # A name is enough to keep runs and results apart; there is nothing else to know about it then.
        return parse({"tenant": name})
