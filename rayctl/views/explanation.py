"""Why an object is not as it should be: the chain of causes from it down to a pod, and what can be done. Pure.

What every kind has in common is here. A concept adds what it knows better with an `Explainer` of its own, named in
`EXPLAINERS`; it may call `explain_generic` and improve on that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from rayctl.clock import iso
from rayctl.views.events import Happened, about
from rayctl.views.family import Node
from rayctl.views.pods import pod_trouble
from rayctl.views.readiness import Verdict, judge

__all__ = [
    "CONTROLLERS",
    "EXPLAINERS",
    "Advice",
    "Cause",
    "Explainer",
    "Explanation",
    "Surroundings",
    "explain",
    "explain_generic",
]

EXPLAINERS: dict[tuple[str, str], str] = {
    ("orchestration.aibrix.ai", "RayClusterFleet"): "rayctl.views.rollouts:explain_fleet",
    ("ray.io", "RayService"): "rayctl.views.rollouts:explain_service",
}
"""(group, kind) → ``module:function``, an `Explainer`; imported when needed."""
CONTROLLERS = {
    "RayClusterFleet": "fleet-controller",
    "RayClusterReplicaSet": "replicaset-controller",
    "RayCluster": "raycluster-controller",
    "RayService": "rayservice-controller",
}
"""Kind → who reconciles it, as its Lease is called."""
_RECENT_S = 3600.0
_DEEPEST = 6


@dataclass(frozen=True)
class Cause:
    """One link. ``reason``: the word to search for; ``subject``: ``pod/x``; ``since_at``: seconds since the epoch."""

    text: str
    reason: str = ""
    subject: str = ""
    since_at: float | None = None


@dataclass(frozen=True)
class Advice:
    """A command, and what it does."""

    command: str
    effect: str


@dataclass(frozen=True)
class Explanation:
    """The answer to *why*.

    Args:
        subject: ``raycluster/demo``.
        ready: Whether all is well; None: the kind has no notion of it.
        summary: One sentence.
        since_at: Since when, in seconds since the epoch, if known.
        causes: From the object down to the root.
        facts: What matters besides: (word, sentence).
        advice: What can be done.
    """

    subject: str
    ready: bool | None
    summary: str
    since_at: float | None = None
    causes: tuple[Cause, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    advice: tuple[Advice, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "object": self.subject,
            "ready": self.ready,
            "summary": self.summary,
            "since": None if self.since_at is None else iso(self.since_at),
            "because": [
                {
                    "object": cause.subject,
                    "reason": cause.reason,
                    "message": cause.text,
                    "since": None if cause.since_at is None else iso(cause.since_at),
                }
                for cause in self.causes
            ],
            "facts": dict(self.facts),
            "you_can": [{"command": item.command, "effect": item.effect} for item in self.advice],
        }


@dataclass(frozen=True)
class Surroundings:
    """What else was seen: events of the namespace; ``leaders``: controller → who leads it (empty: nobody)."""

    events: Sequence[Happened] = ()
    leaders: Mapping[str, str] = field(default_factory=dict)

    def warnings(self, document: Mapping[str, Any], now: float) -> list[Happened]:
        """Return the warnings about an object within the last hour, newest first."""
        found = [event for event in about(self.events, document) if event.type == "Warning"]
        return [event for event in reversed(found) if now - event.last_at <= _RECENT_S]


Explainer = Callable[[Node, Surroundings, float], Explanation]
"""(object with its children, what else was seen, now in seconds since the epoch) → why. Pure."""


def explain(node: Node, seen: Surroundings, now: float) -> Explanation:
    """Explain an object: by its kind's own explainer, if it has one."""
    group = str(node.document.get("apiVersion")).rpartition("/")[0]
    where = EXPLAINERS.get((group, node.kind))
    if where is None:
        return explain_generic(node, seen, now)
    module, _, name = where.partition(":")
    explainer: Explainer = getattr(import_module(module), name)
    return explainer(node, seen, now)


def explain_generic(node: Node, seen: Surroundings, now: float) -> Explanation:
    """Explain an object by what all kinds have: conditions, generation, deletion, children, events."""
    verdict = judge(node.document)
    if verdict.ready is None:
        warnings = seen.warnings(node.document, now)
        text = f"{node.label} is there; its kind has no notion of being ready"
        causes = tuple(_event_cause(event) for event in warnings[:1])
        return Explanation(node.label, None, text, causes=causes, advice=_look(node))
    if verdict.ready:
        return Explanation(node.label, True, f"{node.label} is ready", verdict.since_at)
    causes, deepest = _chain(node, verdict, seen, now)
    state = "is being deleted" if verdict.reason == "Deleting" else "is not ready"
    advice = (*_advice(node, deepest, verdict, causes), *_look(node))
    facts = _facts(node, verdict, seen)
    return Explanation(node.label, False, f"{node.label} {state}", verdict.since_at, causes, facts, advice)


def _facts(node: Node, verdict: Verdict, seen: Surroundings) -> tuple[tuple[str, str], ...]:
    """Return who should have looked at an object that nobody has looked at."""
    controller = CONTROLLERS.get(node.kind)
    leader = seen.leaders.get(controller or "")
    if verdict.reason != "NotObserved" or controller is None or leader is None:
        return ()
    text = f"led by {leader}" if leader else "led by nobody: it does not run"
    return ((controller, text),)


def _chain(node: Node, verdict: Verdict, seen: Surroundings, now: float) -> tuple[tuple[Cause, ...], Node]:
    """Return the causes from a node that is not ready down to the root, and the node that is the root."""
    causes: list[Cause] = []
    for _ in range(_DEEPEST):
        causes.append(_cause(node, verdict))
        below = _worst(node)
        if below is None:
            break
        node, verdict = below
    warnings = seen.warnings(node.document, now)
    told = causes[-1].text
    if warnings and warnings[0].message and warnings[0].message not in told:
        causes.append(_event_cause(warnings[0]))
    return tuple(causes), node


def _cause(node: Node, verdict: Verdict) -> Cause:
    text = verdict.message or verdict.reason or "it does not say why"
    if node.kind == "Pod":
        text = f"{node.label.replace('/', ' ')} {text}" if text.startswith(("is ", "has ")) else f"{node.label}: {text}"
    else:
        text = f"{node.label}: {text}"
    return Cause(text, verdict.reason, node.label, verdict.since_at)


def _event_cause(event: Happened) -> Cause:
    times = f" ({event.count} times)" if event.count > 1 else ""
    return Cause(f"event on {event.subject}: {event.message}{times}", event.reason, event.subject, event.last_at)


def _worst(node: Node) -> tuple[Node, Verdict] | None:
    """Return the child to look at: not ready, not on its way out; pods that have failed come first, the oldest next."""
    found = []
    for child in node.children:
        verdict = judge(child.document)
        if verdict.ready is False and verdict.reason != "Deleting":
            hopeless = verdict.reason not in ("Pending", "ContainerCreating", "PodInitializing", "NotReady")
            found.append((not hopeless, str(child.document["metadata"].get("creationTimestamp")), child, verdict))
    if not found:
        return None
    _, _, child, verdict = min(found, key=lambda item: (item[0], item[1], item[2].label))
    return child, verdict


def _advice(node: Node, deepest: Node, verdict: Verdict, causes: Sequence[Cause]) -> tuple[Advice, ...]:
    found: list[Advice] = []
    if deepest.kind == "Pod":
        found += _advice_for_pod(deepest)
    told = {cause.reason for cause in causes}
    if any("exceeded quota" in cause.text for cause in causes):
        found.append(
            Advice(f"rayctl get resourcequotas{_namespace(deepest)}", "see how much of what is allowed is used")
        )
    if any(reason.startswith("Invalid") for reason in told):
        again = "mend the field that is named, apply it again"
        found.append(Advice(f"rayctl get {node.label} -o yaml{_namespace(node)}", again))
    if verdict.reason == "NotObserved":
        found.append(Advice("rayctl doctor", "see whether its controller runs and may do its work"))
    if verdict.reason == "Deleting" and "waits for" in verdict.message:
        found.append(Advice("rayctl doctor", "see whether the controller runs that has to clean up first"))
    if verdict.reason == "Suspended":
        found.append(Advice(f"rayctl resume {node.label}{_namespace(node)}", "start it again"))
    return tuple(found)


def _advice_for_pod(pod: Node) -> list[Advice]:
    where, name = _namespace(pod), pod.document["metadata"]["name"]
    trouble = pod_trouble(pod.document.get("status") or {})
    if trouble.reason in ("Unschedulable", "SchedulerError"):
        return [Advice("rayctl get nodes -o wide", "see what the nodes have; fewer or smaller pods may fit")]
    if "ImagePull" in trouble.reason or trouble.reason in ("ErrImageNeverPull", "InvalidImageName"):
        return [Advice(f"rayctl describe po/{name}{where}", "see the image's name and the registry's answer")]
    if trouble.reason in ("CreateContainerConfigError", "CreateContainerError"):  # nothing has run: there is no log
        return [Advice(f"rayctl get secrets,configmaps{where}", "see whether what the container refers to is there")]
    found = []
    if "OOMKilled" in trouble.message:
        found.append(Advice(f"rayctl describe po/{name}{where}", "see its memory limit, which was not enough"))
    if trouble.container:
        words = f" -c {trouble.container}" + (" --previous" if trouble.previous else "")
        found.append(Advice(f"rayctl logs {name}{words}{where}", "see what the container said"))
    return found


def _look(node: Node) -> tuple[Advice, ...]:
    return (Advice(f"rayctl events {node.label}{_namespace(node)}", "see what happened"),)


def _namespace(node: Node) -> str:
    namespace = node.document["metadata"].get("namespace", "")
    return f" -n {namespace}" if namespace and namespace != "default" else ""
