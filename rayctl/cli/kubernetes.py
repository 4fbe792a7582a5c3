"""How a command finds its Kubernetes API server, asks it, and tells what went wrong: `kubernetes_command` and `Kube`.

@click.command()
@click.argument("target", metavar="KIND/NAME")
@kubernetes_command(changes=True)
def scale(kube: Kube, target: str, change: Change) -> None:
    named = kube.target(target)
    document = kube.get(named.served.resource, named.name)
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import click
from click.core import ParameterSource

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.hints import explained
from rayctl.errors import InvalidRequest
from rayctl.kube.calls import MERGE, OPENED, Call, Resource
from rayctl.kube.errors import KubernetesError, ObjectNotFound

if TYPE_CHECKING:
    from rayctl.client.kube.connection import KubeConnection
    from rayctl.client.kube.discovery import Kinds, Served
    from rayctl.client.kube.following import Seen, Selection

__all__ = ["MANAGER", "Change", "Kube", "Named", "kubernetes_command", "opened"]

MANAGER = "rayctl"
"""Field manager of what people do with this command; controllers have names of their own."""
_WAIT_S = 300.0

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
Document = dict[str, Any]


@dataclass(frozen=True)
class Named:
    """An object that a command line names."""

    served: Served
    name: str

    @property
    def label(self) -> str:
        """As output names it: ``raycluster.ray.io/demo``."""
        return f"{self.served.label}/{self.name}"


@dataclass(frozen=True)
class Change:
    """How something is to be changed. ``timeout_s``: of all the waiting, from ``begun_at`` (``time.monotonic``) on."""

    wait: bool = False
    timeout_s: float = _WAIT_S
    dry_run: Literal["none", "client", "server"] = "none"
    begun_at: float = field(default_factory=time.monotonic)

    @property
    def only_client(self) -> bool:
        """Whether nothing is sent at all."""
        return self.dry_run == "client"

    @property
    def deadline(self) -> float:
        """When waiting ends, on ``time.monotonic``'s clock."""
        return self.begun_at + self.timeout_s

    @property
    def waits(self) -> bool:
        """Whether there is something to wait for."""
        return self.wait and self.dry_run == "none"

    def on(self, call: Call) -> Call:
        """Return a call as it is to be sent: with ``dryRun`` if nothing is to be kept."""
        return call.asking(dryRun="All") if self.dry_run == "server" else call

    @property
    def suffix(self) -> str:
        """What is added to the line that says what was done."""
        return {"none": "", "client": " (dry run)", "server": " (server dry run)"}[self.dry_run]


class Kube:
    """One API server, for the time of one command. Blocking; every failure comes out with a hint.

    Attributes:
        settings: The common options.
        asked_namespace: What ``-n`` says; None: nothing.
        all_namespaces: Whether ``-A`` was given.
    """

    def __init__(
        self,
        settings: Settings,
        connect: Callable[[], KubeConnection],
        asked_namespace: str | None = None,
        all_namespaces: bool = False,
    ) -> None:
        self.settings, self.asked_namespace, self.all_namespaces = settings, asked_namespace, all_namespaces
        self._connect = connect
        self._kinds: Kinds | None = None

    @functools.cached_property
    def connection(self) -> KubeConnection:
        """The way to the server; looked for when first used."""
        return self._connect()

    def quiet(self) -> Kube:
        """Return the same without notes."""
        return Kube(replace(self.settings, quiet=True), lambda: self.connection, self.asked_namespace)

    @property
    def namespace(self) -> str:
        """Where objects without a namespace of their own are: ``-n``, else the context's."""
        return self.connection.target.namespace

    @property
    def scope(self) -> str:
        """The namespace to list: empty with ``-A``."""
        return "" if self.all_namespaces else self.namespace

    @property
    def kinds(self) -> Kinds:
        """What the server has; asked for once."""
        if self._kinds is None:
            from rayctl.client.kube.discovery import discover

            self._kinds = discover(self.connection)
        return self._kinds

    def forget_kinds(self) -> None:
        """Ask anew what the server has, the next time that somebody wants to know."""
        self._kinds = None

    def target(self, first: str, second: str | None = None, default: str | None = None) -> Named:
        """Return the object that ``KIND/NAME``, or ``KIND NAME``, means; ``default``: the kind of a lone ``NAME``.

        Raises:
            InvalidRequest: A name is missing, or there is one too many.
            NotFound: The server has no such kind.
        """
        kind, slash, name = first.partition("/")
        if not slash and second is None and default is not None:
            kind, name = default, first
        elif not slash and second is not None:
            name = second
        elif second is not None:
            raise InvalidRequest(
                f"{first} is a name already; what is {second!r}?", hint="Write KIND/NAME or KIND NAME."
            )
        if not kind or not name or "/" in name:
            raise InvalidRequest(f"{first!r} does not name an object.", hint="Write KIND/NAME, for example rc/demo.")
        return Named(self.kinds.find(kind), name)

    def request(self, call: Call) -> Any:
        """Send a call. Raises KubernetesError."""
        return self.connection.request(call)

    def get(self, resource: Resource, name: str, namespace: str | None = None) -> Document:
        """Return an object.

        Raises:
            ObjectNotFound: It is not there.
        """
        return cast(Document, self.request(Call.get(self.path(resource, name, namespace))))

    def find(self, resource: Resource, name: str, namespace: str | None = None) -> Document | None:
        """Return an object, or None."""
        try:
            return self.get(resource, name, namespace)
        except ObjectNotFound:
            return None

    def list(
        self, resource: Resource, namespace: str | None = None, labels: str = "", fields: str = ""
    ) -> list[Document]:
        """Return the objects of a namespace (None: `scope`; empty: all)."""
        from rayctl.client.kube.following import Selection, list_all

        where = self.scope if namespace is None else namespace
        return list_all(self.connection, Selection(resource, where, labels=labels, fields=fields))[0]

    def follow(self, selection: Selection, deadline: float | None = None) -> Iterator[Seen]:
        """Yield states and changes of objects until the deadline (``time.monotonic``)."""
        from rayctl.client.kube.following import follow

        return follow(self.connection, selection, deadline)

    def apply(self, document: Mapping[str, Any], change: Change | None = None, force: bool = False) -> Document:
        """Apply a document at the server, as field manager `MANAGER`. Raises WriteConflict."""
        served = self.kinds.of(str(document["apiVersion"]), str(document["kind"]))
        metadata = document["metadata"]
        path = self.path(served.resource, metadata["name"], metadata.get("namespace"))
        call = Call.apply(path, document, MANAGER, force)
        return cast(Document, self.request((change or Change()).on(call)))

    def patch(
        self,
        named: Named,
        changes: Mapping[str, Any],
        change: Change | None = None,
        subresource: str = "",
        namespace: str | None = None,
    ) -> Document:
        """Merge-patch an object (RFC 7386)."""
        path = self.path(named.served.resource, named.name, namespace, subresource)
        call = Call("PATCH", path, body=changes, content_type=MERGE, timeout_s=30.0).asking(fieldManager=MANAGER)
        return cast(Document, self.request((change or Change()).on(call)))

    def path(self, resource: Resource, name: str, namespace: str | None = None, subresource: str = "") -> str:
        """Return an object's path; namespace None: `namespace`."""
        where = (namespace or self.namespace) if resource.namespaced else ""
        return resource.path(where, name, subresource)

    def run(self, work: Callable[[AsyncTransport], Awaitable[T]]) -> T:
        """Run asynchronous code that wants a `rayctl.kube.calls.Transport`, to its end."""

        async def main() -> T:
            return await work(AsyncTransport(self.connection))

        return asyncio.run(main())


class AsyncTransport:
    """A blocking connection as a `rayctl.kube.calls.Transport`, for code written for controllers."""

    def __init__(self, connection: KubeConnection) -> None:
        self._connection = connection

    async def request(self, call: Call) -> Any:
        """See `Transport.request`."""
        return await asyncio.to_thread(self._connection.request, call)

    async def watch(self, call: Call, silence_s: float) -> AsyncGenerator[dict[str, Any], None]:
        """See `Transport.watch`."""
        events = self._connection.watch(call, silence_s)
        yield {"type": OPENED}
        while True:
            event = await asyncio.to_thread(next, events, None)
            if event is None:
                return
            yield event

    async def close(self) -> None:
        """Do nothing: the connection is the command's."""


@contextmanager
def opened(settings: Settings, asked: dict[str, Any]) -> Iterator[Kube]:
    """Have a `Kube` for the time of a block. ``asked``: the options ``kubeconfig``, ``context``, ``namespace`` …"""
    from rayctl.client.kube.connection import KubeConnection
    from rayctl.client.kube.locate import Where, locate

    made: list[KubeConnection] = []

    def connect() -> KubeConnection:
        target = locate(Where(asked.get("kubeconfig"), asked.get("context"), asked.get("namespace")))
        made.append(KubeConnection(target, bool(asked.get("allow_exec"))))
        return made[0]

    try:
        yield Kube(settings, connect, asked.get("namespace"), bool(asked.get("all_namespaces")))
    except KubernetesError as error:
        raise (explained(error, made[0].target) if made else error) from error
    finally:
        for connection in made:
            connection.close()


def kubernetes_command(*, all_namespaces: bool = False, changes: bool = False, waits: bool = False) -> Callable[[F], F]:
    """Give a command a `Kube` as its first argument, and the options that find its server.

    Args:
        all_namespaces: It has ``-A``.
        changes: It changes something: it has ``--wait``, ``--timeout`` and ``--dry-run``, and gets ``change``.
        waits: It waits unless told not to.
    """

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def call(settings: Settings, *args: Any, **given: Any) -> Any:
            names = ("kubeconfig", "context", "namespace", "allow_exec", "all_namespaces")
            asked = {name: given.pop(name, None) for name in names}
            source = click.get_current_context().get_parameter_source("namespace")
            if asked["all_namespaces"] and source is ParameterSource.COMMANDLINE:
                raise click.UsageError("-n and -A exclude each other.")
            if changes:
                timeout_s = settings.timeout_s or _WAIT_S
                given["change"] = Change(given.pop("wait"), timeout_s, given.pop("dry_run") or "none")
            with opened(settings, asked) as kube:
                return command(kube, *args, **given)

        wrapped: Any = pass_settings(call)
        for option in reversed(_options(all_namespaces, changes, waits)):
            wrapped = option(wrapped)
        return cast(F, global_options()(wrapped))

    return decorate


def _options(all_namespaces: bool, changes: bool, waits: bool) -> list[Callable[[Any], Any]]:
    found = [
        click.option("--kubeconfig", metavar="FILE", envvar="RAYCTL_KUBECONFIG", help="How to reach the cluster."),
        click.option("--context", metavar="NAME", envvar="RAYCTL_CONTEXT", help="Context of the kubeconfig."),
        click.option("-n", "--namespace", metavar="NAME", envvar="RAYCTL_NAMESPACE", help="Namespace."),
        click.option(
            "--allow-exec",
            is_flag=True,
            envvar="RAYCTL_ALLOW_EXEC",
            help="Run whatever program the kubeconfig names for credentials.",
        ),
    ]
    if all_namespaces:
        found.append(click.option("-A", "--all-namespaces", is_flag=True, help="In all namespaces."))
    if changes:
        kinds = click.Choice(["none", "client", "server"])
        found += [
            click.option("--wait/--no-wait", default=waits, show_default=True, help="Wait until it is so."),
            click.option(
                "--dry-run",
                type=kinds,
                is_flag=False,
                flag_value="server",
                help="client: send nothing; server: check there, keep nothing (what --dry-run alone means).",
            ),
        ]
    return found
