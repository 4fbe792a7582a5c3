"""How people steer a rollout: pause, resume, undo, restart, promote, abort as changes of the fleet. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rayctl.core.steering import Steered
from rayctl.errors import Conflict, NotFound
from rayctl.fleet.revisions import merge_to, rollback_target, template_of_revision
from rayctl.fleet.seen import ABORT, PROMOTE, parse_fleet
from rayctl.fleet.spec import parse_fleet_spec
from rayctl.replicaset.status import rfc3339
from rayctl.replicaset.template import same_template

__all__ = ["abort", "pause", "promote", "restart", "resume", "undo"]

Document = Mapping[str, Any]
RESTARTED_AT = "rayctl.io/restarted-at"


def pause() -> Steered:
    """Let changes of the template wait."""
    return Steered("paused", {"spec": {"paused": True}})


def resume() -> Steered:
    """Go on with what has waited since `pause`."""
    return Steered("resumed", {"spec": {"paused": False}})


def restart(now: float) -> Steered:
    """Replace all clusters by new ones. ``now``: seconds since the epoch."""
    annotations = {RESTARTED_AT: rfc3339(now)}
    return Steered("restarts", {"spec": {"template": {"metadata": {"annotations": annotations}}}})


def undo(fleet: Document, sets: Sequence[Document], to_revision: int = 0) -> Steered:
    """Give the fleet the template of an earlier revision; 0: of the one before the newest.

    Raises:
        NotFound: There is no such revision.
        Conflict: The fleet has that template already.
    """
    label, seen = _label(fleet), parse_fleet({"fleet": fleet, "sets": sets})
    view = rollback_target(seen, str(to_revision))
    if view is None:
        what = f"revision {to_revision}" if to_revision else "earlier revision"
        raise NotFound(
            f"{label} has no {what}.", code="revision-not-found", hint=f"`rayctl rollout history {label}` lists them."
        )
    template = template_of_revision(view)
    if same_template(template, seen.spec.template):
        raise Conflict(f"{label} has the template of revision {view.revision} already.", code="nothing-to-undo")
    changes = {"spec": {"template": merge_to(seen.spec.template, template)}}
    return _of(fleet, f"went back to revision {view.revision}", changes)


def promote(fleet: Document, full: bool = False) -> Steered:
    """Let the step pass at which a rollout waits; ``full``: all that are left.

    Raises:
        Conflict: There is no rollout, or it has no step that could be waiting.
    """
    state, spec, label = _state(fleet), parse_fleet_spec(fleet), _label(fleet)
    steps = {"Canary": len(spec.options.steps), "BlueGreen": 1}.get(spec.strategy, 0)
    if int(state.get("step", 0)) >= steps:
        why = f"all {steps} steps are done" if steps else f"{spec.strategy} has no steps"
        hint = f"`rayctl rollout status {label}` says what it waits for."
        raise Conflict(f"There is nothing to promote on {label}: {why}.", code="nothing-to-promote", hint=hint)
    token = f"{state['revision']}:{'full' if full else state.get('step', 0)}"
    text = "promoted fully" if full else f"step {int(state.get('step', 0)) + 1} promoted"
    if spec.strategy == "BlueGreen":
        text = "promoted: the new revision takes over as soon as it is available"
    return _of(fleet, text, {"metadata": {"annotations": {PROMOTE: token}}})


def abort(fleet: Document) -> Steered:
    """Give the newest revision up.

    Raises:
        Conflict: There is no rollout, or nothing to go back to.
    """
    state, label = _state(fleet), _label(fleet)
    if state.get("aborted"):
        raise Conflict(
            f"Revision {state['aborted'].get('revision')} of {label} has been given up already.",
            code="nothing-to-abort",
            hint=f"`rayctl rollout undo {label}` takes the template back too, so that the fleet is ready again.",
        )
    if state.get("stableRevision") in (None, "", state["revision"]):
        raise Conflict(
            f"{label} has no other revision to go back to, or its newest one is complete.",
            code="nothing-to-abort",
            hint=f"`rayctl rollout undo {label}` goes back from a complete rollout.",
        )
    changes = {"metadata": {"annotations": {ABORT: state["revision"]}}}
    return _of(fleet, f"revision {state['revision']} given up", changes)


def _of(fleet: Document, text: str, changes: Document) -> Steered:
    """What was decided by what was read is written to that version only."""
    return Steered(text, changes).based_on(str(fleet["metadata"]["resourceVersion"]))


def _label(fleet: Document) -> str:
    return f"fleet/{fleet['metadata']['name']}"


def _state(fleet: Document) -> Document:
    state: Document = (fleet.get("status") or {}).get("rollout") or {}
    if not state.get("revision"):
        text = f"{_label(fleet)} has no rollout yet."
        raise Conflict(text, code="no-rollout", hint="Is the fleet controller running?")
    return state
