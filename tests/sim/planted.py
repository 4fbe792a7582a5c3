"""Defects that controllers and their machinery are known for, each planted on purpose: the simulation must notice.

The first half is in the controller, the second in the kernel below it (replaced for the time of a test).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from rayctl.core import execute, loop, queue
from rayctl.core.controller import Caches, Document, Documents, Key
from rayctl.core.execute import Ending, Outcome
from rayctl.core.plan import Action, Apply, Create, Delete, Patch, Plan, Ref, Together
from rayctl.kube import informer, own_writes, reflector, store
from rayctl.kube.errors import Expired
from rayctl.kube.kinds import CONFIG_MAPS
from tests.sim.fanout import TOLD, FanOut, child_of, wanted

__all__ = ["IN_THE_CONTROLLER", "IN_THE_KERNEL"]


class RandomNames(FanOut):
    """Makes as many children as are missing, under names that chance gives."""

    chance = random.Random(1)

    def plan(self, found: Documents, now: float) -> Plan:
        parent, children = found["parent"], found["children"]
        missing = wanted(parent) - len(children)
        if missing > 0:
            documents = [child_of(parent, self.chance.randrange(10**6)) for _ in range(missing)]
            return Plan(tuple(Create(document) for document in documents))
        return super().plan(found, now)


class Counts(FanOut):
    """Goes by the number of children, not by their names: what is missing is made at the end."""

    def plan(self, found: Documents, now: float) -> Plan:
        parent, children = found["parent"], found["children"]
        missing = wanted(parent) - len(children)
        if missing > 0 and not found["strangers"]:
            first = len(children)
            return Plan(tuple(Create(child_of(parent, first + index)) for index in range(missing)))
        plan = super().plan(found, now)
        return Plan(tuple(action for action in plan.actions if not isinstance(action, Together)))


class AllOrNothing(FanOut):
    """Makes its children in one go, and believes that a go is never interrupted."""

    def plan(self, found: Documents, now: float) -> Plan:
        plan = super().plan(found, now)
        begun = found["children"] and len(found["children"]) < 3
        return Plan(tuple(a for a in plan.actions if not (begun and _creates(a))), blocked_on=plan.blocked_on)


class TellsFirst(FanOut):
    """Says that it is done before it is."""

    def plan(self, found: Documents, now: float) -> Plan:
        plan = super().plan(found, now)
        names = {str(index): {} for index in range(wanted(found["parent"]))}
        return Plan((*self.tell(found["parent"], names), *plan.actions), blocked_on=plan.blocked_on)


class TellsOnce(FanOut):
    """Has said it once, and never looks whether it is still so."""

    def tell(self, parent: Document, there: Any) -> list[Action]:
        return [] if TOLD in (parent["metadata"].get("annotations") or {}) else super().tell(parent, there)


class TellsTheTime(FanOut):
    """Writes the time of its last look."""

    def plan(self, found: Documents, now: float) -> Plan:
        plan = super().plan(found, now)
        if plan.actions or plan.blocked_on:
            return plan
        parent = found["parent"]
        changes = {"metadata": {"annotations": {"test.io/looked-at": str(now)}}}
        return Plan((Patch(_ref(parent), changes, parent["metadata"]["resourceVersion"]),), next_check_at=now + 10)


class AlwaysApplies(FanOut):
    """Does not compare before it writes."""

    def plan(self, found: Documents, now: float) -> Plan:
        plan = super().plan(found, now)
        if plan.actions or plan.blocked_on:
            return plan
        applies = [Apply(child_of(found["parent"], index)) for index in range(wanted(found["parent"]))]
        return Plan(tuple(applies), next_check_at=now + 10)


class NeverUpdates(FanOut):
    """Makes and deletes, but never changes."""

    def plan(self, found: Documents, now: float) -> Plan:
        plan = super().plan(found, now)
        return Plan(tuple(a for a in plan.actions if not isinstance(a, Apply)), blocked_on=plan.blocked_on)


class IgnoresStrangers(FanOut):
    """Applies over whatever has the name."""

    def plan(self, found: Documents, now: float) -> Plan:
        plan = super().plan({**found, "strangers": []}, now)
        return Plan(tuple(_applying(action) for action in plan.actions))


class DeletesByName(FanOut):
    """Clears a name that it wants, whoever has it."""

    def plan(self, found: Documents, now: float) -> Plan:
        namespace = found["parent"]["metadata"]["namespace"]
        going = [Delete(Ref("v1", "ConfigMap", namespace, name)) for name in found["strangers"]]
        return Plan((*going, *super().plan({**found, "strangers": []}, now).actions))


class GivesUpOnStrangers(FanOut):
    """Met a stranger once, and remembers it for ever."""

    def __init__(self) -> None:
        self.met: set[str] = set()

    def plan(self, found: Documents, now: float) -> Plan:
        name = found["parent"]["metadata"]["name"]
        if found["strangers"]:
            self.met.add(name)
        return Plan() if name in self.met else super().plan(found, now)


class RemembersCreated(FanOut):
    """Knows from memory what it has made."""

    def __init__(self) -> None:
        self.made: set[tuple[str, str]] = set()

    def plan(self, found: Documents, now: float) -> Plan:
        plan = super().plan(found, now)
        uid = found["parent"]["metadata"]["uid"]
        actions = []
        for action in plan.actions:
            if isinstance(action, Together) and _creates(action):
                new = [one for one in action.actions if (uid, one.ref.name) not in self.made]  # type: ignore[union-attr]
                self.made |= {(uid, one.ref.name) for one in new}  # type: ignore[union-attr]
                action = Together(tuple(new))
            actions.append(action)
        return Plan(tuple(actions), blocked_on=plan.blocked_on)


class OnlyNewWishes(FanOut):
    """Acts when the wish has changed, and at no other time."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    def plan(self, found: Documents, now: float) -> Plan:
        metadata, wish = found["parent"]["metadata"], found["parent"]["data"]
        old, self.seen[metadata["uid"]] = self.seen.get(metadata["uid"]), wish
        return Plan() if old == wish else super().plan(found, now)


class NoOwners(FanOut):
    """Knows its children by their names only; nobody owns them."""

    async def look(self, key: Key, caches: Caches) -> Documents | None:
        found = await super().look(key, caches)
        if found is None:
            return None
        named = [item for item in caches.all(CONFIG_MAPS) if item["metadata"]["name"].startswith(f"{key[1]}-")]
        return {**found, "children": named, "strangers": []}

    def plan(self, found: Documents, now: float) -> Plan:
        plan = super().plan(found, now)
        return Plan(tuple(_without_owner(action) for action in plan.actions))


class ChangesTheCache(FanOut):
    """Writes into the objects that it was given."""

    def plan(self, found: Documents, now: float) -> Plan:
        plan = super().plan(found, now)
        for child in found["children"]:
            child["data"]["text"] = found["parent"]["data"]["text"]
        return plan


class NeverDeletes(FanOut):
    """Forgets what is too much when something else is to be done."""

    def plan(self, found: Documents, now: float) -> Plan:
        plan = super().plan(found, now)
        return Plan(tuple(a for a in plan.actions if not (isinstance(a, Together) and not _creates(a))))


class Raises(FanOut):
    """Does not expect that a child is being deleted, or gone."""

    def plan(self, found: Documents, now: float) -> Plan:
        for index in range(len(found["children"])):
            assert found["children"][index]["metadata"]["name"].endswith(f"-{index}")
        return super().plan(found, now)


def _creates(action: Action) -> bool:
    singles = action.actions if isinstance(action, Together) else (action,)
    return any(isinstance(single, Create) for single in singles)


def _applying(action: Action) -> Action:
    if isinstance(action, Together):
        return Together(tuple(Apply(one.document) if isinstance(one, Create) else one for one in action.actions))
    return action


def _without_owner(action: Action) -> Action:
    if isinstance(action, Together):
        return Together(tuple(_without_owner(one) for one in action.actions))  # type: ignore[misc]
    if isinstance(action, (Create, Apply)):
        document = dict(action.document)
        document["metadata"] = {name: v for name, v in document["metadata"].items() if name != "ownerReferences"}
        return type(action)(document)
    return action


def _ref(document: Document) -> Ref:
    return Ref.to({"apiVersion": "v1", "kind": "ConfigMap", **document})


IN_THE_CONTROLLER: list[Callable[[], FanOut]] = [
    RandomNames,
    Counts,
    AllOrNothing,
    TellsFirst,
    TellsOnce,
    TellsTheTime,
    AlwaysApplies,
    NeverUpdates,
    IgnoresStrangers,
    DeletesByName,
    GivesUpOnStrangers,
    RemembersCreated,
    OnlyNewWishes,
    NoOwners,
    ChangesTheCache,
    NeverDeletes,
    Raises,
]


# In the kernel ----------------------------------------------------------------------------------------


def no_gate(patch: pytest.MonkeyPatch) -> None:
    """Nothing waits until the caches have seen our own writes."""
    patch.setattr(own_writes.OwnWrites, "behind", lambda *_: "")


def retries_lost(patch: pytest.MonkeyPatch) -> None:
    """A key that failed does not come back."""
    patch.setattr(loop.Loop, "_retry", lambda *_: None)


def conflicts_swallowed(patch: pytest.MonkeyPatch) -> None:
    """A conflict counts as done."""
    _ending_as_done(patch, Ending.AGAIN)


def trouble_swallowed(patch: pytest.MonkeyPatch) -> None:
    """An answer 5xx, or none, counts as done."""
    _ending_as_done(patch, Ending.TROUBLE)


def overload_swallowed(patch: pytest.MonkeyPatch) -> None:
    """A server that asks for time is not asked again."""
    _ending_as_done(patch, Ending.LATER)


def _ending_as_done(patch: pytest.MonkeyPatch, ending: Ending) -> None:
    right = execute._ended

    def wrong(results: Any, failed: Any) -> Outcome:
        outcome = right(results, failed)
        return Outcome(Ending.DONE, results) if outcome.ending is ending else outcome

    patch.setattr(execute, "_ended", wrong)


def adds_lost_while_working(patch: pytest.MonkeyPatch) -> None:
    """A change of a key that is being worked on is lost."""
    right = queue.WorkQueue.add

    def wrong(self: Any, key: Any, urgent: bool = True) -> None:
        if key not in self._working:
            right(self, key, urgent)

    patch.setattr(queue.WorkQueue, "add", wrong)


def deletions_unheard(patch: pytest.MonkeyPatch) -> None:
    """Listeners are told of what is there, not of what goes."""
    right = informer.Informer._tell

    def wrong(self: Any, change: store.Change) -> None:
        if change.new is not None:
            right(self, change)

    patch.setattr(informer.Informer, "_tell", wrong)


def relists_keep_the_dead(patch: pytest.MonkeyPatch) -> None:
    """A list adds to the store and takes nothing away."""

    async def wrong(self: Any, found: list[dict[str, Any]]) -> None:
        for item in found:
            self._put(item)

    patch.setattr(reflector.Reflector, "_replace", wrong)


def expired_skips(patch: pytest.MonkeyPatch) -> None:
    """When the history is too old, the watch goes on from now without a list."""
    right = reflector.Reflector._watch

    async def wrong(self: Any) -> None:
        try:
            await right(self)
        except Expired:
            if not self.synced.is_set():
                raise
            page = await self._transport.request(self._selection.call(30.0).asking(limit=1))
            self.revision = page["metadata"]["resourceVersion"]

    patch.setattr(reflector.Reflector, "_watch", wrong)


IN_THE_KERNEL = [
    no_gate,
    retries_lost,
    conflicts_swallowed,
    trouble_swallowed,
    overload_swallowed,
    adds_lost_while_working,
    deletions_unheard,
    relists_keep_the_dead,
    expired_skips,
]
