"""RayClusterFleet: what is wanted, with Kubernetes' defaults, checked before anything is done about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rayctl.fleet.arithmetic import Limits, fenceposts
from rayctl.fleet.options import Options, parse_options
from rayctl.replicaset.names import MAX_SET_NAME, name_problem
from rayctl.replicaset.options import option_document, parse_drain, parse_replacement
from rayctl.replicaset.selectors import Selector, parse_selector
from rayctl.replicaset.spec import template_labels, whole_number

__all__ = ["FOREVER", "MAX_FLEET_NAME", "FleetSpec", "limits_of", "parse_fleet_spec", "startup_budget_s"]

_HASH_CHARACTERS = 6
MAX_FLEET_NAME = MAX_SET_NAME - 1 - _HASH_CHARACTERS
"""Characters of a fleet's name: its sets' names are longer by a hash."""
FOREVER = 2**31 - 1
"""A number that means without limit, in ``progressDeadlineSeconds`` and ``revisionHistoryLimit``."""
DEADLINE_S = 600
_MARGIN_S = 300


@dataclass(frozen=True)
class FleetSpec:
    """What is wanted.

    Args:
        replicas: Clusters.
        selector: Of its sets and clusters.
        template: ``metadata`` and ``spec`` of each cluster.
        strategy: ``RollingUpdate``, ``Recreate``, ``Canary`` or ``BlueGreen``.
        surge, unavailable: As written; see `limits_of`.
        min_ready_s: Seconds of readiness until a cluster counts as available.
        history: Old sets that are kept.
        paused: Whether changes of the template wait.
        deadline_s: Seconds without progress after which a rollout has failed; None: never.
        drain, replacement: As written, for its sets.
        options: ``spec.rollout``.
        problems: Why nothing can be done, as (word, sentence).
    """

    replicas: int
    selector: Selector
    template: Mapping[str, Any]
    strategy: str = "RollingUpdate"
    surge: int | str | None = "25%"
    unavailable: int | str | None = "25%"
    min_ready_s: int = 0
    history: int = 10
    paused: bool = False
    deadline_s: float | None = float(DEADLINE_S)
    drain: Mapping[str, Any] | None = None
    replacement: Mapping[str, Any] | None = None
    options: Options = field(default_factory=Options)
    problems: tuple[tuple[str, str], ...] = ()

    @property
    def rolling(self) -> bool:
        """Whether old and new clusters may live side by side."""
        return self.strategy != "Recreate"


def limits_of(spec: FleetSpec) -> Limits:
    """Return the bounds of a rollout, as Kubernetes computes them; for `Recreate` both are 0.

    Raises:
        ValueError: maxSurge or maxUnavailable is neither an integer nor a percentage.
    """
    if not spec.rolling:
        return Limits(spec.replicas, 0, 0)
    surge, unavailable = fenceposts(spec.surge, spec.unavailable, spec.replicas)
    return Limits(spec.replicas, surge, min(unavailable, spec.replicas))


def startup_budget_s(template: Mapping[str, Any]) -> float:
    """Return how long the slowest container may take to start, by the startup probes of the template. Seconds."""
    spec = template.get("spec") or {}
    pods = [spec.get("headGroupSpec") or {}, *(spec.get("workerGroupSpecs") or ())]
    longest = 0.0
    for pod in pods:
        for container in ((pod.get("template") or {}).get("spec") or {}).get("containers") or ():
            probe = container.get("startupProbe")
            if isinstance(probe, Mapping):
                tries = float(probe.get("failureThreshold") or 3) * float(probe.get("periodSeconds") or 10)
                longest = max(longest, float(probe.get("initialDelaySeconds") or 0) + tries)
    return longest


def parse_fleet_spec(document: Mapping[str, Any]) -> FleetSpec:
    """Read a RayClusterFleet as the API returns it. What is wrong is in ``problems``; nothing is raised."""
    spec: Mapping[str, Any] = document.get("spec") or {}
    problems: list[tuple[str, str]] = []
    long_name = name_problem(document["metadata"]["name"], MAX_FLEET_NAME)
    if long_name:
        problems.append(("InvalidName", long_name))
    template = spec.get("template") or {}
    if not isinstance(template.get("spec"), Mapping):
        problems.append(("InvalidSpec", "spec.template.spec is missing"))
    replicas = whole_number(spec, "replicas", 1, problems)
    selector = _selector(spec, template, problems)
    strategy, surge, unavailable = _strategy(spec, replicas, problems)
    options, drain, replacement = Options(), None, None
    try:
        options = parse_options(option_document(document, "rollout"))
        drain, replacement = spec.get("drain"), spec.get("replacement")
        parse_drain(option_document(document, "drain"))
        parse_replacement(option_document(document, "replacement"))
    except ValueError as error:
        problems.append(("InvalidSpec", str(error)))
    min_ready_s = whole_number(spec, "minReadySeconds", 0, problems)
    deadline_s = _deadline(spec, template, min_ready_s, problems)
    return FleetSpec(
        replicas,
        selector,
        template,
        options.strategy or strategy,
        surge,
        unavailable,
        min_ready_s,
        whole_number(spec, "revisionHistoryLimit", 10, problems),
        bool(spec.get("paused")),
        deadline_s,
        drain,
        replacement,
        options,
        tuple(problems),
    )


def _selector(spec: Mapping[str, Any], template: Mapping[str, Any], problems: list[tuple[str, str]]) -> Selector:
    try:
        selector = parse_selector(spec.get("selector"))
    except ValueError as error:
        problems.append(("SelectorInvalid", str(error)))
        return Selector()
    if selector.empty:
        problems.append(("SelectingAll", "spec.selector is empty and would select every cluster of the namespace"))
    elif not selector.matches(template_labels(template)):
        text = f"spec.selector ({selector}) does not select the labels of spec.template.metadata"
        problems.append(("SelectorMismatch", text))
    return selector


def _strategy(
    spec: Mapping[str, Any], replicas: int, problems: list[tuple[str, str]]
) -> tuple[str, int | str | None, int | str | None]:
    found = spec.get("strategy") or {}
    kind = found.get("type") or "RollingUpdate"
    if kind not in ("RollingUpdate", "Recreate"):
        problems.append(("InvalidStrategy", f"spec.strategy.type is {kind!r}, not RollingUpdate or Recreate"))
        return "RollingUpdate", 0, 0
    rolling = found.get("rollingUpdate") or {}
    if kind == "Recreate" and rolling:
        problems.append(("InvalidStrategy", "spec.strategy.rollingUpdate has no meaning with type Recreate"))
    surge = rolling.get("maxSurge") if rolling.get("maxSurge") is not None else "25%"
    unavailable = rolling.get("maxUnavailable") if rolling.get("maxUnavailable") is not None else "25%"
    try:
        more, fewer = fenceposts(surge, unavailable, replicas)
        if more < 0 or fewer < 0:
            raise ValueError("maxSurge and maxUnavailable cannot be negative")
    except ValueError as error:
        problems.append(("InvalidStrategy", f"spec.strategy.rollingUpdate: {error}"))
        surge, unavailable = 0, 0
    return kind, surge, unavailable


def _deadline(
    spec: Mapping[str, Any], template: Mapping[str, Any], min_ready_s: int, problems: list[tuple[str, str]]
) -> float | None:
    """An absent deadline leaves room for the template's own startup probes: models take long to load."""
    if spec.get("progressDeadlineSeconds") is None:
        try:
            return max(float(DEADLINE_S), startup_budget_s(template) + _MARGIN_S) + min_ready_s
        except (TypeError, ValueError, AttributeError):
            return float(DEADLINE_S) + min_ready_s
    found = whole_number(spec, "progressDeadlineSeconds", DEADLINE_S, problems)
    if found == FOREVER:
        return None
    if found <= min_ready_s:
        text = f"spec.progressDeadlineSeconds ({found}) must be more than spec.minReadySeconds ({min_ready_s})"
        problems.append(("InvalidSpec", text))
    return float(found)
