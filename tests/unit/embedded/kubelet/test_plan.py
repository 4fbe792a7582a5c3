"""What a pod needs next, and how it is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rayctl.embedded.kubelet.backoff import delay_s, row_of_next
from rayctl.embedded.kubelet.plan import ContainerSeen, PodSeen, Step, phase_of, plan_pod
from rayctl.embedded.kubelet.status import pod_status
from rayctl.embedded.kubelet.timing import Timing
from tests.unit.embedded.kubelet.pods import container, parsed, run

TIMING = Timing()
UP = ContainerSeen(running=True, attempt=0, started=True, ready=True, started_at=50.0)


def ended(code: int = 0, **more: Any) -> ContainerSeen:
    last = run(code, **more)
    return ContainerSeen(attempt=0, row=last.row, last=last)


def seen(*containers: dict[str, Any], known: dict[str, ContainerSeen] | None = None, **more: Any) -> PodSeen:
    fields = {name: more.pop(name) for name in ("first", "restartPolicy", "activeDeadlineSeconds") if name in more}
    return PodSeen(parsed(*containers, **fields), known or {}, **{"sandbox": True, **more})


def steps(found: PodSeen, now: float = 100.0) -> list[tuple[str, str]]:
    return [(step.do, step.container) for step in plan_pod(found, now, TIMING).steps]


A, B = container("a"), container("b")
INIT1, INIT2 = container("i1"), container("i2")
SIDECAR = container("side", restartPolicy="Always")


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (seen(A, sandbox=False), [("sandbox", "")]),
        (seen(A, B), [("start", "a"), ("start", "b")]),
        (seen(A, B, known={"a": UP}), [("start", "b")]),
        (seen(A, first=(INIT1, INIT2)), [("start", "i1")]),
        (seen(A, first=(INIT1, INIT2), known={"i1": UP}), []),
        (seen(A, first=(INIT1, INIT2), known={"i1": ended()}), [("start", "i2")]),
        (seen(A, first=(INIT1,), known={"i1": ended()}), [("start", "a")]),
        (seen(A, first=(INIT1,), known={"i1": ended(1)}), [("start", "i1")]),
        (seen(A, first=(INIT1,), known={"i1": ended(1)}, restartPolicy="Never"), []),
        (seen(A, first=(SIDECAR,)), [("start", "side")]),
        (seen(A, first=(SIDECAR,), known={"side": replace(UP, started=False)}), []),
        (seen(A, first=(SIDECAR,), known={"side": UP}), [("start", "a")]),
        (seen(A, first=(SIDECAR,), known={"side": UP, "a": ended()}, restartPolicy="Never"), [("stop", "side")]),
        (seen(A, known={"a": ended(0)}), [("start", "a")]),
        (seen(A, known={"a": ended(0)}, restartPolicy="OnFailure"), []),
        (seen(A, known={"a": ended(1)}, restartPolicy="OnFailure"), [("start", "a")]),
        (seen(A, known={"a": ended(1)}, restartPolicy="Never"), []),
        (seen(A, known={"a": replace(UP, unhealthy="bad")}), [("stop", "a")]),
        (seen(A, known={"a": replace(UP, unhealthy="bad", stopping=True)}), []),
        (seen(A, B, known={"a": UP, "b": ended(1)}, ending_s=5.0), [("stop", "a")]),
        (seen(A, known={"a": ended(1)}, ending_s=5.0), [("teardown", "")]),
        (seen(A, ending_s=0.0, sandbox=False), [("teardown", "")]),
        (seen(A, known={"a": UP}, activeDeadlineSeconds=10, began_at=50.0), [("fail", "")]),
        (seen(A, known={"a": UP}, failed=("DeadlineExceeded", "too long")), [("stop", "a")]),
    ],
)
def test_next_steps(found: PodSeen, wanted: list[tuple[str, str]]) -> None:
    assert steps(found) == wanted


def test_back_off_grows_from_ten_seconds_to_five_minutes_and_is_forgotten() -> None:
    assert [delay_s(row, TIMING) for row in range(9)] == [0, 0, 10, 20, 40, 80, 160, 300, 300]
    assert row_of_next(run(row=5), TIMING) == 6
    assert row_of_next(run(row=5, lasted_s=600.0), TIMING) == 1


def test_a_restart_waits_for_its_back_off_and_says_when_it_comes() -> None:
    found = seen(A, known={"a": ended(1, row=2)})
    assert plan_pod(found, 119.0, TIMING).steps == ()
    assert plan_pod(found, 119.0, TIMING).next_check_at == 120.0
    assert plan_pod(found, 120.0, TIMING).steps == (Step("start", "a", attempt=1, row=3),)


@pytest.mark.parametrize(
    ("found", "phase"),
    [
        (seen(A), "Pending"),
        (seen(A, known={"a": UP}), "Running"),
        (seen(A, known={"a": ended(1)}), "Running"),
        (seen(A, first=(INIT1,), known={"i1": UP}), "Pending"),
        (seen(A, first=(INIT1,), known={"i1": ended(1)}, restartPolicy="Never"), "Failed"),
        (seen(A, known={"a": ended(0)}, restartPolicy="Never"), "Succeeded"),
        (seen(A, B, known={"a": ended(0), "b": ended(1)}, restartPolicy="Never"), "Failed"),
        (seen(A, B, known={"a": ended(0), "b": UP}, restartPolicy="Never"), "Running"),
        (seen(A, known={"a": UP}, failed=("NotAllowed", "no")), "Failed"),
    ],
)
def test_phase(found: PodSeen, phase: str) -> None:
    assert phase_of(found) == phase


def shown(found: PodSeen, before: dict[str, Any] | None = None, now: float = 100.0) -> dict[str, Any]:
    return pod_status(found, before or {}, "127.0.0.2", "127.0.0.1", TIMING, now)


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {found["type"]: (found["status"], found.get("reason", "")) for found in status["conditions"]}


def test_conditions_say_what_is_missing() -> None:
    found = shown(seen(A, first=(INIT1,), known={"i1": UP}))
    assert conditions(found) == {
        "PodReadyToStartContainers": ("True", ""),
        "Initialized": ("False", "ContainersNotInitialized"),
        "Ready": ("False", "ContainersNotReady"),
        "ContainersReady": ("False", "ContainersNotReady"),
        "PodScheduled": ("True", ""),
    }
    assert found["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}


def test_a_condition_keeps_its_time_until_it_flips() -> None:
    first = shown(seen(A, known={"a": UP}), now=100.0)
    same = shown(seen(A, known={"a": UP}), first, now=200.0)
    assert same == first
    flipped = shown(seen(A, known={"a": replace(UP, ready=False)}), first, now=200.0)
    times = {found["type"]: found["lastTransitionTime"] for found in flipped["conditions"]}
    assert times["Initialized"] == "1970-01-01T00:01:40Z"
    assert times["Ready"] == "1970-01-01T00:03:20Z"


def test_conditions_of_others_stay() -> None:
    other = {"type": "ray.test/Mine", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    assert other in shown(seen(A, known={"a": UP}), {"conditions": [other]})["conditions"]


def test_a_container_that_keeps_ending() -> None:
    last = run(7, row=2)
    found = shown(seen(A, known={"a": ContainerSeen(attempt=2, row=2, last=last)}))["containerStatuses"][0]
    assert found["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert found["state"]["waiting"]["message"] == "back-off 20s restarting failed container=a pod=p_default(u-1)"
    assert found["lastState"]["terminated"]["exitCode"] == 7
    assert (found["restartCount"], found["ready"], found["started"]) == (2, False, False)


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (run(0), "Completed"),
        (run(1), "Error"),
        (run(128, error="x"), "StartError"),
        (run(137, reason="OOMKilled"), "OOMKilled"),
    ],
)
def test_reasons_of_ends(last: Any, reason: str) -> None:
    found = shown(seen(A, known={"a": ContainerSeen(attempt=0, last=last)}, restartPolicy="Never"))
    assert found["containerStatuses"][0]["state"]["terminated"]["reason"] == reason
