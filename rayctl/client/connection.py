"""``connect()``: from an address to a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayctl.client.address import Address, resolve

if TYPE_CHECKING:
    from types import TracebackType

    from rayctl.client.automl import AutoML
    from rayctl.client.tenants import Tenants
    from rayctl.client.transport import Transport

__all__ = ["Connection", "connect"]


class Connection:
    """A way to one rayctl service. Use it as a context manager, or call `close`.

    ``automl`` holds the operations, ``tenants`` the registry of tenants, ``address`` tells where it goes, ``tenant``
    whom requests belong to.
    """

    def __init__(self, transport: Transport, *, address: str = "", tenant: str | None = None) -> None:
        self.transport = transport
        self.address = address
        self.tenant = tenant
        self._automl: AutoML | None = None
        self._tenants: Tenants | None = None

    @property
    def tenants(self) -> Tenants:
        """The registered tenants: create, update, get, list, history, rollback, delete."""
        if self._tenants is None:
            from rayctl.client.tenants import Tenants

            self._tenants = Tenants(self.transport)
        return self._tenants

    @property
    def automl(self) -> AutoML:
        """AutoML runs: submit, get, list, deployments, info."""
        if self._automl is None:
            from rayctl.client.automl import AutoML

            self._automl = AutoML(self.transport, tenant=self.tenant)
        return self._automl

    def close(self) -> None:
        """Give the connection back. Runs go on. Calling it twice is fine."""
        self.transport.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Connection {self.address or self.transport.kind}>"


def connect(
    address: str | None = None,
    *,
    token: str | None = None,
    timeout_s: float = 30,
    tenant: str | None = None,
    token_file: str | None = None,
) -> Connection:
    """Connect to a rayctl service.

    Args:
        address: ``http(s)://host:port``; ``ray://host:port`` (Ray Client); ``auto`` (the Ray cluster that this
            process or machine belongs to). None: the environment variable RAYCTL_SERVER, else the Ray cluster this
            process is part of, else the service that ``rayctl up`` started on this machine.
        token: Bearer token for HTTP. None: RAYCTL_TOKEN, RAYCTL_TOKEN_FILE, else the local service's own.
        timeout_s: Seconds after which one call gives up; waiting for a run has its own limit.
        tenant: Whom requests belong to, and whose runs are listed. None: ``default``, and everything one may see.
        token_file: File that holds the token, instead of ``token``.

    HTTP connections are made with the first call; Ray connections are made here.

    Raises:
        ServerUnreachable: no address is known, or (Ray) nothing answers there.
        InvalidRequest: the address or the token cannot be used.
    """
    found = resolve(address, token=token, token_file=token_file)
    return Connection(_open(found, timeout_s, tenant), address=found.url, tenant=tenant)


def _open(found: Address, timeout_s: float, tenant: str | None) -> Transport:
    transport: Any
    if found.kind == "http":
        from rayctl.client.http import HttpTransport

        hint = "The local service is not running: run `rayctl up`." if found.is_local else None
        transport = HttpTransport(found.url, found.token, timeout_s, hint)
    else:
        from rayctl.client.ray import open_ray

        transport = open_ray(found, timeout_s, tenant)
    return transport
