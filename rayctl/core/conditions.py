"""Conditions, by the conventions of the Kubernetes API: a map by type; the time moves only when the status flips."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Literal

__all__ = ["UPGRADE_DISABLED", "UP_TO_DATE", "Condition", "derive_ready", "merge_conditions", "parse_conditions"]

Status = Literal["True", "False", "Unknown"]
UP_TO_DATE = "UpToDate"
"""Type of the condition of clusters and services that the newest specification is what runs."""
UPGRADE_DISABLED = "UpgradeDisabled"
"""Its reason where something is of an older specification and stays so, by what the specification says itself."""
_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")


@dataclass(frozen=True)
class Condition:
    """One condition. ``transition_at``: seconds since the epoch, whole; 0 until it is merged.

    Raises:
        ValueError: The reason is not one word.
    """

    type: str
    status: Status
    reason: str
    message: str = ""
    observed_generation: int = 0
    transition_at: int = 0

    def __post_init__(self) -> None:
        if not _REASON.fullmatch(self.reason):
            raise ValueError(f"the reason of condition {self.type} must be one word, not {self.reason!r}")

    @property
    def is_true(self) -> bool:
        """Whether it holds."""
        return self.status == "True"

    def document(self) -> dict[str, Any]:
        """Return the form in an object's status."""
        at = datetime.fromtimestamp(self.transition_at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "type": self.type,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "observedGeneration": self.observed_generation,
            "lastTransitionTime": at,
        }


def parse_conditions(documents: Iterable[Mapping[str, Any]] | None) -> dict[str, Condition]:
    """Read the conditions of a status. What is damaged counts as unknown, not as an error."""
    found = {}
    for document in documents or ():
        kind, status = document.get("type"), document.get("status")
        if not isinstance(kind, str) or not kind:
            continue
        reason = document.get("reason")
        known: Status = status if status in ("True", "False") else "Unknown"
        found[kind] = Condition(
            kind,
            known,
            reason if isinstance(reason, str) and _REASON.fullmatch(reason) else "Unreadable",
            str(document.get("message") or ""),
            int(document.get("observedGeneration") or 0),
            _seconds(document.get("lastTransitionTime")),
        )
    return found


def _seconds(text: Any) -> int:
    try:
        return int(datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp())
    except ValueError:
        return 0


def merge_conditions(
    before: Mapping[str, Condition], wanted: Iterable[Condition], now: float, generation: int
) -> tuple[Condition, ...]:
    """Return the conditions to write: the wanted ones, and those of others that were there, by type.

    ``now``: seconds since the epoch. A condition whose status stays keeps its time, whatever else changes.
    """
    merged = dict(before)
    for condition in wanted:
        old = before.get(condition.type)
        same = old is not None and old.status == condition.status and old.transition_at
        at = old.transition_at if old is not None and same else int(now)
        merged[condition.type] = replace(condition, transition_at=at, observed_generation=generation)
    return tuple(merged[kind] for kind in sorted(merged))


def derive_ready(conditions: Sequence[Condition], required: Sequence[str], generation: int) -> Condition:
    """Return the summary: ready if all that is required holds for this generation, else what does not first."""
    known = {condition.type: condition for condition in conditions}
    for kind in required:
        found = known.get(kind)
        if found is None or found.observed_generation < generation:
            return Condition("Ready", "Unknown", "NotObserved", f"{kind} has not been observed yet", generation)
        if not found.is_true:
            return Condition("Ready", found.status, found.reason, found.message or f"{kind} does not hold", generation)
    return Condition("Ready", "True", "AllConditionsHold", "", generation)
