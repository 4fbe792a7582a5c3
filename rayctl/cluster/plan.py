"""What is done next about a RayCluster: gates in a row, then the status. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from rayctl.cluster import keys, pods
from rayctl.cluster.auth import auth_of
from rayctl.cluster.children import LEFT_OVER, change_children
from rayctl.cluster.deletion import after_deletion
from rayctl.cluster.gcs_ft.claim_upkeep import drift
from rayctl.cluster.gcs_ft.options import fault_tolerance
from rayctl.cluster.problems import told
from rayctl.cluster.rejoin import without_the_forgotten
from rayctl.cluster.report import derive_status, set_status
from rayctl.cluster.seen import ClusterSeen, PodSeen
from rayctl.cluster.status import PROVISIONED, READY, REPLICA_FAILURE, SUSPENDED, SUSPENDING
from rayctl.cluster.upgrade import outdated_to_replace, waits_for_recreation
from rayctl.cluster.validate import check_cluster, warnings
from rayctl.cluster.workers import change_group, due_at
from rayctl.core.conditions import Condition
from rayctl.core.controller import Refusal
from rayctl.core.gates import PASS, Gate, Verdict, run_gates
from rayctl.core.plan import Action, Apply, Blocker, Create, Delete, Emit, Patch, Plan, SetStatus, Single, Together

__all__ = ["POD_GATES", "plan_cluster", "plan_refused"]

OPERATOR_CHECK_S = 60.0
LEFT_OVER_CHECK_S = 1.0
MAX_HINT = "kubectl delete pod {0} --force --grace-period=0, but only if its machine is gone for good"


def plan_cluster(seen: ClusterSeen, now: float) -> Plan:
    """Decide. ``now``: seconds since the epoch."""
    if not _is_ours_to_look_after(seen):
        return _left_alone(seen, now)
    if seen.metadata.get("deletionTimestamp"):
        return after_deletion(seen, now)
    problems = check_cluster(seen.spec, seen.options)
    if problems:
        code, text = problems[0].code, told(problems)
        problem = Condition(READY, "False", code, text)
        status = derive_status(seen, now, problem=problem, warnings=_warnings(seen))
        return _with_status(Plan(blocked_on=Blocker(code, text, seen.spec.ref)), seen, status, now)
    seen, believed_at = without_the_forgotten(seen, now)
    plan = run_gates(GATES, seen, now)
    checks = [at for at in (plan.next_check_at, believed_at) if at is not None]
    plan = replace(plan, next_check_at=min(checks) if checks else None)
    return _with_status(plan, seen, _status(seen, now, plan), now)


def _is_ours_to_look_after(seen: ClusterSeen) -> bool:
    return not seen.operator and seen.spec.managed_by in ("", keys.MANAGED_BY_OPERATOR)


def _left_alone(seen: ClusterSeen, now: float) -> Plan:
    """Plan nothing at all for clusters of another controller, and say whose they are."""
    if seen.operator:
        blocker = Blocker(
            "KubeRayActive",
            f"the KubeRay operator {seen.operator} looks after this RayCluster, so rayctl leaves it alone",
            hint="`rayctl adopt` has rayctl do it; `--dry-run` shows first what that means",
        )
        return Plan(next_check_at=now + OPERATOR_CHECK_S, blocked_on=blocker)
    text = f"spec.managedBy names {seen.spec.managed_by}, so rayctl leaves this RayCluster alone"
    return Plan(blocked_on=Blocker("ManagedElsewhere", text))


def _status(seen: ClusterSeen, now: float, plan: Plan) -> dict[str, object]:
    suspend = None
    if seen.holds(SUSPENDING) and not seen.pods:
        suspend = {SUSPENDING: False, SUSPENDED: True}
    elif seen.holds(SUSPENDED) and not seen.spec.suspend:
        suspend = {SUSPENDED: False, SUSPENDING: False}
    elif seen.spec.suspend and not seen.holds(SUSPENDED) and not seen.holds(SUSPENDING):
        suspend = {SUSPENDING: True, SUSPENDED: False}
    return derive_status(seen, now, suspend, plan.blocked_on, warnings=_warnings(seen))


def _warnings(seen: ClusterSeen) -> list[tuple[str, str]]:
    return [*warnings(seen.spec), *drift(seen)]


def _with_status(plan: Plan, seen: ClusterSeen, status: dict[str, object], now: float) -> Plan:
    """Add the write of the status, and the events that it is worth; a patch of the object itself comes first."""
    if any(isinstance(action, Patch) for action in plan.actions):
        return plan  # it gives the object a new revision; the next pass writes the status
    write, due = set_status(seen, status, now)
    checks = [at for at in (plan.next_check_at, due) if at is not None]
    actions: tuple[Action, ...] = plan.actions
    if write is not None:
        events = tuple(_events(seen, write))
        # That pods are being deleted is written before they are: it must not be forgotten half-way.
        begins = any(item["type"] == SUSPENDING and item["status"] == "True" for item in write.status["conditions"])
        actions = (write, *actions, *events) if begins else (*actions, write, *events)
    return replace(plan, actions=actions, next_check_at=min(checks) if checks else None)


def _events(seen: ClusterSeen, write: SetStatus) -> list[Emit]:
    """Return one event for each condition that people should hear of, when it comes up."""
    found = []
    before = seen.conditions
    for item in write.status["conditions"]:
        old = before.get(item["type"])
        if old is not None and (old.status, old.reason) == (item["status"], item["reason"]):
            continue
        bad = item["type"] in (REPLICA_FAILURE, "SpecWarned") and item["status"] == "True"
        bad = bad or (item["type"] == READY and item["reason"].startswith(("Invalid", "NameTaken", "Autoscaler")))
        if bad:
            found.append(Emit(seen.spec.ref, "Warning", item["reason"], item["message"]))
        elif item["type"] == READY and (old is None or old.status != item["status"]) and item["status"] == "True":
            found.append(Emit(seen.spec.ref, "Normal", "Ready", "the head and all workers are ready"))
    return found


# Gates.


def _finalizer(seen: ClusterSeen, now: float) -> Verdict:
    """Before anything is kept in Redis, the cluster is marked so that its keys are removed when it goes."""
    has = keys.FINALIZER in (seen.metadata.get("finalizers") or ())
    found = fault_tolerance(seen.spec)
    wants = found.backend == "redis" and seen.options.redis_cleanup
    others = [name for name in seen.metadata.get("finalizers") or () if name != keys.FINALIZER]
    if wants and not has:
        change = {"metadata": {"finalizers": [*others, keys.FINALIZER]}}
        text = "its keys will be removed from Redis when it is deleted"
        return Verdict((Patch(seen.spec.ref, change, seen.revision),), "Marked", text, stop=True)
    if has and found.backend == "rocksdb":
        change = {"metadata": {"finalizers": others}}
        return Verdict((Patch(seen.spec.ref, change, seen.revision),), "Unmarked", "nothing is in Redis", stop=True)
    return PASS


def _unprotected(seen: ClusterSeen, now: float) -> Verdict:
    """A head that another controller has started without a token gets no workers that ask for one."""
    auth = auth_of(seen.spec, seen.options)
    heads = [pod for pod in seen.heads if pod.alive]
    foreign = heads and not any(pod.shows_token or keys.REVISION in pod.annotations for pod in heads)
    if not foreign or not auth.ours or (seen.spec.spec.get("authOptions") or {}).get("mode"):
        return PASS
    change = {"metadata": {"annotations": {keys.UNPROTECTED: "true"}}}
    text = "its head runs without a token, so it stays without one; authOptions.mode: token changes that"
    event = Emit(seen.spec.ref, "Warning", "StartedWithoutToken", text)
    return Verdict((Patch(seen.spec.ref, change, seen.revision), event), "StartedWithoutToken", text, stop=True)


def _suspend(seen: ClusterSeen, now: float) -> Verdict:
    """A suspended cluster has no pods. Once begun it is finished, whatever the specification says meanwhile."""
    going = seen.holds(SUSPENDING) or (seen.spec.suspend and not seen.holds(SUSPENDED))
    if not going and not (seen.holds(SUSPENDED) and seen.spec.suspend):
        return PASS
    doomed = [pod for pod in seen.pods if not pod.terminating]
    actions = _deletions(seen, doomed, "suspended", "DeletedPod")
    return Verdict(actions, "Suspending" if going else "Suspended", "", stop=True)


def _children(seen: ClusterSeen, now: float) -> Verdict:
    """Services, access and storage are there before pods are."""
    change = change_children(seen)
    actions = (Together(change.actions),) if change.actions else ()
    if change.blocked_on is not None:
        blocked_on = change.blocked_on
        # Secrets are not watched: that one is gone has to be asked for.
        check_at = now + LEFT_OVER_CHECK_S if blocked_on.code == LEFT_OVER else None
        return Verdict(actions, blocked_on.code, blocked_on.message, True, check_at, blocked_on)
    return Verdict(actions, "Objects" if actions else "", f"{len(change.actions)} objects" if actions else "")


def _strangers(seen: ClusterSeen, now: float) -> Verdict:
    """No head is made beside one that carries this cluster's labels but belongs to somebody else."""
    for pod in seen.strangers:
        if pod.node_type == keys.HEAD and not pod.over:
            text = f"the pod {pod.name} carries this cluster's labels and does not belong to it"
            hint = f"if it is left over, delete it: kubectl delete pod {pod.name} -n {pod.ref.namespace}"
            return Verdict((), "ForeignHead", text, True, blocked_on=Blocker("ForeignHead", text, pod.ref, hint=hint))
    return PASS


def _recreate(seen: ClusterSeen, now: float) -> Verdict:
    """With the strategy Recreate, a changed template replaces all pods at once."""
    if not waits_for_recreation(seen):
        return PASS
    doomed = [pod for pod in seen.pods if not pod.terminating]
    text = "a template has changed: all pods are replaced"
    actions = _deletions(seen, doomed, "replaced", "DeletedPod")
    return Verdict(actions, "Recreating", text, True, blocked_on=Blocker("Recreating", text))


def _head(seen: ClusterSeen, now: float) -> Verdict:
    """There is one head; never two."""
    heads = seen.heads
    going = [pod for pod in heads if pod.terminating]
    if len(heads) - len(going) > 1:
        text = "there are two heads: " + ", ".join(pod.name for pod in heads)
        hint = "delete the one that is not to stay"
        return Verdict((), "TwoHeads", text, True, blocked_on=Blocker("TwoHeads", text, hint=hint))
    if going:
        pod = going[0]
        text = f"the head {pod.name} is still being deleted; a second one must not run beside it"
        blocker = Blocker("HeadTerminating", text, pod.ref, hint=MAX_HINT.format(pod.name))
        return Verdict((), "HeadTerminating", text, blocked_on=blocker)
    if not heads:
        if keys.NO_HEAD_RESTART in seen.spec.annotations and seen.holds(PROVISIONED):
            text = f"the head is gone, and {keys.NO_HEAD_RESTART} forbids a new one"
            return Verdict((), "HeadNotRestarted", text, True, blocked_on=Blocker("HeadNotRestarted", text))
        create = Create(pods.head_pod(seen.spec, seen.options))
        event = Emit(seen.spec.ref, "Normal", "CreatedHeadPod", f"created the head {create.ref.name}")
        return Verdict((create, event), "CreatedHead", "there is no head")
    if heads[0].over:
        due = due_at(heads[0])
        text = f"the head {heads[0].name} has ended ({heads[0].over}) and is replaced"
        if now < due:
            return Verdict((), "HeadOver", text, next_check_at=due, blocked_on=Blocker("HeadOver", text))
        return Verdict(_deletions(seen, heads, "over", "DeletedHeadPod"), "HeadOver", text)
    return PASS


def _workers(seen: ClusterSeen, now: float) -> Verdict:
    """Each group has as many workers as it is to have."""
    actions: list[Action] = []
    checks: list[float] = []
    for group in seen.spec.groups:
        change = change_group(seen.spec, group, seen.workers(group.name), now)
        for reason, some in groupby(change.go, key=lambda pair: pair[1]):
            actions += _deletions(seen, [pod for pod, _ in some], reason, "DeletedWorkerPod")
        creates = [Create(pods.worker_pod(seen.spec, group, *place, seen.options)) for place in change.come]
        if creates:
            names = ", ".join(create.ref.name for create in creates[:3]) + (", …" if len(creates) > 3 else "")
            text = f"created {len(creates)} workers of {group.name}: {names}"
            actions += [Together(tuple(creates)), Emit(seen.spec.ref, "Normal", "CreatedWorkerPod", text)]
        checks += [change.check_at] if change.check_at is not None else []
    text = "; ".join(reason for reason in _changed(actions))
    return Verdict(tuple(actions), "Workers" if actions else "", text, next_check_at=min(checks) if checks else None)


def _changed(actions: Sequence[Action]) -> list[str]:
    return [action.message for action in actions if isinstance(action, Emit)]


def _dropped_groups(seen: ClusterSeen, now: float) -> Verdict:
    """Workers of groups that are no longer in the specification go."""
    names = {group.name for group in seen.spec.groups}
    doomed = [
        pod for pod in seen.pods if pod.node_type == keys.WORKER and pod.group not in names and not pod.terminating
    ]
    if not doomed:
        return PASS
    actions = _deletions(seen, doomed, "group removed", "DeletedWorkerPod")
    return Verdict(actions, "GroupRemoved", f"{len(doomed)} pods of removed groups")


def _rolling(seen: ClusterSeen, now: float) -> Verdict:
    """With rolling replacement, pods of an old template go one after the other."""
    doomed, text = outdated_to_replace(seen)
    if not doomed:
        return PASS
    return Verdict(_deletions(seen, doomed, "template changed", "DeletedPod"), "RollingUpdate", text)


def _deletions(seen: ClusterSeen, doomed: Sequence[PodSeen], why: str, reason: str) -> tuple[Action, ...]:
    if not doomed:
        return ()
    names = ", ".join(pod.name for pod in doomed[:3]) + (", …" if len(doomed) > 3 else "")
    event = Emit(seen.spec.ref, "Normal", reason, f"deleted {len(doomed)} pods ({why}): {names}")
    return Together(tuple(Delete(pod.ref) for pod in doomed)), event


POD_GATES: tuple[Gate[ClusterSeen], ...] = (
    Gate("foreign pods", _strangers),
    Gate("recreate", _recreate),
    Gate("removed groups", _dropped_groups),
    Gate("head", _head),
    Gate("workers", _workers),
    Gate("rolling update", _rolling),
)
"""What creates and deletes pods, as long as a cluster is neither suspended nor on its way out."""
GATES: tuple[Gate[ClusterSeen], ...] = (
    Gate("finalizer", _finalizer),
    Gate("no token", _unprotected),
    Gate("suspend", _suspend),
    Gate("objects", _children),
    *POD_GATES,
)


def plan_refused(seen: ClusterSeen, refusal: Refusal, now: float) -> Plan:
    """Return what is told about a write that the server refused for good."""
    if not _is_ours_to_look_after(seen):
        return Plan()
    if seen.metadata.get("deletionTimestamp"):
        return after_deletion(seen, now, refusal)
    seen, _ = without_the_forgotten(seen, now)
    code, action = _failure_code(seen, refusal.action), refusal.action
    text = f"{action.ref.kind} {action.ref.name}: {refusal.message}" if hasattr(action, "ref") else refusal.message
    failure = None
    if code.endswith("Pod") or code.endswith("Pods"):
        failure = Condition(REPLICA_FAILURE, "True", code, text)
    blocker = Blocker(code, text)
    status = derive_status(
        seen, now, blocked_on=blocker, failure=failure, problem=Condition(READY, "False", code, text),
        warnings=_warnings(seen),
    )  # fmt: skip
    return _with_status(Plan(blocked_on=blocker), seen, status, now)


def _failure_code(seen: ClusterSeen, action: Single) -> str:
    verbs = {Create: "Create", Apply: "Update", Patch: "Update", Delete: "Delete", SetStatus: "UpdateStatus"}
    verb = verbs.get(type(action), "Write")
    ref = getattr(action, "ref", None)
    kind = ref.kind if ref is not None else ""
    if kind != "Pod":
        return f"Failed{verb}{kind}"
    if isinstance(action, Create):
        node_type = (action.document["metadata"].get("labels") or {}).get(keys.NODE_TYPE)
    else:
        node_type = next((pod.node_type for pod in seen.pods if pod.ref == ref), "")
    return f"Failed{verb}{'HeadPod' if node_type == keys.HEAD else 'WorkerPod'}"
