"""What a fleet's controllers would do from here on, step by step: the very planners, on an imagined world. Pure.

In it every new cluster becomes ready when all wait for that, time jumps to the next planned look, and somebody lets
pass what waits for a person. So the answer is the rollout as it goes when nothing breaks.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from rayctl.core.plan import Blocker, Create, Delete, Patch, Plan, Single
from rayctl.fleet.capacity import demand, text_of, times, total
from rayctl.fleet.imagined import ImaginedWorld
from rayctl.fleet.plan import plan_fleet
from rayctl.fleet.seen import PROMOTE, REVISION, parse_fleet
from rayctl.replicaset.health import health_of
from rayctl.replicaset.names import DRAINING_SINCE
from rayctl.replicaset.plan import plan_replicaset
from rayctl.replicaset.seen import controller_of, parse_seen
from rayctl.replicaset.status import rfc3339

__all__ = ["Preview", "PreviewStep", "preview"]

_MOST_STEPS = 4000
_MOST_JUMPS = 200


@dataclass(frozen=True)
class PreviewStep:
    """One thing that happens. ``after_s``: seconds of planned waiting until then, not counting starts of clusters."""

    do: str
    what: str
    because: str = ""
    after_s: float = 0.0

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"do": self.do, "what": self.what, "because": self.because, "after_s": round(self.after_s, 1)}


@dataclass
class Preview:
    """The whole way.

    Attributes:
        steps: In their order.
        before, after, peak: What the clusters hold: now, at the end, and at most on the way.
        most: Clusters that exist at most.
        fewest: Clusters that are ready at least, from the beginning on; None for a fleet that has none yet.
        revision: Numbers before and after.
        notes: What is to be known of all of it.
        blocked: What it ends with, if not with the goal.
        finished: Whether the goal is reached within what was looked at.
    """

    steps: list[PreviewStep] = field(default_factory=list)
    before: Mapping[str, Fraction] = field(default_factory=dict)
    after: Mapping[str, Fraction] = field(default_factory=dict)
    peak: dict[str, Fraction] = field(default_factory=dict)
    most: int = 0
    fewest: int | None = None
    revision: tuple[int, int] = (0, 0)
    notes: list[str] = field(default_factory=list)
    blocked: Blocker | None = None
    finished: bool = False

    @property
    def verdict(self) -> str:
        """A sentence for people."""
        if self.blocked is not None:
            return f"stops: {self.blocked.message}"
        if not self.finished:
            return "goes on beyond what was looked at"
        if not self.steps:
            return "nothing to do"
        return "goes on by itself" if self.steps[0].do == "wait" else "can start now"

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "revision": {"from": self.revision[0], "to": self.revision[1]},
            "steps": [step.document() for step in self.steps],
            "resources": {
                "before": text_of(self.before),
                "peak": text_of(self.peak),
                "after": text_of(self.after),
            },
            "most_clusters": self.most,
            "fewest_ready": self.fewest,
            "notes": list(self.notes),
            "verdict": self.verdict,
            "finished": self.finished,
            "blocked": None
            if self.blocked is None
            else {"code": self.blocked.code, "message": self.blocked.message, "hint": self.blocked.hint},
        }


def preview(
    fleet: Mapping[str, Any], sets: Sequence[Mapping[str, Any]], clusters: Sequence[Mapping[str, Any]], now: float
) -> Preview:
    """Return what would happen.

    Args:
        fleet: As it is to be; with uid and status if it exists.
        sets: Replica sets of its namespace.
        clusters: Ray clusters of its namespace.
        now: Seconds since the epoch.
    """
    return _Imagination(fleet, sets, clusters, now).run()


class _Imagination:
    def __init__(
        self,
        fleet: Mapping[str, Any],
        sets: Sequence[Mapping[str, Any]],
        clusters: Sequence[Mapping[str, Any]],
        now: float,
    ) -> None:
        self._world = ImaginedWorld(now)
        self._began_at = now
        document = copy.deepcopy(dict(fleet))
        document.setdefault("metadata", {}).setdefault("namespace", "default")
        for found in (*sets, *clusters):
            self._put(found)
        self._put(document)
        self._namespace, self._name = document["metadata"]["namespace"], document["metadata"]["name"]
        self._found = Preview()

    def _put(self, document: Mapping[str, Any]) -> None:
        kept = copy.deepcopy(dict(document))
        kept["metadata"].setdefault("namespace", "default")
        self._world.put(kept)

    @property
    def _fleet(self) -> dict[str, Any]:
        found = self._world.get("RayClusterFleet", self._namespace, self._name)
        assert found is not None
        return found

    def _sets(self) -> list[dict[str, Any]]:
        return self._world.all("RayClusterReplicaSet", self._namespace)

    def _mine(self) -> list[dict[str, Any]]:
        uid = self._fleet["metadata"]["uid"]
        sets = {item["metadata"]["uid"] for item in self._sets() if (controller_of(item) or {}).get("uid") == uid}
        clusters = self._world.all("RayCluster", self._namespace)
        return [item for item in clusters if (controller_of(item) or {}).get("uid") in sets]

    def run(self) -> Preview:
        found = self._found
        number = int((self._fleet["metadata"].get("annotations") or {}).get(REVISION) or 0)
        found.before = self._held()
        there = sum(1 for item in self._mine() if health_of(item).ready)
        found.fewest = there if there else None
        self._measure()
        jumps = 0
        while len(found.steps) < _MOST_STEPS and jumps < _MOST_JUMPS:
            plan = self._settle()
            if self._make_ready():
                continue
            if plan.blocked_on is None and self._done():
                found.finished = True
                break
            if not self._wait(plan):
                found.blocked = plan.blocked_on
                break
            jumps += 1
        found.after = self._held()
        after = int((self._fleet["metadata"].get("annotations") or {}).get(REVISION) or 0)
        found.revision = (number, after)
        return found

    def _done(self) -> bool:
        conditions = (self._fleet.get("status") or {}).get("conditions") or ()
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def _settle(self) -> Plan:
        """Let both controllers work until neither writes; returns the fleet's last plan."""
        for _ in range(500):
            plan = plan_fleet(parse_fleet({"fleet": self._fleet, "sets": self._sets()}), self._world.now)
            wrote = self._perform(plan, "")
            for document in self._sets():
                if (controller_of(document) or {}).get("uid") == self._fleet["metadata"]["uid"]:
                    wrote = self._set_pass(document) or wrote
            if not wrote or len(self._found.steps) >= _MOST_STEPS:
                return plan
        return plan

    def _set_pass(self, document: dict[str, Any]) -> bool:
        uid = document["metadata"]["uid"]
        clusters = self._world.all("RayCluster", self._namespace)
        mine = [item for item in clusters if (controller_of(item) or {}).get("uid") in (uid, None)]
        taken = [item["metadata"]["name"] for item in clusters if (controller_of(item) or {}).get("uid") != uid]
        seen = parse_seen({"set": document, "clusters": mine, "taken": taken})
        return self._perform(plan_replicaset(seen, self._world.now), document["metadata"]["name"])

    def _perform(self, plan: Plan, owner: str) -> bool:
        for reason in plan.because:
            if reason.gate == "capacity" and reason.message not in self._found.notes:
                self._found.notes.append(reason.message)
        because = "; ".join(reason.message for reason in plan.because if reason.gate != "capacity")
        last: type[Single] | None = None
        for action in plan.singles:
            counts = isinstance(action, (Create, Delete)) and action.ref.kind == "RayCluster"
            if counts and last not in (None, type(action)):
                self._measure()  # the most and the fewest are where coming turns into going, or the other way round
            self._note(action, because)
            self._world.act(action)
            last = type(action) if counts else last
        if last is not None:
            self._measure()
        return bool(plan.writes)

    def _note(self, action: Single, because: str) -> None:
        if isinstance(action, (Create, Delete)):
            verb = "create" if isinstance(action, Create) else "delete"
            self._step(verb, f"{_word(action.ref.kind)} {action.ref.name}", because)
        elif isinstance(action, Patch) and action.ref.kind == "RayCluster":
            annotations = (action.changes.get("metadata") or {}).get("annotations") or {}
            if annotations.get(DRAINING_SINCE):
                self._step("drain", f"cluster {action.ref.name}", because)
            elif "spec" in action.changes or "labels" in (action.changes.get("metadata") or {}):
                self._step("change", f"cluster {action.ref.name} in place", because)
        elif isinstance(action, Patch) and "replicas" in (action.changes.get("spec") or {}):
            self._step("size", f"set {action.ref.name} to {action.changes['spec']['replicas']}", because)
        elif isinstance(action, Patch) and action.ref.kind == "Service":
            self._step("switch", f"service {action.ref.name}", because)

    def _step(self, do: str, what: str, because: str = "") -> None:
        self._found.steps.append(PreviewStep(do, what, because, self._world.now - self._began_at))

    def _make_ready(self) -> bool:
        """Have every cluster that starts ready; they wait for nothing else."""
        waiting = [item for item in self._mine() if not health_of(item).ready]
        for item in waiting:
            at = rfc3339(self._world.now)
            conditions = [
                {"type": kind, "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": at}
                for kind in ("HeadPodReady", "RayClusterProvisioned")
            ]
            workers = health_of(item).wanted
            self._world.set_status(
                item, {"state": "ready", "readyWorkerReplicas": max(workers, 10**6), "conditions": conditions}
            )
        ready = [item for item in waiting if health_of(item).ready]
        if ready:
            names = [item["metadata"]["name"] for item in ready]
            text = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            self._step("wait", f"{text} ready")
        return bool(ready)

    def _wait(self, plan: Plan) -> bool:
        """Let time pass, or somebody let something pass; returns False if neither helps."""
        checks = [plan.next_check_at] if plan.next_check_at is not None else []
        code = plan.blocked_on.code if plan.blocked_on else ""
        if code in ("WaitingForGate", "WaitingForPromotion", "Pausing") and not (code == "Pausing" and checks):
            state = (self._fleet.get("status") or {}).get("rollout") or {}
            token = f"{state.get('revision')}:{state.get('step', 0)}"
            self._step(
                "promote", plan.blocked_on.message if plan.blocked_on else "", "somebody, or its gate, lets it pass"
            )
            self._world.change(self._fleet, {"metadata": {"annotations": {PROMOTE: token}}})
            return True
        for document in self._sets():
            seen = parse_seen({"set": document, "clusters": self._mine()})
            at = plan_replicaset(seen, self._world.now).next_check_at
            checks += [at] if at is not None else []
        later = [at for at in checks if at > self._world.now]
        if not later or code in ("WaitingForCapacity", "Paused"):
            return False
        self._world.now = min(later)
        return True

    def _held(self) -> dict[str, Fraction]:
        return total(times(demand({"spec": item["spec"]}), 1) for item in self._mine())

    def _measure(self) -> None:
        found, mine = self._found, self._mine()
        for name, amount in self._held().items():
            found.peak[name] = max(found.peak.get(name, Fraction(0)), amount)
        found.most = max(found.most, len(mine))
        if found.fewest is not None:
            found.fewest = min(found.fewest, sum(1 for item in mine if health_of(item).ready))


def _word(kind: str) -> str:
    return {"RayCluster": "cluster", "RayClusterReplicaSet": "set"}.get(kind, kind)
