"""What a planner may ask for. All frozen data: plans can be compared, printed, recorded, and made without a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "FRESH_TOKEN",
    "Action",
    "Apply",
    "Blocker",
    "CallServe",
    "Create",
    "Delete",
    "Emit",
    "Patch",
    "Plan",
    "Reason",
    "Ref",
    "SetStatus",
    "Together",
]

FRESH_TOKEN = "$(fresh token)"  # noqa: S105 (stands for a token, is none)
"""A value in ``stringData`` of a Secret that is created: the executor writes 64 random hexadecimal digits instead, so
that neither plans nor their records ever contain them."""


@dataclass(frozen=True, order=True)
class Ref:
    """Which object is meant. ``uid`` empty: whichever has the name."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str = ""

    @staticmethod
    def to(document: Mapping[str, Any]) -> Ref:
        """Return the reference to an object."""
        metadata = document["metadata"]
        return Ref(
            document["apiVersion"],
            document["kind"],
            metadata.get("namespace", ""),
            metadata["name"],
            metadata.get("uid", ""),
        )

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {where}{self.name}"


@dataclass(frozen=True)
class Create:
    """Make an object that was not seen. If the name is taken meanwhile, nothing happens and the pass looks again.

    So a stranger's object of that name is never touched, and a repeated create never makes a second object.
    """

    document: Mapping[str, Any]

    @property
    def ref(self) -> Ref:
        """Which object."""
        return Ref.to(self.document)


@dataclass(frozen=True)
class Apply:
    """Server-side apply of everything that this controller cares about in an object that it has seen and that is its.

    A ``metadata.uid`` in the document is a precondition. ``revision``: only if the object still has this
    resourceVersion.
    """

    document: Mapping[str, Any]
    revision: str = ""

    @property
    def ref(self) -> Ref:
        """Which object."""
        return Ref.to(self.document)


@dataclass(frozen=True)
class Delete:
    """Delete exactly this object: its uid is a precondition, and its revision if it is given."""

    ref: Ref
    revision: str = ""
    policy: str = "Background"
    grace_s: int | None = None


@dataclass(frozen=True)
class Patch:
    """Merge patch (RFC 7386) of an object's main part: finalizers, annotations, replicas of a child.

    ``revision`` is a precondition: lists, such as finalizers, are replaced as a whole.
    """

    ref: Ref
    changes: Mapping[str, Any]
    revision: str


@dataclass(frozen=True)
class SetStatus:
    """Replace the whole status.

    ``revision`` is a precondition, so that an older look never overwrites a newer one.
    """

    ref: Ref
    status: Mapping[str, Any]
    revision: str


@dataclass(frozen=True)
class Emit:
    """Tell what happened. Best effort: it never fails a pass."""

    ref: Ref
    kind: str
    reason: str
    message: str


@dataclass(frozen=True)
class CallServe:
    """A request to a Ray cluster's Serve API; ``cluster`` is where, ``request`` what."""

    cluster: Ref
    request: Mapping[str, Any]


Single = Create | Apply | Patch | Delete | SetStatus | Emit | CallServe


@dataclass(frozen=True)
class Together:
    """Actions that do not depend on each other: sent side by side, a bounded number at a time.

    All are tried; the pass ends after them if any failed.
    """

    actions: tuple[Single, ...]


Action = Single | Together


@dataclass(frozen=True)
class Reason:
    """Why a gate did what it did: which gate, a word, and a sentence for people."""

    gate: str
    code: str
    message: str


@dataclass(frozen=True)
class Blocker:
    """What progress waits for. ``since_at``: seconds since the epoch, if known; ``hint``: what can be done about it."""

    code: str
    message: str
    ref: Ref | None = None
    since_at: float | None = None
    hint: str = ""


@dataclass(frozen=True)
class Plan:
    """What is to be done now, why, and when to look again even if nothing happens.

    Args:
        actions: In this order; the first one that fails ends the pass.
        because: One reason per gate that had something to say.
        next_check_at: Seconds since the epoch; None: only when something changes.
        blocked_on: What is waited for; set whenever nothing is done and the goal is not reached.
    """

    actions: tuple[Action, ...] = ()
    because: tuple[Reason, ...] = ()
    next_check_at: float | None = None
    blocked_on: Blocker | None = field(default=None)

    @property
    def writes(self) -> tuple[Action, ...]:
        """The actions that change something."""
        return tuple(action for action in self.singles if not isinstance(action, Emit))

    @property
    def singles(self) -> tuple[Single, ...]:
        """All actions, those that go together one by one."""
        found: list[Single] = []
        for action in self.actions:
            found.extend(action.actions if isinstance(action, Together) else (action,))
        return tuple(found)
