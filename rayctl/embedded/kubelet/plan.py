"""What has to be done for a pod next. Pure: from what was observed of it and the time to a list of steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rayctl.embedded.kubelet.backoff import Run, delay_s, row_of_next
from rayctl.embedded.kubelet.spec import ContainerSpec, PodSpec
from rayctl.embedded.kubelet.timing import Timing

__all__ = ["ContainerSeen", "PodPlan", "PodSeen", "Step", "phase_of", "plan_pod", "wants_restart"]


@dataclass(frozen=True)
class ContainerSeen:
    """What is known of a container.

    ``attempt``: number of its newest run, -1 before the first; ``row``: see `Run`; ``last``: the run that ended last;
    ``started``, ``ready``: by its probes; ``unhealthy``: why a probe wants it ended; ``stopping``: it was asked to end;
    ``trouble``: (reason, message) of why it could not be started at the last try, which was at ``tried_at``.
    """

    running: bool = False
    attempt: int = -1
    row: int = 0
    started_at: float = 0.0
    last: Run | None = None
    before_last: Run | None = None
    started: bool = False
    ready: bool = False
    unhealthy: str = ""
    stopping: bool = False
    trouble: tuple[str, str] | None = None
    tried_at: float = 0.0


@dataclass(frozen=True)
class PodSeen:
    """A pod as observed. ``ending_s``: the grace it has left to end (None: it is to stay); ``sandbox``: its network is
    set up; ``began_at``: when this node took it; ``failed``: (reason, message) that ends it for good."""

    spec: PodSpec
    containers: dict[str, ContainerSeen] = field(default_factory=dict)
    sandbox: bool = False
    ending_s: float | None = None
    began_at: float = 0.0
    failed: tuple[str, str] | None = None
    sandbox_trouble: tuple[str, str] | None = None
    sandbox_tried_at: float = 0.0

    def of(self, container: ContainerSpec) -> ContainerSeen:
        """Return what is known of a container; nothing yet is known of one that never ran."""
        return self.containers.get(container.name) or ContainerSeen()


@dataclass(frozen=True)
class Step:
    """``start`` a container as run ``attempt``; ``stop`` one within ``grace_s``; ``sandbox``: set the network up;
    ``fail`` the pod for good; ``teardown``: everything has ended, remove it from this machine."""

    do: Literal["sandbox", "start", "stop", "fail", "teardown"]
    container: str = ""
    attempt: int = 0
    row: int = 0
    grace_s: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class PodPlan:
    """Steps to take now, and when to look again at the latest (None: when something changes)."""

    steps: tuple[Step, ...] = ()
    next_check_at: float | None = None


def wants_restart(container: ContainerSpec, policy: str, last: Run) -> bool:
    """Tell whether a container that ended so is to run again."""
    if container.role == "sidecar":
        return True
    if container.role == "init":
        return last.exit_code != 0 and policy != "Never"
    return policy == "Always" or (policy == "OnFailure" and last.exit_code != 0)


def phase_of(seen: PodSeen) -> str:
    """Return the pod's phase: where it is in its life, whatever its health."""
    if seen.failed is not None:
        return "Failed"
    policy = seen.spec.restart_policy
    for container in seen.spec.of("init"):
        last = seen.of(container).last
        if not _is_done(seen, container):
            failed = last is not None and not seen.of(container).running and not wants_restart(container, policy, last)
            return "Failed" if failed else "Pending"
    mains = [(container, seen.of(container)) for container in seen.spec.of("main")]
    if any(found.attempt < 0 for _, found in mains):
        return "Pending"
    ended = [found.last for container, found in mains if _has_ended(container, found, policy) and found.last]
    if len(ended) < len(mains):
        return "Running"
    return "Failed" if any(last.exit_code for last in ended) else "Succeeded"


def _has_ended(container: ContainerSpec, found: ContainerSeen, policy: str) -> bool:
    return not found.running and found.last is not None and not wants_restart(container, policy, found.last)


def _is_done(seen: PodSeen, container: ContainerSpec) -> bool:
    found = seen.of(container)
    return not found.running and found.last is not None and found.last.exit_code == 0


def plan_pod(seen: PodSeen, now: float, timing: Timing) -> PodPlan:
    """Return what to do for a pod.

    A pod that is to end: its containers are stopped, and then it is removed. Otherwise: network, then init containers
    one after the other, then the others; what ended is started again as its policy says, after its back-off.
    """
    if seen.ending_s is not None:
        return _end(seen, seen.ending_s)
    phase = phase_of(seen)
    if phase in ("Succeeded", "Failed"):
        reason = "the pod has ended" if seen.failed is None else seen.failed[1]
        return PodPlan(tuple(_stop(seen, container, seen.spec.grace_s, reason) for container in _running(seen)))
    if seen.spec.deadline_s is not None and now >= seen.began_at + seen.spec.deadline_s:
        return PodPlan((Step("fail", why="DeadlineExceeded"),))
    if not seen.sandbox:
        if seen.sandbox_trouble is not None and now < seen.sandbox_tried_at + timing.retry_s:
            return PodPlan(next_check_at=seen.sandbox_tried_at + timing.retry_s)
        return PodPlan((Step("sandbox"),))
    steps: list[Step] = []
    times: list[float] = []
    if seen.spec.deadline_s is not None:
        times.append(seen.began_at + seen.spec.deadline_s)
    _advance(seen, now, timing, steps, times)
    return PodPlan(tuple(steps), min(times) if times else None)


def _advance(seen: PodSeen, now: float, timing: Timing, steps: list[Step], times: list[float]) -> None:
    for container in seen.spec.of("init", "sidecar"):
        if container.role == "init" and _is_done(seen, container):
            continue
        _care(seen, container, now, timing, steps, times)
        if container.role == "init" or not seen.of(container).started:
            return
    for container in seen.spec.of("main"):
        _care(seen, container, now, timing, steps, times)


def _care(
    seen: PodSeen, container: ContainerSpec, now: float, timing: Timing, steps: list[Step], times: list[float]
) -> None:
    found = seen.of(container)
    if found.running:
        if found.unhealthy and not found.stopping:
            probe = container.startup if not found.started else container.liveness
            grace = seen.spec.grace_s if probe is None or probe.grace_s is None else probe.grace_s
            steps.append(Step("stop", container.name, grace_s=grace, why=found.unhealthy))
        return
    last = found.last
    if last is not None and not wants_restart(container, seen.spec.restart_policy, last):
        return
    row = 0 if last is None else row_of_next(last, timing)
    at = now if last is None else last.finished_at + delay_s(row, timing)
    if found.trouble is not None:
        at = max(at, found.tried_at + timing.retry_s)
    if at > now:
        times.append(at)
    else:
        steps.append(Step("start", container.name, attempt=found.attempt + 1, row=row))


def _running(seen: PodSeen) -> list[ContainerSpec]:
    return [container for container in seen.spec.containers if seen.of(container).running]


def _stop(seen: PodSeen, container: ContainerSpec, grace_s: float, why: str) -> Step:
    return Step("stop", container.name, grace_s=grace_s, why=why)


def _end(seen: PodSeen, grace_s: float) -> PodPlan:
    # All at once, sidecars too: whoever wants an order within the grace has preStop.
    running = _running(seen)
    if not running:
        return PodPlan((Step("teardown"),))
    return PodPlan(tuple(_stop(seen, container, grace_s, "the pod is being deleted") for container in running))
