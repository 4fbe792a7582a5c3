"""Why a fleet or a service is not ready: the chain of causes, and what their own views know about traffic and steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rayctl.fleet.view import fleet_view, step_text
from rayctl.service.view import service_view
from rayctl.views.explanation import Advice, Cause, Explanation, Surroundings, explain_generic
from rayctl.views.family import Node

__all__ = ["explain_fleet", "explain_service"]

_ASKS = "rayctl explain"
_FLEET = {
    "paused": (("resume", "go on"), ("undo", "return to the revision before")),
    "progressing": (("status", "see how far it is"), ("pause", "hold it here"), ("undo", "return to the one before")),
    "rolled-back": (("undo", "take the template back too"), ("history", "see which revision was given up")),
    "failed": (("undo", "return to the revision before"), ("status", "see what is left of it")),
}
"""Verdict of a fleet → (what ``rayctl rollout`` can do, what that means)."""
_WORDS = {"unobserved": "not observed yet"}
_PROMOTED = ("Pausing", "WaitingForGate", "WaitingForPromotion")
"""Reasons why a fleet waits that somebody can let pass."""


def _documents(node: Node, kind: str) -> list[Mapping[str, Any]]:
    return [found.document for found in node.walk() if found.kind == kind]


def _with_verdict(found: Explanation, view: Mapping[str, Any], label: str, fine: tuple[str, ...]) -> Explanation:
    """Return the explanation with the view's verdict as its first cause, where it says more than the status."""
    if view["verdict"] in fine:
        return found
    text = f"{label}: {view['message'] or view['verdict']}"
    first = Cause(text, str(view["reason"]), label, found.since_at)
    rest = found.causes[1:] if found.causes and found.causes[0].subject == label else found.causes
    state = _WORDS.get(str(view["verdict"]), str(view["verdict"]).replace("-", " "))
    return replace(found, ready=False, summary=f"{label} is {state}", causes=(first, *rest))


def explain_fleet(node: Node, seen: Surroundings, now: float) -> Explanation:
    """Explain a RayClusterFleet. An `Explainer`."""
    view = fleet_view(node.document, _documents(node, "RayClusterReplicaSet"), _documents(node, "RayCluster"), now)
    found = _with_verdict(explain_generic(node, seen, now), view, node.label, ("complete",))
    facts = [("clusters", f"{view['ready']} ready, {view['wanted']} wanted, {view['updated']} of the newest revision")]
    if view["step"]:
        facts.append(("rollout", step_text(view["step"])))
    where = f" -n {view['namespace']}" if view["namespace"] != "default" else ""
    words = _FLEET.get(str(view["verdict"]), ())
    if view["reason"] in _PROMOTED:
        words = (("promote", "let it pass"), *words)
    advice = tuple(Advice(f"rayctl rollout {verb} {view['name']}{where}", effect) for verb, effect in words)
    return replace(found, facts=(*found.facts, *facts), advice=(*advice, *found.advice))


def explain_service(node: Node, seen: Surroundings, now: float) -> Explanation:
    """Explain a RayService. An `Explainer`."""
    view = service_view(node.document, _documents(node, "RayCluster"), _documents(node, "Service"), now)
    found = _with_verdict(explain_generic(node, seen, now), view, node.label, ("serving",))
    sides = [
        f"{side['traffic']}% on {side['cluster']} ({side['role']}, {side['workers']} workers)"
        for side in view["sides"]
        if side["exists"]
    ]
    facts = [("traffic", "; ".join(sides))] if sides else []
    switch = view["switch"] or {}
    if switch.get("left_s") is not None:
        facts.append(("switch", f"step {switch.get('step') or '?'}, {max(0.0, switch['left_s']):.0f} s are left"))
    where = f" -n {view['namespace']}" if view["namespace"] != "default" else ""
    advice = tuple(
        Advice(item["command"] + where, item["effect"])
        for item in view["you_can"]
        if not item["command"].startswith(_ASKS)
    )
    return replace(found, facts=(*found.facts, *facts), advice=(*advice, *found.advice))
