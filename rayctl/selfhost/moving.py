"""The move of the control plane to another RayCluster: what is wanted and how far it is, and what the switchover is
told about it. Pure; `rayctl.selfhost.mover` does it.

The rules are those of every switch (`rayctl.service.switchover`). The entries move in this order: the HTTP service,
then the state (requests wait meanwhile), then the controllers' leases. The old side goes only after all three.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rayctl.core.plan import Blocker
from rayctl.kube.lease import Observed
from rayctl.manifests.access import CONTROLLERS
from rayctl.manifests.installation import NAME
from rayctl.service.record import Phase, Record, parse_record
from rayctl.service.sides import CLAIM
from rayctl.service.terms import Entry, Rules, Seen, Side, Wish
from rayctl.state.turn import Turn

__all__ = [
    "CONFIG",
    "RULES",
    "Move",
    "at_rest",
    "look",
    "parse_move",
    "side_of",
    "unwritten",
    "wish_back",
    "wish_new",
    "with_changes",
]

Document = Mapping[str, Any]
CONFIG = "rayctl-upgrade"
"""The ConfigMap in rayctl's namespace that has it."""
RULES = Rules(deadline_s=300.0, drain_min_s=2.0, drain_max_s=10.0, settle_s=3.0)
SERVICE, STATE, LEASES = "service", "state", "leases"


@dataclass(frozen=True)
class Move:
    """What is kept. ``target``, ``wanted``: the wish; ``changes``: side → what its installation has differently;
    ``deadline_s``: how long a new side may take until it is ready."""

    record: Record
    target: str
    wanted: str
    abort: bool = False
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    deadline_s: float = RULES.deadline_s

    @property
    def rules(self) -> Rules:
        """The rules of this move."""
        return replace(RULES, deadline_s=self.deadline_s)

    def data(self) -> dict[str, str]:
        """Return the ConfigMap's data."""
        wish = {"target": self.target, "wanted": self.wanted, "abort": self.abort, "deadline_s": self.deadline_s}
        found = {"record": self.record.document(), "wish": wish, "changes": dict(self.changes)}
        return {name: json.dumps(value) for name, value in found.items()}

    @property
    def wish(self) -> Wish:
        """The wish as the switchover wants it."""
        return Wish(self.target, self.wanted, abort=self.abort)


def parse_move(document: Document | None) -> Move:
    """Return what is kept; without a ConfigMap the first side is there and nothing else is wanted."""
    data = (document or {}).get("data") or {}
    record = parse_record({"switchover": json.loads(data.get("record") or "null")})
    if record is None:
        return Move(Record(0, "", NAME, wanted=NAME, phase=Phase.SWITCHED, step="done", touched=True), NAME, NAME)
    wish = json.loads(data.get("wish") or "{}")
    return Move(
        record,
        str(wish.get("target") or record.active),
        str(wish.get("wanted") or record.active_wanted),
        bool(wish.get("abort")),
        json.loads(data.get("changes") or "{}"),
        float(wish.get("deadline_s") or RULES.deadline_s),
    )


def unwritten(document: Document | None) -> bool:
    """Whether nothing is kept yet."""
    return not ((document or {}).get("data") or {}).get("record")


def with_changes(move: Move, changes: Mapping[str, Mapping[str, Any]]) -> Move:
    """Return a move with what sides have differently from now on."""
    return replace(move, changes={**move.changes, **changes})


def at_rest(move: Move) -> bool:
    """Whether no move is under way or wanted."""
    return move.record.phase.ended and (move.wanted == move.record.active_wanted or move.record.refused == move.wanted)


def wish_new(move: Move, changes: Mapping[str, Any], deadline_s: float | None = None) -> Move:
    """Return the wish for a new side. ``changes``: what it has differently, over what the present one has;
    ``deadline_s``: how long it may take until it is ready."""
    target = f"{NAME}-{move.record.serial + 2}"
    active = move.record.active
    known = {name: value for name, value in move.changes.items() if name in (active, move.record.source)}
    return replace(
        move,
        target=target,
        wanted=target,
        abort=False,
        deadline_s=deadline_s or RULES.deadline_s,
        changes={**known, target: {**move.changes.get(active, {}), **changes}},
    )


def wish_back(move: Move) -> Move | None:
    """Return the wish to be as before: the side that is being left, or one like the last; None if there was none.

    A wish with which nobody has begun is taken back.
    """
    record = move.record
    if not record.phase.ended:
        return replace(move, abort=True)
    if not at_rest(move):
        return replace(move, target=record.active, wanted=record.active_wanted, abort=False)
    if record.phase is not Phase.SWITCHED or not record.source:
        return None
    before = wish_new(move, {})
    return replace(before, changes={**before.changes, before.target: dict(move.changes.get(record.source, {}))})


def side_of(name: str, cluster: Document | None, gateway: bool | None) -> Side:
    """Return what is known of a side. ``gateway``: whether its HTTP API answers; None: nobody could find out."""
    if cluster is None:
        return Side(name)
    metadata, status = cluster["metadata"], cluster.get("status") or {}
    known = {str(item.get("type")): item for item in status.get("conditions") or ()}
    head = known.get("HeadPodReady") or {}
    why = head.get("message") or head.get("reason") if head.get("status") != "True" else "its HTTP API does not answer"
    claim = str((metadata.get("annotations") or {}).get(CLAIM) or "0")
    serves = gateway if status.get("state") == "ready" or gateway else False
    return Side(
        name,
        exists=True,
        going=bool(metadata.get("deletionTimestamp")),
        claim=int(claim) if claim.isdigit() else 0,
        ready=status.get("state") == "ready" and gateway is True,
        serves=serves,
        endpoints=int(serves is True),
        wanted_endpoints=1,
        waits_for=Blocker("NotReady", f"{name}: {why or 'there is no head'}"),
    )


def look(move: Move, sides: Mapping[str, Side], selected: str, turn: Turn, leases: Mapping[str, Document]) -> Seen:
    """Return what the switchover sees.

    Args:
        move: What is kept.
        sides: By name.
        selected: The side that the HTTP service leads to.
        turn: Who has the state.
        leases: The controllers' leases by name.
    """
    record = move.record
    source, target = (record.active, record.retiring) if record.phase.ended else (record.source, record.target)
    holders = [Observed(leases[name], 0.0).holder if name in leases else "" for name in CONTROLLERS]
    # A lease that a standby has, or nobody, stays with its side: to ask for it would only keep the standby from it.
    there = target if target and all(holder.startswith(f"{target}_") for holder in holders) else source
    held = turn.holder or source
    serial = record.serial
    places = {SERVICE: selected, STATE: held if turn.wanted in ("", held) else source, LEASES: there}
    return Seen(sides, tuple(Entry(name, at, moved_by=serial) for name, at in places.items()))
