"""What the client needs of a way to reach the service. Plain documents in, plain documents out.

`rayctl.client.http` and `rayctl.client.ray` implement this; everything above is the same for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Protocol

__all__ = ["Document", "Transport"]

Document = dict[str, Any]


class Transport(Protocol):
    """The service's operations. All of them raise errors of `rayctl.errors` and nothing else.

    Calls that may be repeated without harm are repeated a few times when the connection fails;
    ``submit``, ``extend`` and ``replay`` are among them because they always carry an idempotency key.
    """

    kind: Literal["http", "ray"]

    def submit(self, request: Document, data: Any, idempotency_key: str) -> Document:
        """Hand in a request with its table (see `rayctl.client.data`); return the run view."""

    def get_run(self, run_id: str) -> Document:
        """Return the run view."""

    def list_runs(
        self, *, tenant: str | None = None, state: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Document:
        """Return ``{"items": [run view, …], "next": cursor or None}``."""

    def leaderboard(self, run_id: str, limit: int | None = None) -> list[Document]:
        """Return leaderboard rows."""

    def result(self, run_id: str, wait_s: float = 0.0) -> Document:
        """Return the result; waits once for up to ``wait_s`` (at most 30) seconds. Raises ResultNotReady, RunFailed."""

    def events(self, run_id: str, after: int = 0) -> Iterator[Document]:
        """Yield events with ``seq > after`` from one connection, until ``done`` or until the connection ends."""

    def cancel(self, run_id: str) -> Document:
        """Ask the run to stop; return its view."""

    def finish(self, run_id: str) -> Document:
        """End the run's search early; return its view."""

    def extend(
        self, run_id: str, time_budget_s: float | None, max_trials: int | None, idempotency_key: str
    ) -> Document:
        """Continue the run as a new one; return the view of that."""

    def replay(self, run_id: str, idempotency_key: str) -> Document:
        """Repeat the run as a new one; return the view of that."""

    def report_files(self, run_id: str) -> list[Document]:
        """Build the run's report if there is none yet; return ``{"name", "bytes", "sha256"}`` of each file."""

    def delete(self, run_id: str) -> None:
        """Remove an ended run."""

    def artifacts(self, run_id: str) -> list[Document]:
        """Return ``{"name", "bytes", "sha256"}`` of each artifact."""

    def artifact(self, run_id: str, name: str) -> Iterator[bytes]:
        """Yield the bytes of one artifact in pieces."""

    def predict(self, run_id: str, data: Any, proba: bool = False) -> Any:
        """Return predictions as an Arrow table."""

    def deploy(self, run_id: str, name: str | None = None) -> Document:
        """Serve the run's model."""

    def undeploy(self, name: str) -> None:
        """Stop serving."""

    def deployments(self) -> list[Document]:
        """Return what is served."""

    def info(self) -> Document:
        """Return versions, limits and counts."""

    def put_tenant(
        self, name: str, document: Document | bytes, expected: int | None, author: str, note: str, dry_run: bool
    ) -> Document:
        """Register a tenant or its next version (see `rayctl.tenancy.port`)."""

    def get_tenant(self, name: str, version: int | None = None) -> Document:
        """Return a version of a tenant; None: the current one."""

    def list_tenants(self) -> list[Document]:
        """Return the current versions of all tenants that the caller may see."""

    def tenant_history(self, name: str) -> list[Document]:
        """Return all versions of a tenant, newest first."""

    def rollback_tenant(self, name: str, version: int, expected: int | None, author: str, note: str) -> Document:
        """Make an earlier version the newest again."""

    def delete_tenant(self, name: str) -> None:
        """Remove a tenant."""

    def close(self) -> None:
        """Give the connection back."""
