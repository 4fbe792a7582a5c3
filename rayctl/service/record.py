"""The record of a switchover: what was intended, how far it got, how it ended. It is written before anything is done.

It lives in the object's status (``status.switchover``), is replaced by compare-and-set, and is the only memory that a
switch has. Where another definition of the kind prunes that field, `reconstruct` reads the same from KubeRay's own
fields: the names of the active and the pending side, and two conditions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any

from rayctl.clock import iso
from rayctl.core.conditions import parse_conditions

__all__ = ["OVERDUE", "SUCCEEDED", "Past", "Phase", "Record", "Split", "Traced", "parse_record", "reconstruct"]

SUCCEEDED = "SwitchoverSucceeded"
"""Condition: how the last switch ended; Unknown while one is under way."""
OVERDUE = "Overdue"
"""Reason of a switch whose deadline has passed and which is about to be taken back."""
KEPT_PAST = 5
KEPT_TRACE = 24


class Phase(str, Enum):
    """Where a switch is. The last two are ends: traffic is on one side and stays there."""

    FORWARD = "Forward"
    BACK = "Back"
    SWITCHED = "Switched"
    ROLLED_BACK = "RolledBack"

    @property
    def ended(self) -> bool:
        """Whether the switch is over."""
        return self in (Phase.SWITCHED, Phase.ROLLED_BACK)


@dataclass(frozen=True)
class Split:
    """How capacity and traffic are divided while both sides serve; percent.

    ``traffic``: the target's share, the source has the rest. ``moved_at``: when it was last changed.
    """

    source_capacity: int = 100
    target_capacity: int = 100
    traffic: int = 0
    moved_at: float = 0.0


@dataclass(frozen=True)
class Traced:
    """One line of the trace: when which step was reached, and what there is to say about it."""

    at: float
    step: str
    message: str = ""


@dataclass(frozen=True)
class Past:
    """A switch that has ended."""

    serial: int
    source: str
    target: str
    outcome: str
    reason: str
    started_at: float
    ended_at: float


@dataclass(frozen=True)
class Record:
    """A switch. Times: seconds since the epoch, 0 for "none".

    Args:
        serial: Counts the switches of an object; a side carries the serial of the last switch that claimed it.
        source: The side that serves; empty at the very first start.
        target: The side that is to serve.
        wanted, source_wanted: Which wish the target, and the source, fulfils (a fingerprint).
        generation: The object's generation when it began.
        phase, reason, message: Where it is, and why: a word and a sentence.
        step: The step that it had reached when it was last written.
        deadline_at: When it is given up.
        ended_at: When traffic had been moved (or moved back): the drain begins.
        touched: The side that goes has had traffic, and is drained.
        refused: The wish that is not tried again.
        split: How traffic is divided, while it is.
        trace, past: What happened in this switch, and how earlier ones ended, oldest first.
    """

    serial: int
    source: str
    target: str
    wanted: str = ""
    source_wanted: str = ""
    generation: int = 0
    phase: Phase = Phase.FORWARD
    step: str = "prepare"
    reason: str = ""
    message: str = ""
    started_at: float = 0.0
    deadline_at: float = 0.0
    ended_at: float = 0.0
    touched: bool = False
    refused: str = ""
    split: Split | None = None
    trace: tuple[Traced, ...] = ()
    past: tuple[Past, ...] = ()

    @property
    def active(self) -> str:
        """The side that the object's status names as active; empty before the first one serves."""
        return self.target if self.phase is Phase.SWITCHED else self.source

    @property
    def pending(self) -> str:
        """The side that is to become active; empty if none is."""
        return "" if self.phase.ended else self.target

    @property
    def retiring(self) -> str:
        """The side that is not needed any more; empty if there was none."""
        if not self.phase.ended:
            return ""
        return self.source if self.phase is Phase.SWITCHED else self.target

    @property
    def active_wanted(self) -> str:
        """Which wish the active side fulfils."""
        return self.wanted if self.phase is Phase.SWITCHED else self.source_wanted

    def fulfils(self, wanted: str) -> Record:
        """Return the record with another wish that the active side fulfils: it was changed in place."""
        if self.phase is Phase.SWITCHED:
            return replace(self, wanted=wanted)
        return replace(self, source_wanted=wanted)

    def reached(self, step: str, now: float, note: str = "", /, **changes: Any) -> Record:
        """Return the record with changes and one line more in its trace."""
        trace = (*self.trace, Traced(now, step, note))[-KEPT_TRACE:]
        return replace(self, step=step, trace=trace, **changes)

    def followed_by(self, following: Record) -> Record:
        """Return the following record with this one in its past."""
        if not self.target:
            return replace(following, past=self.past)
        outcome = self.phase.value
        ended = Past(self.serial, self.source, self.target, outcome, self.reason, self.started_at, self.ended_at)
        return replace(following, past=(*self.past, ended)[-KEPT_PAST:])

    def document(self) -> dict[str, Any]:
        """Return the form in the status. Empty fields are left out."""
        found: dict[str, Any] = {
            "serial": self.serial,
            "from": self.source,
            "to": self.target,
            "wanted": self.wanted,
            "fromWanted": self.source_wanted,
            "generation": self.generation,
            "phase": self.phase.value,
            "step": self.step,
            "reason": self.reason,
            "message": self.message,
            "startedAt": _text(self.started_at),
            "deadlineAt": _text(self.deadline_at),
            "endedAt": _text(self.ended_at),
            "refused": self.refused,
            "trace": [
                {"at": _text(line.at), "step": line.step, **({"message": line.message} if line.message else {})}
                for line in self.trace
            ],
            "history": [
                {
                    "serial": past.serial,
                    "from": past.source,
                    "to": past.target,
                    "outcome": past.outcome,
                    "reason": past.reason,
                    "startedAt": _text(past.started_at),
                    "endedAt": _text(past.ended_at),
                }
                for past in self.past
            ],
        }
        if self.touched:
            found["touched"] = True
        if self.split is not None:
            found["split"] = {
                "sourceCapacity": self.split.source_capacity,
                "targetCapacity": self.split.target_capacity,
                "traffic": self.split.traffic,
                "movedAt": _text(self.split.moved_at),
            }
        return {name: value for name, value in found.items() if value not in ("", [])}


def parse_record(status: Mapping[str, Any]) -> Record | None:
    """Read ``status.switchover``; None if it is not there or cannot be used."""
    found = status.get("switchover")
    if not isinstance(found, Mapping):
        return None
    try:
        split = found.get("split")
        return Record(
            serial=int(found["serial"]),
            source=str(found.get("from", "")),
            target=str(found["to"]),
            wanted=str(found.get("wanted", "")),
            source_wanted=str(found.get("fromWanted", "")),
            generation=int(found.get("generation", 0)),
            phase=Phase(found["phase"]),
            step=str(found.get("step", "")),
            reason=str(found.get("reason", "")),
            message=str(found.get("message", "")),
            started_at=_seconds(found.get("startedAt")),
            deadline_at=_seconds(found.get("deadlineAt")),
            ended_at=_seconds(found.get("endedAt")),
            touched=bool(found.get("touched", False)),
            refused=str(found.get("refused", "")),
            split=None
            if split is None
            else Split(
                int(split["sourceCapacity"]),
                int(split["targetCapacity"]),
                int(split["traffic"]),
                _seconds(split.get("movedAt")),
            ),
            trace=tuple(
                Traced(_seconds(line.get("at")), str(line.get("step", "")), str(line.get("message", "")))
                for line in found.get("trace") or ()
            ),
            past=tuple(
                Past(
                    int(past.get("serial", 0)),
                    str(past.get("from", "")),
                    str(past.get("to", "")),
                    str(past.get("outcome", "")),
                    str(past.get("reason", "")),
                    _seconds(past.get("startedAt")),
                    _seconds(past.get("endedAt")),
                )
                for past in found.get("history") or ()
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def reconstruct(
    status: Mapping[str, Any], serial: int, deadline_s: float, generation: int, wanted: str
) -> Record | None:
    """Read a record from the fields that KubeRay's own status has, for objects that it (or its definition) has kept.

    Args:
        status: The object's status.
        serial: The highest serial that any side carries; 0 if none does.
        deadline_s: How long a switch that is under way may take, from when its condition became true.
        generation, wanted: The object's generation, and the fingerprint of what it asks for.
    """
    active = str((status.get("activeServiceStatus") or {}).get("rayClusterName") or "")
    pending = str((status.get("pendingServiceStatus") or {}).get("rayClusterName") or "")
    if not active and not pending:
        return None
    conditions = parse_conditions(status.get("conditions"))
    upgrading = conditions.get("UpgradeInProgress")
    since = float(upgrading.transition_at) if upgrading else 0.0
    known = upgrading is not None and upgrading.observed_generation == generation
    if not pending:
        ended = Record(
            max(serial, 1),
            "",
            active,
            wanted if known else "",
            phase=Phase.SWITCHED,
            step="done",
            ended_at=since,
            touched=True,
        )
        last = conditions.get(SUCCEEDED)
        if last is not None and last.status == "False" and last.observed_generation == generation:
            return replace(ended, reason=last.reason, message=last.message, refused=wanted)
        return ended
    rolling = conditions.get("RollbackInProgress")
    back = rolling if rolling is not None and rolling.is_true else None
    told = conditions.get(SUCCEEDED)
    going = OVERDUE if told is not None and told.reason == OVERDUE else ""
    reason = going if back is None else "Reverted" if back.reason == "DesiredClusterSpecChanged" else back.reason
    return Record(
        max(serial, 1),
        active,
        pending,
        wanted if known else "",
        generation=generation,
        phase=Phase.BACK if back else Phase.FORWARD,
        reason=reason,
        message=back.message if back else "",
        refused=wanted if known and reason not in ("", "Reverted", OVERDUE) else "",
        started_at=since,
        deadline_at=since + deadline_s if since and active else 0.0,
        touched=True,
        split=_split(status),
    )


def _split(status: Mapping[str, Any]) -> Split | None:
    """Read how capacity and traffic are divided from KubeRay's own fields; None if they are not."""
    source, target = status.get("activeServiceStatus") or {}, status.get("pendingServiceStatus") or {}
    try:
        return Split(
            int(source["targetCapacity"]),
            int(target["targetCapacity"]),
            int(target["trafficRoutedPercent"]),
            _seconds(target.get("lastTrafficMigratedTime")),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _text(at: float) -> str:
    return iso(at) if at else ""


def _seconds(text: Any) -> float:
    return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp() if text else 0.0
