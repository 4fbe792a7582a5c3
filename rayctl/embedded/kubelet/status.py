"""A pod's status as the API shows it. Pure: from what was observed and the status that stands there already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayctl.embedded.apiserver.schema.formats import now_seconds
from rayctl.embedded.kubelet.backoff import Run, delay_s, row_of_next
from rayctl.embedded.kubelet.plan import ContainerSeen, PodSeen, phase_of, wants_restart
from rayctl.embedded.kubelet.spec import ContainerSpec
from rayctl.embedded.kubelet.timing import Timing

__all__ = ["pod_status"]


def pod_status(
    seen: PodSeen, before: Mapping[str, Any], pod_ip: str, host_ip: str, timing: Timing, now: float
) -> dict[str, Any]:
    """Return the status; ``before``: the one that stands there, from which times of unchanged conditions are taken."""
    spec = seen.spec
    phase = phase_of(seen)
    status: dict[str, Any] = {"phase": phase, "conditions": _conditions(seen, phase, before, now)}
    if seen.failed is not None:
        status["reason"], status["message"] = seen.failed
    status["hostIP"], status["hostIPs"] = host_ip, [{"ip": host_ip}]
    if pod_ip:
        status["podIP"], status["podIPs"] = pod_ip, [{"ip": pod_ip}]
    status["startTime"] = before.get("startTime") or now_seconds(seen.began_at or now)
    first = [_container(seen, container, timing) for container in spec.of("init", "sidecar")]
    if first:
        status["initContainerStatuses"] = first
    status["containerStatuses"] = [_container(seen, container, timing) for container in spec.of("main")]
    if before.get("qosClass"):
        status["qosClass"] = before["qosClass"]
    return status


def _initialized(seen: PodSeen) -> list[str]:
    """Return the init containers that are not done."""
    left = []
    for container in seen.spec.of("init", "sidecar"):
        found = seen.of(container)
        if container.role == "sidecar":
            done = found.started
        else:
            done = not found.running and found.last is not None and found.last.exit_code == 0
        if not done:
            left.append(container.name)
    return left


def _conditions(seen: PodSeen, phase: str, before: Mapping[str, Any], now: float) -> list[dict[str, Any]]:
    waiting = _initialized(seen)
    stays = seen.spec.of("main", "sidecar")
    unready = [container.name for container in stays if not (seen.of(container).running and seen.of(container).ready)]
    wanted: list[tuple[str, bool, str, str]] = [
        ("PodReadyToStartContainers", seen.sandbox, "", ""),
        (
            "Initialized",
            not waiting,
            "ContainersNotInitialized",
            f"containers with incomplete status: [{' '.join(waiting)}]",
        ),
    ]
    if phase == "Succeeded":
        wanted[1] = ("Initialized", True, "PodCompleted", "")
        wanted += [(kind, False, "PodCompleted", "") for kind in ("Ready", "ContainersReady")]
    elif phase == "Failed":
        wanted += [(kind, False, "PodFailed", "") for kind in ("Ready", "ContainersReady")]
    else:
        ready = not unready and not waiting
        text = f"containers with unready status: [{' '.join(unready)}]"
        wanted += [(kind, ready, "ContainersNotReady", text) for kind in ("Ready", "ContainersReady")]
    wanted.append(("PodScheduled", True, "", ""))
    old = {condition.get("type"): condition for condition in before.get("conditions") or ()}
    found = [
        _condition(kind, holds, reason, message, old.pop(kind, None), now) for kind, holds, reason, message in wanted
    ]
    return [*found, *old.values()]


def _condition(
    kind: str, holds: bool, reason: str, message: str, old: Mapping[str, Any] | None, now: float
) -> dict[str, Any]:
    status = "True" if holds else "False"
    at = now_seconds(now)
    if old is not None and old.get("status") == status and old.get("lastTransitionTime"):
        at = old["lastTransitionTime"]
    found = {"type": kind, "status": status, "lastTransitionTime": at}
    if reason and (not holds or reason == "PodCompleted"):
        found["reason"] = reason
        if message:
            found["message"] = message
    return found


def _id(seen: PodSeen, name: str, attempt: int) -> str:
    return f"rayctl://{seen.spec.uid}/{name}/{attempt}"


def _container(seen: PodSeen, container: ContainerSpec, timing: Timing) -> dict[str, Any]:
    found = seen.of(container)
    image = container.document.get("image", "")
    status: dict[str, Any] = {
        "name": container.name,
        "image": image,
        "imageID": image,
        "ready": found.ready if found.running else _done_init(container, found),
        "started": found.running and found.started,
        "restartCount": max(0, found.attempt),
        "state": _state(seen, container, found, timing),
        "lastState": {},
    }
    shown = found.last
    if "terminated" in status["state"]:
        shown = found.before_last
    if shown is not None:
        status["lastState"] = {"terminated": _terminated(seen, container.name, shown)}
    if found.attempt >= 0:
        status["containerID"] = _id(seen, container.name, found.attempt)
    return status


def _done_init(container: ContainerSpec, found: ContainerSeen) -> bool:
    return container.role == "init" and found.last is not None and found.last.exit_code == 0


def _state(seen: PodSeen, container: ContainerSpec, found: ContainerSeen, timing: Timing) -> dict[str, Any]:
    if found.running:
        return {"running": {"startedAt": now_seconds(found.started_at)}}
    last = found.last
    if last is not None and not _comes_again(seen, container, last):
        return {"terminated": _terminated(seen, container.name, last)}
    if found.trouble is not None:
        return {"waiting": {"reason": found.trouble[0], "message": found.trouble[1]}}
    if last is not None:
        delay = delay_s(row_of_next(last, timing), timing)
        if not delay:
            return {"terminated": _terminated(seen, container.name, last)}
        where = f"{seen.spec.name}_{seen.spec.namespace}({seen.spec.uid})"
        text = f"back-off {_duration(delay)} restarting failed container={container.name} pod={where}"
        return {"waiting": {"reason": "CrashLoopBackOff", "message": text}}
    if seen.sandbox_trouble is not None:
        return {"waiting": {"reason": "ContainerCreating", "message": seen.sandbox_trouble[1]}}
    initializing = container.role == "main" and bool(_initialized(seen))
    return {"waiting": {"reason": "PodInitializing" if initializing else "ContainerCreating"}}


def _comes_again(seen: PodSeen, container: ContainerSpec, last: Run) -> bool:
    if seen.ending_s is not None or phase_of(seen) in ("Succeeded", "Failed"):
        return False
    return wants_restart(container, seen.spec.restart_policy, last)


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole != seconds:
        return f"{seconds:g}s"
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"


def _terminated(seen: PodSeen, name: str, run: Run) -> dict[str, Any]:
    reason = run.reason or ("StartError" if run.error else "Completed" if run.exit_code == 0 else "Error")
    found: dict[str, Any] = {
        "exitCode": run.exit_code,
        "reason": reason,
        "startedAt": now_seconds(run.started_at),
        "finishedAt": now_seconds(run.finished_at),
        "containerID": _id(seen, name, run.attempt),
    }
    if run.error:
        found["message"] = run.error
    if run.signal:
        found["signal"] = run.signal
    return found
