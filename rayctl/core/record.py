"""A pass as JSON: what was seen, when, what was decided and what became of it; and deciding it again, offline."""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayctl.core import plan as vocabulary
from rayctl.core.controller import Controller, Documents, Key
from rayctl.core.execute import Outcome
from rayctl.core.plan import Plan, Ref, Together

__all__ = ["PassRecord", "Recorder", "plan_document", "replay"]

KEPT = 200
"""Passes that a recorder keeps."""


@dataclass(frozen=True)
class PassRecord:
    """One pass. ``at``: seconds since the epoch, the planner's now; ``found``: the planner's input.

    ``plan`` and ``results`` are JSON; ``ending`` is an `Ending`'s value, or ``crashed``.
    """

    controller: str
    key: Key
    at: float
    found: Documents
    plan: Mapping[str, Any]
    ending: str
    results: tuple[str, ...] = ()
    error: str = ""

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"), sort_keys=True)

    @staticmethod
    def from_json(text: str) -> PassRecord:
        """Read what `to_json` wrote.

        Raises:
            ValueError: It is not that.
        """
        try:
            document = json.loads(text)
            namespace, name = document["key"]
            return PassRecord(**{**document, "key": (namespace, name), "results": tuple(document["results"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"not the record of a pass: {error}") from error


class Recorder:
    """The last passes that did something or failed, newest last; those that had nothing to do are only counted."""

    def __init__(self, kept: int = KEPT) -> None:
        self._records: deque[tuple[Controller, Key, float, Documents, Plan, Outcome | None, str]] = deque(maxlen=kept)
        self.idle = 0

    def add(
        self,
        controller: Controller,
        key: Key,
        at: float,
        found: Documents,
        plan: Plan,
        outcome: Outcome | None,
        error: str = "",
    ) -> None:
        """Keep a pass. Documents are kept by reference: nothing changes them."""
        if not plan.actions and not error:
            self.idle += 1
            return
        self._records.append((controller, key, at, found, plan, outcome, error))

    def records(self, key: Key | None = None) -> list[PassRecord]:
        """Return the passes that are kept (of one key), oldest first."""
        return [_record(*entry) for entry in self._records if key is None or entry[1] == key]


def _record(
    controller: Controller, key: Key, at: float, found: Documents, plan: Plan, outcome: Outcome | None, error: str
) -> PassRecord:
    ending = "crashed" if outcome is None else outcome.ending.value
    results: tuple[str, ...] = ()
    if outcome is not None:
        results = tuple(
            f"{type(result.action).__name__} {_target(result.action)}: {result.error or result.revision or 'done'}"
            for result in outcome.results
        )
        error = error or str(outcome.error or "")
    return PassRecord(controller.name, key, at, found, plan_document(plan), ending, results, error)


def _target(action: vocabulary.Single) -> Ref:
    return action.cluster if isinstance(action, vocabulary.CallServe) else action.ref


def plan_document(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON: each action with its type as ``action``."""
    document = {
        "actions": [_action(action) for action in plan.actions],
        "because": [dataclasses.asdict(reason) for reason in plan.because],
        "next_check_at": plan.next_check_at,
        "blocked_on": None if plan.blocked_on is None else dataclasses.asdict(plan.blocked_on),
    }
    return document


def _action(action: vocabulary.Action) -> dict[str, Any]:
    if isinstance(action, Together):
        return {"action": "Together", "actions": [_action(single) for single in action.actions]}
    values = {field.name: getattr(action, field.name) for field in dataclasses.fields(action)}
    found = {name: dataclasses.asdict(value) if isinstance(value, Ref) else value for name, value in values.items()}
    return {"action": type(action).__name__, **found}


def replay(controller: Controller, record: PassRecord) -> dict[str, Any]:
    """Decide a recorded pass again; the plan as JSON equals ``record.plan`` unless the planner has changed."""
    document: dict[str, Any] = json.loads(json.dumps(plan_document(controller.plan(record.found, record.at))))
    return document
