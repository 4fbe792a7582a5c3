"""``connect()``: from an address to a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rayctl.client.address import Address, resolve

if TYPE_CHECKING:
    from types import TracebackType

    from rayctl.client.automl import AutoML
    from rayctl.client.objects import Fleets, Objects, Services
    from rayctl.client.tenancy import Tenant
    from rayctl.client.tenants import Tenants
    from rayctl.client.transport import Transport
    from rayctl.tenancy.handle import TenantContext
    from rayctl.tenancy.model import TenantConfig

__all__ = ["Connection", "connect"]


class Connection:
    """A way to one rayctl service. Use it as a context manager, or call `close`.

    ``automl`` holds the operations, ``tenants`` the registry of tenants, ``address`` tells where it goes, ``tenant``
    whom requests belong to.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        address: str = "",
        tenant: str | None = None,
        config: TenantConfig | None = None,
        has_service: bool = True,
    ) -> None:
        self.transport = transport
        self.address = address
        self.tenant = tenant
        self._config = config
        self.has_service = has_service
        self._context: TenantContext | None = None
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
    def fleets(self) -> Fleets:
        """Fleets of Ray clusters and their rollouts; over HTTP."""
        from rayctl.client.objects import Fleets

        return Fleets(self.transport)

    @property
    def sets(self) -> Objects:
        """Replica sets of Ray clusters; over HTTP."""
        from rayctl.client.objects import Objects

        return Objects(self.transport, "sets")

    @property
    def clusters(self) -> Objects:
        """Ray clusters; over HTTP."""
        from rayctl.client.objects import Objects

        return Objects(self.transport, "clusters")

    @property
    def services(self) -> Services:
        """Ray services and their switchovers; over HTTP."""
        from rayctl.client.objects import Services

        return Services(self.transport)

    def operations(self, *, namespace: str | None = None) -> list[dict[str, Any]]:
        """Return what is under way: rollouts, switchovers, changes, deletions; over HTTP."""
        from rayctl.client.objects import operations

        return operations(self.transport, namespace)

    @property
    def automl(self) -> AutoML:
        """AutoML runs: submit, get, list, deployments, info."""
        if self._automl is None:
            from rayctl.client.automl import AutoML

            self._automl = AutoML(self.transport, tenant=self.tenant)
        return self._automl

    @property
    def context(self) -> TenantContext:
        """What starts functions and actors for this connection's tenant; plain Ray if it has none.

        Made at the first use: the configuration of a registered tenant is fetched then, and its environment is built.
        """
        if self._context is None:
            from rayctl.client.tenancy import open_context

            self._context = open_context(self.transport, self.tenant, self._config, self.has_service)
        return self._context

    @property
    def config(self) -> TenantConfig | None:
        """The tenant's configuration that calls carry; None without a tenant."""
        return self.context.config

    def remote(self, target: Any = None, **options: Any) -> Any:
        """Make a function or class remote for this tenant. See `rayctl.tenancy.handle.TenantContext`."""
        return self.context.remote(target, **options)

    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Start one call of a function for this tenant; returns Ray's reference to its result."""
        return self.context.submit(function, *args, **kwargs)

    def map(self, function: Callable[..., Any], *items: Iterable[Any], **options: Any) -> Iterator[Any]:
        """Yield the results of a function for all items, in their order, a bounded number under way at a time."""
        return self.context.map(function, *items, **options)

    def actor(self, cls: type, *args: Any, options: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
        """Start an actor for this tenant."""
        return self.context.actor(cls, *args, options=options, **kwargs)

    def get_actor(self, name: str, namespace: str | None = None) -> Any:
        """Return a handle of a named actor whose calls carry this tenant's configuration."""
        return self.context.get_actor(name, namespace)

    def wrap(self, handle: Any) -> Any:
        """Return a handle of the same actor whose calls carry this tenant's configuration."""
        return self.context.wrap(handle)

    def put(self, value: Any) -> Any:
        """Put a value into the object store; returns Ray's reference."""
        return self.context.put(value)

    def get(self, references: Any, *, timeout: float | None = None) -> Any:
        """Return the values of references, as ``ray.get`` does."""
        return self.context.get(references, timeout=timeout)

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
    tenant: Tenant | None = None,
    token_file: str | None = None,
) -> Connection:
    """Connect to a rayctl service.

    Args:
        address: ``http(s)://host:port``; ``ray://host:port`` (Ray Client); ``auto`` (the Ray cluster that this
            process or machine belongs to). None: the environment variable RAYCTL_SERVER, else the Ray cluster this
            process is part of, else the service that ``rayctl up`` started on this machine.
        token: Bearer token for HTTP. None: RAYCTL_TOKEN, RAYCTL_TOKEN_FILE, else the local service's own.
        timeout_s: Seconds after which one call gives up; waiting for a run has its own limit.
        tenant: Whom requests and calls belong to, and whose runs are listed: a name, a `TenantConfig`, its fields, or
            a file. A configuration given here is carried by functions and actors as it is, registered or not, and needs
            no rayctl service in the cluster. None: ``default``, everything one may see, and plain Ray.
        token_file: File that holds the token, instead of ``token``.

    HTTP connections are made with the first call; Ray connections are made here.

    Raises:
        ServerUnreachable: no address is known, or (Ray) nothing answers there.
        InvalidRequest: the address or the token cannot be used.
    """
    if tenant is None or isinstance(tenant, str):
        name, config = tenant, None
    else:
        from rayctl.client.tenancy import config_of  # needs more than the command line otherwise does

        name, config = config_of(tenant)
    found = resolve(address, token=token, token_file=token_file)
    transport, has_service = _open(found, timeout_s, name, needs_service=config is None)
    return Connection(transport, address=found.url, tenant=name, config=config, has_service=has_service)


def _open(found: Address, timeout_s: float, tenant: str | None, needs_service: bool) -> tuple[Transport, bool]:
    transport: Any
    if found.kind == "http":
        from rayctl.client.http import HttpTransport

        hint = "The local service is not running: run `rayctl up`." if found.is_local else None
        transport = HttpTransport(found.url, found.token, timeout_s, hint)
    else:
        from rayctl.client.ray import open_ray

        transport = open_ray(found, timeout_s, tenant, needs_service=needs_service)
        return transport, transport.has_service
    return transport, True
