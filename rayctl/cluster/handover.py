"""What would become of a RayCluster that KubeRay looks after if rayctl did: by the planner's own gates. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from rayctl.cluster import keys
from rayctl.cluster.children import change_children
from rayctl.cluster.plan import POD_GATES, plan_cluster
from rayctl.cluster.problems import told
from rayctl.cluster.seen import ClusterSeen
from rayctl.cluster.validate import check_cluster
from rayctl.core.gates import run_gates
from rayctl.core.plan import Action, Apply, Create, Delete, Plan, Ref, Single, Together

__all__ = ["Handover", "give_back_cluster", "take_over_cluster", "written"]


@dataclass(frozen=True)
class Handover:
    """What a change of controllers does to an object.

    Args:
        ref: The object.
        state: ``kept``: nothing that runs is touched; ``changes``: something is (see ``changes``); ``refused``: the new
            controller would not look after it (see ``message``); ``elsewhere``: it is neither's, and stays so.
        keeps: Pods (of a service: clusters) that go on as they are.
        changes: What would be touched, a sentence each.
        writes: Other objects that are brought up to date, without consequence for what runs.
        message: Why, or what is to be known; may be empty.
        settled: Nothing is left to do for the new controller.
    """

    ref: Ref
    state: Literal["kept", "changes", "refused", "elsewhere"]
    keeps: int = 0
    changes: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    message: str = ""
    settled: bool = False

    def document(self) -> dict[str, object]:
        """Return it as JSON."""
        return {
            "kind": self.ref.kind,
            "namespace": self.ref.namespace,
            "name": self.ref.name,
            "state": self.state,
            "keeps": self.keeps,
            "changes": list(self.changes),
            "writes": list(self.writes),
            "message": self.message,
            "settled": self.settled,
        }


def _flat(actions: Iterable[Action]) -> list[Single]:
    found: list[Single] = []
    for action in actions:
        found.extend(action.actions if isinstance(action, Together) else (action,))
    return found


def take_over_cluster(seen: ClusterSeen, now: float) -> Handover:
    """Return what rayctl would do to a cluster. ``now``: seconds since the epoch.

    Everything is judged as if no operator of KubeRay were there.
    """
    seen = replace(seen, operator="")
    ref = seen.spec.ref
    if seen.spec.managed_by not in ("", keys.MANAGED_BY_OPERATOR):
        return Handover(ref, "elsewhere", message=f"spec.managedBy names {seen.spec.managed_by}", settled=True)
    if seen.metadata.get("deletionTimestamp"):
        return Handover(ref, "kept", message="it is being deleted, and rayctl will go on with that", settled=True)
    problems = check_cluster(seen.spec, seen.options)
    if problems:
        return Handover(ref, "refused", message=told(problems))
    children = change_children(seen)
    if children.blocked_on is not None:
        return Handover(ref, "refused", message=children.blocked_on.message)
    settled = not plan_cluster(seen, now).actions
    writes = tuple(dict.fromkeys(written(children.actions)))
    staying = [pod for pod in seen.pods if pod.alive]
    if seen.spec.suspend:
        changes = tuple(f"pod {pod.name} is deleted: the cluster is suspended" for pod in staying)
        return Handover(ref, "changes" if changes else "kept", 0, changes, writes, settled=settled)
    plan = run_gates(POD_GATES, seen, now)
    changes = _touched(plan)
    if plan.blocked_on is not None and not changes and plan.blocked_on.code in ("TwoHeads", "ForeignHead"):
        return Handover(ref, "refused", message=plan.blocked_on.message)
    gone = sum(isinstance(action, Delete) for action in _flat(plan.actions))
    return Handover(ref, "changes" if changes else "kept", len(staying) - gone, changes, writes, settled=settled)


def give_back_cluster(seen: ClusterSeen) -> Handover:
    """Return what KubeRay is expected to do to a cluster that rayctl has looked after.

    It finds pods by their labels, which are the same. With the strategy Recreate it compares a hash that it puts on
    heads itself, so a head without it is at its mercy.
    """
    staying = sum(pod.alive for pod in seen.pods)
    own = [pod for pod in seen.heads if pod.alive and keys.REVISION in pod.annotations]
    if seen.spec.upgrade == "Recreate" and own:
        text = "KubeRay may recreate all pods: upgradeStrategy Recreate, and its hash is not on a head that rayctl made"
        return Handover(seen.spec.ref, "changes", 0, (text,))
    return Handover(seen.spec.ref, "kept", staying)


def _touched(plan: Plan) -> tuple[str, ...]:
    found = []
    for action in _flat(plan.actions):
        if isinstance(action, Delete):
            found.append(f"pod {action.ref.name} is deleted")
        elif isinstance(action, Create):
            found.append(f"pod {action.ref.name} is created")
    because = "; ".join(reason.message for reason in plan.because if reason.message)
    return tuple(f"{text} ({because})" if because else text for text in found)


def written(actions: Iterable[Action]) -> Iterator[str]:
    """Yield a sentence for each object that actions create, update or delete."""
    for action in _flat(actions):
        if isinstance(action, (Create, Apply, Delete)):
            verb = {Create: "created", Apply: "updated", Delete: "deleted"}[type(action)]
            yield f"{action.ref.kind} {action.ref.name} {verb}"
