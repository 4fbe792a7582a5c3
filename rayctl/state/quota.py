"""What a tenant uses against what it may use. Pure; who counts and writes is `rayctl.state.runs`."""

from __future__ import annotations

from dataclasses import dataclass

from rayctl.errors import QuotaExceeded

__all__ = ["Bounds", "Usage"]


@dataclass(frozen=True)
class Usage:
    """What a tenant has and uses now. ``stored_bytes``: uploads, data and results."""

    queued: int
    running: int
    runs: int
    stored_bytes: int
    deployments: int


@dataclass(frozen=True)
class Bounds:
    """What a tenant may use; None: no bound. Runs beyond ``max_running`` wait, at most ``max_queued`` of them."""

    max_running: int | None = None
    max_queued: int | None = None
    max_stored_bytes: int | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether there is anything to count."""
        return self.max_queued is not None or self.max_stored_bytes is not None

    def check(self, tenant: str, used: Usage, more_bytes: int = 0) -> None:
        """Refuse one more run with so many bytes of data.

        Raises:
            QuotaExceeded: ``quota-runs``, ``quota-bytes``.
        """
        if self.max_queued is not None:
            places = self.max_queued + (self.max_running or 0)
            if used.queued + used.running >= places and (self.max_running is not None or used.queued >= places):
                raise QuotaExceeded(
                    f"Tenant {tenant} has {used.running} runs running and {used.queued} waiting, which is its quota.",
                    code="quota-runs",
                    hint="Wait until one has ended, cancel one, or ask the operator for more.",
                    retry_after_s=10,
                )
        self.check_bytes(tenant, used, more_bytes)

    def check_bytes(self, tenant: str, used: Usage, more_bytes: int) -> None:
        """Refuse so many bytes more.

        Raises:
            QuotaExceeded: ``quota-bytes``.
        """
        if self.max_stored_bytes is not None and used.stored_bytes + more_bytes > self.max_stored_bytes:
            raise QuotaExceeded(
                f"Tenant {tenant} stores {used.stored_bytes:,} of {self.max_stored_bytes:,} bytes; "
                f"{more_bytes:,} more do not fit.",
                code="quota-bytes",
                hint="Delete runs or uploads that are not needed, or ask the operator for more.",
            )
