"""Fleets, sets, clusters and services of the service's Kubernetes, for Python programs: over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

from rayctl.errors import Conflict, DeadlineExceeded, InvalidRequest, NotFound

if TYPE_CHECKING:
    from rayctl.client.http import HttpTransport
    from rayctl.client.transport import Document, Transport

__all__ = ["Change", "Fleets", "KubeObject", "Objects", "Services", "operations"]

Documents = list[dict[str, Any]]
"""Named here because `Objects.list` takes the word away inside the classes."""
_POLL_S = 1.0
_FINAL = ("failed",)


@dataclass(frozen=True)
class KubeObject:
    """An object as it was when it was asked for.

    ``row``: as lists show it (``state``, ``reason``, ``message``, …); ``document``: the Kubernetes object, where it was
    asked for by name; ``version``: what a change may be based on.
    """

    name: str
    namespace: str
    state: str
    row: Mapping[str, Any] = field(repr=False)
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def ready(self) -> bool:
        """Whether it is as its specification wants it."""
        return bool(self.row.get("ready"))

    @property
    def version(self) -> str:
        """Its resourceVersion."""
        return str(self.row.get("revision", ""))

    @property
    def why(self) -> str:
        """Why it is not ready, in a sentence."""
        return str(self.row.get("message") or self.row.get("reason") or "")


@dataclass(frozen=True)
class Change:
    """One change of an object. ``deleted``: it is gone. ``id``: resume a watch after this one."""

    object: KubeObject
    deleted: bool
    id: str


def _object(found: Mapping[str, Any]) -> KubeObject:
    row = {name: value for name, value in found.items() if name != "document"}
    return KubeObject(found["name"], found.get("namespace", ""), found.get("state", ""), row, found.get("document", {}))


class Objects:
    """Operations on one kind. Errors are those of `rayctl.errors`.

    Args:
        transport: The connection's.
        word: The kind, as in the API's paths.
        namespace: For calls that name none; None: the token's own, or ``default``.
    """

    def __init__(self, transport: Transport, word: str, namespace: str | None = None) -> None:
        self._any, self._word, self._namespace = transport, word, namespace

    @property
    def _http(self) -> HttpTransport:
        if self._any.kind != "http":
            raise InvalidRequest(
                f"{self._word.capitalize()} are reached over HTTP only.",
                code="http-only",
                hint="connect() to the gateway's http:// address, or use kubectl or `rayctl get`.",
            )
        return self._any  # type: ignore[return-value]  # told apart by its kind

    def list(self, *, namespace: str | None = None, label: str = "") -> list[KubeObject]:
        """Return the objects of a namespace; None: of all that this token may see."""
        found: list[KubeObject] = []
        cursor = None
        while True:
            params = {"namespace": namespace or self._namespace, "label": label or None, "cursor": cursor, "limit": 200}
            page = self._http.ask("GET", f"/v1/{self._word}", params=params)
            found += [_object(item) for item in page["items"]]
            cursor = page.get("next")
            if not cursor:
                return found

    def get(self, name: str, *, namespace: str | None = None) -> KubeObject:
        """Return one object. Raises NotFound."""
        return _object(self._ask("GET", name, namespace=namespace))

    def apply(
        self,
        document: Mapping[str, Any],
        *,
        namespace: str | None = None,
        force: bool = False,
        dry_run: bool = False,
        version: str | None = None,
    ) -> KubeObject:
        """Create or change an object so that it is as the document says. Raises InvalidRequest, Conflict, Forbidden."""
        name = str((document.get("metadata") or {}).get("name") or "")
        if not name:
            raise InvalidRequest("The document has no metadata.name.")
        inside = (document.get("metadata") or {}).get("namespace")
        params = {"force": "true" if force else None, "dry_run": "true" if dry_run else None}
        return _object(self._ask("PUT", name, "", document, namespace or inside, params, version))

    def patch(
        self, name: str, changes: Mapping[str, Any], *, namespace: str | None = None, version: str | None = None
    ) -> KubeObject:
        """Change fields (merge patch). ``version``: only if the object is at it."""
        return _object(self._ask("PATCH", name, "", changes, namespace, None, version))

    def delete(self, name: str, *, namespace: str | None = None, version: str | None = None) -> Document:
        """Delete an object and what it owns; return the operation, see `operations`."""
        return self._ask("DELETE", name, "", None, namespace, None, version)

    def scale(self, name: str, replicas: int, *, group: str | None = None, namespace: str | None = None) -> KubeObject:
        """Set how many clusters, or how many workers of a group, there shall be."""
        return self.act(name, "scale", {"replicas": replicas, "group": group}, namespace=namespace)

    def suspend(self, name: str, *, namespace: str | None = None) -> KubeObject:
        """Take its pods away and keep its specification (clusters, services)."""
        return self.act(name, "suspend", namespace=namespace)

    def resume(self, name: str, *, namespace: str | None = None) -> KubeObject:
        """Bring back what `suspend` took away; of fleets: go on after `pause`."""
        return self.act(name, "resume", namespace=namespace)

    def explain(self, name: str, *, namespace: str | None = None) -> Document:
        """Return why an object is not ready, since when, and what can be done."""
        return self._ask("GET", name, "/explain", namespace=namespace)

    def events(self, name: str, *, namespace: str | None = None) -> Documents:
        """Return the events about an object, newest first."""
        found: Documents = self._ask("GET", name, "/events", namespace=namespace)["items"]
        return found

    def act(
        self,
        name: str,
        verb: str,
        options: Mapping[str, Any] | None = None,
        *,
        namespace: str | None = None,
        version: str | None = None,
    ) -> KubeObject:
        """Do what a verb of the API does; repeated after a lost answer, and done once."""
        given = {key: value for key, value in (options or {}).items() if value is not None or key == "percent"}
        return _object(self._ask("POST", name, f":{verb}", given or None, namespace, None, version))

    def watch(self, *, namespace: str | None = None, after: str = "") -> Iterator[Change]:
        """Yield what is there and every change; resumes after a connection that ended. ``after``: a change's id."""
        params = {"kind": self._word, "namespace": namespace or self._namespace}
        for event, ident, data in self._http.follow("/v1/changes", params, after):
            if event in ("state", "deleted"):
                yield Change(_object(data), event == "deleted", ident)

    def wait(self, name: str, *, timeout_s: float = 300.0, namespace: str | None = None) -> KubeObject:
        """Wait until an object is ready and as its newest specification says; return it.

        Raises:
            DeadlineExceeded: It is not in time; the message says why.
            Conflict: It is ready, but keeps what an older specification said until somebody acts.
            NotFound: It is not there.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.get(name, namespace=namespace)
            if found.ready and found.row.get("outdated"):
                raise Conflict(f"{self._word}/{name} is ready, but: {found.row['outdated']}", code="outdated")
            if found.ready:
                return found
            if found.state in _FINAL or time.monotonic() >= deadline:
                raise DeadlineExceeded(f"{self._word}/{name} is not ready: {found.why}.", code="not-ready")
            time.sleep(min(_POLL_S, max(0.0, deadline - time.monotonic())))

    def _ask(
        self,
        method: str,
        name: str,
        rest: str = "",
        body: Any = None,
        namespace: str | None = None,
        params: Mapping[str, Any] | None = None,
        version: str | None = None,
    ) -> Any:
        headers = {} if method == "GET" else {"Idempotency-Key": uuid4().hex}
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        path = f"/v1/{self._word}/{quote(name, safe='')}{rest}"
        given = {"namespace": namespace or self._namespace, **(params or {})}
        sent = 0

        def noted() -> None:
            nonlocal sent
            sent += 1

        try:
            return self._http.ask(method, path, params=given, json=body, headers=headers, sent=noted)
        except NotFound:
            if method == "DELETE" and sent > 1:
                return {}  # the first one, whose answer was lost, did it
            raise


class Fleets(Objects):
    """Fleets, and their rollouts."""

    def __init__(self, transport: Transport, namespace: str | None = None) -> None:
        super().__init__(transport, "fleets", namespace)

    def plan(self, name: str, document: Mapping[str, Any] | None = None, *, namespace: str | None = None) -> Document:
        """Return what would happen next, or if a document were applied; nothing is written."""
        found: Document = self._ask("POST", name, ":plan", document, namespace)
        return found

    def rollout(self, name: str, *, namespace: str | None = None) -> Document:
        """Return revisions, clusters, step and verdict: the view that ``rayctl rollout status`` shows."""
        found: Document = self._ask("GET", name, "/rollout", namespace=namespace)
        return found

    def history(self, name: str, *, namespace: str | None = None) -> Documents:
        """Return the revisions, newest first."""
        found: Documents = self._ask("GET", name, "/history", namespace=namespace)["items"]
        return found

    def pause(self, name: str, *, namespace: str | None = None) -> KubeObject:
        """Let changes of the template wait."""
        return self.act(name, "pause", namespace=namespace)

    def undo(self, name: str, to_revision: int = 0, *, namespace: str | None = None) -> KubeObject:
        """Give the fleet the template of an earlier revision; 0: the one before the newest."""
        return self.act(name, "undo", {"to_revision": to_revision}, namespace=namespace)

    def restart(self, name: str, *, namespace: str | None = None) -> KubeObject:
        """Replace all clusters by new ones."""
        return self.act(name, "restart", namespace=namespace)

    def promote(self, name: str, *, full: bool = False, namespace: str | None = None) -> KubeObject:
        """Let the step pass at which a rollout waits."""
        return self.act(name, "promote", {"full": full}, namespace=namespace)

    def abort(self, name: str, *, namespace: str | None = None) -> KubeObject:
        """Give the newest revision up."""
        return self.act(name, "abort", namespace=namespace)


class Services(Objects):
    """Services, and their switchovers."""

    def __init__(self, transport: Transport, namespace: str | None = None) -> None:
        super().__init__(transport, "services", namespace)

    def switchover(self, name: str, *, namespace: str | None = None) -> Document:
        """Return both sides, the traffic and the present switch: the view that ``rayctl service status`` shows."""
        found: Document = self._ask("GET", name, "/switchover", namespace=namespace)
        return found

    def history(self, name: str, *, namespace: str | None = None) -> Documents:
        """Return the revisions, newest first."""
        found: Documents = self._ask("GET", name, "/history", namespace=namespace)["items"]
        return found

    def promote(self, name: str, *, retry: bool = False, namespace: str | None = None) -> KubeObject:
        """Move the traffic as soon as the new side is ready; ``retry``: try again what was rolled back."""
        return self.act(name, "promote", {"retry": retry}, namespace=namespace)

    def abort(self, name: str, *, namespace: str | None = None) -> KubeObject:
        """Give the switch up and keep the side that serves."""
        return self.act(name, "abort", namespace=namespace)

    def weight(self, name: str, percent: int | None, *, namespace: str | None = None) -> KubeObject:
        """Give the new side a share of the traffic; None: as the strategy says."""
        return self.act(name, "weight", {"percent": percent}, namespace=namespace)

    def rollback(self, name: str, to_revision: int | None = None, *, namespace: str | None = None) -> KubeObject:
        """Return to an earlier specification."""
        return self.act(name, "rollback", {"to_revision": to_revision}, namespace=namespace)


def operations(transport: Transport, namespace: str | None = None) -> list[Document]:
    """Return what is under way: rollouts, switchovers, changes, deletions."""
    http = Objects(transport, "operations", namespace)._http
    found: list[Document] = http.ask("GET", "/v1/operations", params={"namespace": namespace})["items"]
    return found
