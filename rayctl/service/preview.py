"""What an edit of a RayService would lead to, by the controller's own rules: its class, its steps, its peak. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rayctl.cluster.amounts import resource_totals
from rayctl.cluster.spec import parse_cluster
from rayctl.service.fingerprint import changed_in_place
from rayctl.service.seen import ServiceSeen, see, wanted_id
from rayctl.service.terms import Wish

__all__ = ["Preview", "preview"]

CLASSES = {
    "none": "nothing changes",
    "live": "the Serve configuration goes to the cluster that serves",
    "in-place": "the cluster is changed in place",
    "switch": "a new cluster takes over",
    "cancel": "the present switch is taken back",
    "stop-then-start": "the old cluster is stopped, then the new one started: nothing answers in between",
    "gradual": "a new cluster takes over step by step",
    "first": "the first cluster is made",
    "refused": "it was rolled back before, and is not tried again",
    "disabled": "the strategy None acts on no change of the cluster",
    "suspend": "everything is stopped",
    "invalid": "it is not acted upon; what is valid is kept up",
}


@dataclass(frozen=True)
class Preview:
    """The answer. ``kind``: one of `CLASSES`; ``steps``: in their order; ``peak``: resources at the most."""

    kind: str
    steps: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    now: Mapping[str, str] | None = None
    new: Mapping[str, str] | None = None

    @property
    def pending(self) -> bool:
        """Whether anything would happen."""
        return self.kind not in ("none", "invalid", "refused", "disabled")

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "kind": self.kind,
            "meaning": CLASSES[self.kind],
            "steps": list(self.steps),
            "problems": list(self.problems),
            "resources": {"now": dict(self.now or {}), "inAddition": dict(self.new or {})},
        }


def preview(
    found: Mapping[str, Any], service: Mapping[str, Any], validate: Callable[[Mapping[str, Any]], Sequence[str]]
) -> Preview:
    """Return what would happen.

    Args:
        found: What a controller's look found, or would find: ``service``, ``clusters``, ``services``, ``revisions``.
        service: The RayService as it would be, with the status that it has.
        validate: What is wrong with a RayClusterSpec.
    """
    live, metadata = found["service"], service["metadata"]
    changed = service.get("spec") != live.get("spec")
    # Counted from the live object: what a server answers to a dry run has the next one already.
    generation = int(live["metadata"].get("generation") or 0) + (1 if changed else 0)
    imagined = {**service, "metadata": {**metadata, "generation": generation, "uid": metadata.get("uid", "new")}}
    seen = see({**found, "service": imagined}, validate)
    if seen.problems:
        return Preview("invalid", problems=tuple(map(str, seen.problems)))
    if (service.get("spec") or {}).get("suspend"):
        return Preview("suspend", ("delete all clusters and services",), now=_resources(_active(seen)))
    wish = seen.wish()
    record = seen.record
    if record is None or not record.active:
        spec = seen.effective["rayClusterConfig"]
        name = wish.target if record is not None else "the first cluster"  # names come from uids
        return Preview("first", _steps("", name), new=_resources(spec))
    if wish.target == record.active:
        if record.pending:
            return Preview("cancel", (f"{record.active} keeps the traffic", f"delete {record.pending}"))
        return _on_the_active(seen)
    return _switch(seen, wish)


def _active(seen: ServiceSeen) -> Mapping[str, Any]:
    cluster = seen.clusters.get(seen.record.active) if seen.record else None
    return (cluster.document.get("spec") or {}) if cluster is not None else {}


def _on_the_active(seen: ServiceSeen) -> Preview:
    assert seen.record is not None
    name = seen.record.active
    changes = changed_in_place(_active(seen), seen.effective["rayClusterConfig"])
    config = wanted_id(seen.effective).partition("-")[2] != seen.record.active_wanted.partition("-")[2]
    steps = [f"patch {name}: {', '.join(sorted(changes))}"] if changes else []
    steps += [f"submit the Serve configuration to {name}"] if config and seen.record.active_wanted else []
    kind = "in-place" if changes else "live" if steps else "none"
    return Preview(kind, tuple(steps), now=_resources(_active(seen)))


def _switch(seen: ServiceSeen, wish: Wish) -> Preview:
    record, spec = seen.record, seen.spec
    assert record is not None
    assert spec is not None
    now, new = _resources(_active(seen)), _resources(seen.effective["rayClusterConfig"])
    if wish.allowed:
        return Preview("disabled", now=now)
    if record.refused and record.refused == wish.wanted and not wish.retry:
        return Preview("refused", problems=(record.message,), now=now)
    steps = list(_steps(record.active, wish.target))
    if record.pending and record.pending != wish.target:
        steps.insert(0, f"delete {record.pending}, which has not served yet")
    if spec.rules.stop_first:
        steps = [f"delete {record.active}", *(step for step in steps if not step.startswith("drain"))]
        return Preview("stop-then-start", tuple(steps), now=now)
    if spec.rules.gradual is not None:
        rules = spec.rules.gradual
        moves = f"move traffic by {rules.step} % every {rules.interval_s:.0f} s, capacity by {rules.surge} %"
        steps.insert(2, moves)
        return Preview("gradual", tuple(steps), now=now, new=new)
    return Preview("switch", tuple(steps), now=now, new=new)


def _steps(source: str, target: str) -> tuple[str, ...]:
    steps = [
        f"create {target}",
        f"wait until {target} is ready" + (" and has the capacity to take over" if source else ""),
    ]
    steps += [f"head service → {target}", f"serve service → {target}"]
    return (*steps, *([f"drain and delete {source}"] if source else []))


def _resources(spec: Mapping[str, Any]) -> Mapping[str, str]:
    if not spec:
        return {}
    document = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "x", "uid": "x"}, "spec": spec}
    return {name: value for name, value in resource_totals(parse_cluster(document)).items() if value not in ("", "0")}
