"""RayClusterReplicaSet: what is wanted, read from the document and checked before anything is done about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rayctl.replicaset.names import MAX_SET_NAME, name_problem
from rayctl.replicaset.options import Drain, Replacement, option_document, parse_drain, parse_replacement
from rayctl.replicaset.selectors import Selector, parse_selector

__all__ = ["ReplicaSetSpec", "parse_spec", "template_labels", "whole_number"]


@dataclass(frozen=True)
class ReplicaSetSpec:
    """What is wanted.

    Args:
        replicas: Clusters.
        selector: Which clusters are its.
        template: ``metadata`` and ``spec`` of each.
        min_ready_s: Seconds for which a cluster must have been ready to count as available.
        replacement: What becomes of broken clusters.
        drain: How clusters go.
        problems: Why nothing can be done, as (word, sentence); nothing is created or deleted while there are any.
    """

    replicas: int
    selector: Selector
    template: Mapping[str, Any]
    min_ready_s: int = 0
    replacement: Replacement = field(default_factory=Replacement)
    drain: Drain = field(default_factory=Drain)
    problems: tuple[tuple[str, str], ...] = ()


def template_labels(template: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the labels that a template gives its clusters."""
    return ((template.get("metadata") or {}).get("labels")) or {}


def whole_number(spec: Mapping[str, Any], name: str, default: int, problems: list[tuple[str, str]]) -> int:
    """Return an integer from 0 on; what is none becomes a problem, and the default."""
    value = spec.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        problems.append(("InvalidSpec", f"spec.{name} is {value!r}, not a whole number from 0 on"))
        return default
    return value


def parse_spec(document: Mapping[str, Any]) -> ReplicaSetSpec:
    """Read a RayClusterReplicaSet as the API returns it. What is wrong is in ``problems``; nothing is raised."""
    spec, problems = document.get("spec") or {}, []
    long_name = name_problem(document["metadata"]["name"], MAX_SET_NAME)
    if long_name:
        problems.append(("InvalidName", long_name))
    replicas = whole_number(spec, "replicas", 1, problems)
    min_ready_s = whole_number(spec, "minReadySeconds", 0, problems)
    template = spec.get("template") or {}
    if not isinstance(template.get("spec"), Mapping):
        problems.append(("InvalidSpec", "spec.template.spec is missing"))
    selector = Selector()
    try:
        selector = parse_selector(spec.get("selector"))
        if selector.empty:
            problems.append(("SelectorMissing", "spec.selector is empty and would select every cluster"))
        elif not selector.matches(template_labels(template)):
            problems.append(
                ("SelectorMismatch", f"spec.selector ({selector}) does not select the labels of spec.template.metadata")
            )
    except ValueError as error:
        problems.append(("SelectorInvalid", str(error)))
    replacement, drain = Replacement(), Drain()
    try:
        replacement = parse_replacement(option_document(document, "replacement"))
        drain = parse_drain(option_document(document, "drain"))
    except ValueError as error:
        problems.append(("InvalidSpec", str(error)))
    return ReplicaSetSpec(replicas, selector, template, min_ready_s, replacement, drain, tuple(problems))
