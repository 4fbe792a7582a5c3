"""What people are told of objects: readiness, the chain of causes, trees, goals. Documents in, texts out."""

from __future__ import annotations

from typing import Any

import pytest

from rayctl.errors import InvalidRequest
from rayctl.views.events import about, happened
from rayctl.views.explanation import EXPLAINERS, Explanation, Surroundings, explain
from rayctl.views.family import Node, family
from rayctl.views.goals import parse_goal
from rayctl.views.pods import pod_trouble
from rayctl.views.readiness import JUDGES, condition_holds, judge
from rayctl.views.tables import changed_cells, shown
from rayctl.views.tree import draw

NOW = 1_800_000_000.0


def thing(kind: str = "Boat", name: str = "x", generation: int = 1, api: str = "sea.test/v1", **rest: Any) -> Any:
    metadata = {"name": name, "namespace": "n", "uid": f"uid-{name}", "generation": generation}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}


def conditions(*pairs: tuple[str, str], generation: int = 1, **status: Any) -> dict[str, Any]:
    found = [
        {"type": kind, "status": value, "reason": "Because", "message": "m", "observedGeneration": generation}
        for kind, value in pairs
    ]
    return {"conditions": found, **status}


@pytest.mark.parametrize(
    ("document", "ready", "reason"),
    [
        (thing(status=conditions(("Ready", "True"))), True, "Because"),
        (thing(status=conditions(("Ready", "False"))), False, "Because"),
        (thing(status=conditions(("Ready", "True")), generation=2), False, "NotObserved"),
        (thing(status={"observedGeneration": 1}, generation=2), False, "NotObserved"),
        (thing(), False, "NotObserved"),
        (thing("ConfigMap", api="v1", generation=0), None, ""),
        (thing(status=conditions(("Odd", "True"))), None, ""),
        (thing(status=conditions(("Ready", "True"), ("Degraded", "True"))), False, "Because"),
        (thing("Job", api="batch/v1", status=conditions(("Complete", "True"))), True, "Because"),
        (thing("Job", api="batch/v1", status=conditions(("Failed", "True"))), False, "Because"),
        (
            thing("Deployment", api="apps/v1", spec={"replicas": 2}, status={"readyReplicas": 1, "replicas": 2}),
            False,
            "ReplicasNotReady",
        ),
        (
            thing(
                "Deployment",
                api="apps/v1",
                spec={"replicas": 2},
                status={"readyReplicas": 2, "updatedReplicas": 2, "replicas": 3} | conditions(("Available", "True")),
            ),
            False,
            "OldReplicas",
        ),
        (
            thing(
                "Deployment",
                api="apps/v1",
                spec={"replicas": 2},
                status={"readyReplicas": 2, "updatedReplicas": 2, "replicas": 2} | conditions(("Available", "True")),
            ),
            True,
            "Ready",
        ),
        (thing("Pod", api="v1", status={"phase": "Succeeded"}), True, "Completed"),
        (thing("RayCluster", api="ray.io/v1"), False, "NotObserved"),
    ],
)
def test_readiness(document: Any, ready: bool | None, reason: str) -> None:
    verdict = judge(document)
    assert (verdict.ready, verdict.reason) == (ready, reason)
    assert verdict.message or verdict.ready is not False


def test_what_is_being_deleted_is_not_ready() -> None:
    document = thing(status=conditions(("Ready", "True")))
    document["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}
    assert judge(document).message == "it is being deleted, and waits for a/b"


SCHEDULED = {"type": "PodScheduled", "status": "True"}
NOWHERE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no"}
DENIED = {"waiting": {"reason": "ErrImagePull", "message": "denied"}}
CRASHED = {"waiting": {"reason": "CrashLoopBackOff"}}


@pytest.mark.parametrize(
    ("status", "reason", "text", "previous"),
    [
        (
            {"phase": "Pending", "conditions": [NOWHERE]},
            "Unschedulable",
            "is Pending: no",
            False,
        ),
        (
            {"phase": "Pending", "conditions": [SCHEDULED]},
            "Pending",
            "is Pending: its node has not begun with it yet",
            False,
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}, "ready": False}]},
            "Initializing",
            "init container i is still running",
            False,
        ),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 0}}, "ready": True}],
                "containerStatuses": [{"name": "c", "state": DENIED}],
            },
            "ErrImagePull",
            "container c waits: ErrImagePull: denied",
            False,
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [
                    {
                        "name": "c",
                        "restartCount": 2,
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                    }
                ],
            },
            "CrashLoopBackOff",
            "container c ended with exit code 137 (OOMKilled), 2 restarts so far (CrashLoopBackOff)",
            True,
        ),
        (
            {"phase": "Running", "containerStatuses": [{"name": "c", "state": {"running": {}}, "ready": False}]},
            "NotReady",
            "container c is running, but its readiness probe does not succeed",
            False,
        ),
        ({"phase": "Failed", "reason": "Evicted", "message": "no disk"}, "Evicted", "has failed: no disk", False),
        (
            {"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 3}}}]},
            "Failed",
            "container c ended with exit code 3",
            False,
        ),
        (
            {"phase": "Running", "containerStatuses": [{"name": "c", "state": {"running": {}}, "ready": True}]},
            "Ready",
            "is ready",
            False,
        ),
        ({}, "Unknown", "is Unknown: its node has not begun with it yet", False),
    ],
)
def test_troubles_of_pods(status: dict[str, Any], reason: str, text: str, previous: bool) -> None:
    trouble = pod_trouble(status)
    assert (trouble.reason, trouble.message, trouble.previous) == (reason, text, previous)


def owned(document: Any, owner: Any) -> Any:
    reference = {"kind": owner["kind"], "uid": owner["metadata"]["uid"], "name": "o", "controller": True}
    document["metadata"]["ownerReferences"] = [reference]
    return document


def test_the_family_tree() -> None:
    root = thing(name="root", status=conditions(("Ready", "False")))
    child = owned(thing("RayCluster", "c", api="ray.io/v1", status=conditions(("Ready", "False"))), root)
    pods = [owned(thing("Pod", name, api="v1", status={"phase": "Pending"}), child) for name in ("p1", "p0")]
    stranger = thing("Pod", "stranger", api="v1")
    node = family(root, [*pods, stranger, child])
    assert [found.label for found in node.walk()] == ["boat/root", "raycluster/c", "pod/p0", "pod/p1"]
    lines = draw(node, lambda found: found.label)
    assert lines == ["boat/root", "└─ raycluster/c", "   ├─ pod/p0", "   └─ pod/p1"]


def test_owners_in_a_circle_end() -> None:
    one, two = thing(name="one"), thing(name="two")
    owned(one, two)
    owned(two, one)
    assert [node.label for node in family(one, [one, two]).walk()] == ["boat/one", "boat/two"]


def chain(*, status: Any, events: Any = ()) -> Explanation:
    root = thing(name="root", status=conditions(("Ready", "False")))
    fine = owned(thing("Pod", "fine", api="v1", status={"phase": "Succeeded"}), root)
    pod = owned(thing("Pod", "p", api="v1", status=status), root)
    return explain(family(root, [fine, pod]), Surroundings(list(events)), NOW)


def test_the_chain_goes_down_to_what_is_broken() -> None:
    state = {
        "name": "c",
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1}},
    }
    found = chain(status={"phase": "Running", "containerStatuses": [state]})
    assert [cause.subject for cause in found.causes] == ["boat/root", "pod/p"]
    assert found.advice[0].command == "rayctl logs p -c c --previous -n n"
    assert found.document()["ready"] is False


def test_a_recent_warning_is_the_last_cause_and_an_old_one_is_not() -> None:
    def warning(at: float) -> Any:
        from rayctl.clock import iso

        return happened(
            {
                "metadata": {"name": "e", "namespace": "n"},
                "type": "Warning",
                "reason": "FailedMount",
                "note": "no volume",
                "eventTime": iso(at),
                "regarding": {"kind": "Pod", "name": "p", "namespace": "n", "uid": "uid-p"},
            }
        )

    pending = {"phase": "Pending"}
    assert chain(status=pending, events=[warning(NOW - 60)]).causes[-1].text == "event on pod/p: no volume"
    assert chain(status=pending, events=[warning(NOW - 7200)]).causes[-1].subject == "pod/p"
    assert chain(status=pending, events=[warning(NOW - 7200)]).causes[-1].reason == "Pending"


def test_a_kind_may_have_an_explainer_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXPLAINERS, ("sea.test", "Boat"), f"{__name__}:sailor")
    assert explain(Node(thing()), Surroundings(), NOW).summary == "it floats"


def sailor(node: Node, seen: Surroundings, now: float) -> Explanation:
    return Explanation(node.label, True, "it floats")


def test_what_is_registered_can_be_imported() -> None:
    from importlib import import_module

    for where in [*EXPLAINERS.values(), *JUDGES.values()]:
        module, _, name = where.partition(":")
        assert callable(getattr(import_module(module), name))


def test_events_of_both_versions_are_alike() -> None:
    old = happened(
        {
            "metadata": {"name": "e", "namespace": "n"},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "n"},
            "type": "Warning",
            "reason": "R",
            "message": "a\nb",
            "count": 3,
            "lastTimestamp": "2026-01-01T00:00:00Z",
            "source": {"component": "kubelet"},
        }
    )
    new = happened(
        {
            "metadata": {"name": "e", "namespace": "n"},
            "regarding": {"kind": "Pod", "name": "p", "namespace": "n"},
            "type": "Warning",
            "reason": "R",
            "note": "a b",
            "series": {"count": 3, "lastObservedTime": "2026-01-01T00:00:00Z"},
            "reportingController": "kubelet",
        }
    )
    assert old == new
    pod = thing("Pod", "p", api="v1")
    assert about([old], pod) == [old]
    assert about([old], thing("Pod", "q", api="v1")) == []


@pytest.mark.parametrize(
    ("goal", "document", "done", "says"),
    [
        ("condition=Ready", thing(status=conditions(("Ready", "True"))), True, "Ready=True Because m"),
        ("condition=ready=false", thing(status=conditions(("Ready", "False"))), True, "Ready=False Because m"),
        ("condition=Other", thing(status=conditions(("Ready", "True"))), False, "has no condition Other yet"),
        (
            "condition=Ready",
            thing(status=conditions(("Ready", "True")), generation=2),
            False,
            "Ready=True Because m (of an older specification)",
        ),
        ("jsonpath={.spec.a[1].b}=true", thing(spec={"a": [0, {"b": True}]}), True, "{.spec.a[1].b} is true"),
        ("jsonpath={.spec.a}", thing(spec={}), False, "{.spec.a} is not there"),
        ("jsonpath={.spec.a}", thing(spec={"a": 0}), True, "{.spec.a} is 0"),
    ],
)
def test_goals(goal: str, document: Any, done: bool, says: str) -> None:
    found = parse_goal(goal)
    assert (found.done(document), found.says(document)) == (done, says)


@pytest.mark.parametrize("goal", ["", "condition", "condition=", "jsonpath=x", "jsonpath={.a[*]}", "create"])
def test_what_is_no_goal(goal: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_goal(goal)


def test_a_condition_of_an_older_generation_does_not_hold() -> None:
    status = conditions(("Ready", "True"), generation=0, observedGeneration=1)
    assert condition_holds(thing(status=status), "Ready")
    assert not condition_holds(thing(status=status, generation=2), "Ready")


def test_tables() -> None:
    from rayctl.views.tables import Row

    columns = [
        {"name": "Name", "format": "name"},
        {"name": "Up To", "priority": 0},
        {"name": "IP", "priority": 1},
        {"name": "Age", "priority": 0},
    ]
    row = Row("n", "x", ("x", None, "1.2.3.4", "5s"))
    assert shown(columns, [row]) == (["NAME", "UP TO", "AGE"], [["x", "<none>", "5s"]])
    assert shown(columns, [row], True, True, "pod/")[1] == [["n", "pod/x", "<none>", "1.2.3.4", "5s"]]
    assert changed_cells(columns, row.cells) == [("up-to", "<none>")]


@pytest.mark.parametrize(
    ("leaders", "facts"),
    [
        ({}, ()),
        ({"raycluster-controller": ""}, (("raycluster-controller", "led by nobody: it does not run"),)),
        ({"raycluster-controller": "me"}, (("raycluster-controller", "led by me"),)),
    ],
)
def test_who_should_have_looked(leaders: dict[str, str], facts: Any) -> None:
    cluster = thing("RayCluster", api="ray.io/v1")
    assert explain(Node(cluster), Surroundings(leaders=leaders), NOW).facts == facts
