"""Which configuration the call at hand carries. Runs inside tasks and actors; nothing here is kept between calls.

The configuration lies in a context variable: every call of an async actor, every thread and every task of a reused
worker process has its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rayctl.errors import NotFound
from rayctl.tenancy.codec import Received, receive
from rayctl.tenancy.keys import signing_key
from rayctl.tenancy.model import TenantConfig

__all__ = ["current_config", "current_envelope", "serving"]

_carried: ContextVar[Received | None] = ContextVar("rayctl_tenant", default=None)


def current_envelope() -> bytes | None:
    """Return the bytes that this call was handed; None outside of a tenant's call."""
    carried = _carried.get()
    return None if carried is None else carried.data


def current_config() -> TenantConfig:
    """Return the configuration that this very call was handed.

    Raises:
        NotFound: ``no-tenant``: this is no call of a tenant.
        MalformedEnvelope: ``not-readable``: what it was handed is intact, but no valid configuration.
    """
    carried = _carried.get()
    if carried is None:
        raise NotFound(
            "This call carries no tenant's configuration.",
            code="no-tenant",
            hint="Start it through rayctl.connect(..., tenant=...), for example with ctx.remote(function).",
        )
    return carried.config


@contextmanager
def serving(envelope: bytes | None) -> Iterator[None]:
    """Let everything inside belong to the call that was handed ``envelope``; None: to no tenant.

    Raises:
        MalformedEnvelope, TamperedEnvelope, UnsupportedEnvelope, TooLarge: before anything inside has run.
    """
    carried = None if envelope is None else receive(envelope, signing_key())
    token = _carried.set(carried)
    try:
        yield
    finally:
        _carried.reset(token)
