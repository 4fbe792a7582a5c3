"""What a RayService asks for, as frozen data; and everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeGuard

import yaml

from rayctl.cluster.names import MAX_SERVICE_NAME, name_problem
from rayctl.service.gradual import Gradual
from rayctl.service.terms import Rules

__all__ = [
    "ABORT",
    "CAPACITY",
    "DRAIN",
    "INITIALIZING_TIMEOUT",
    "ON_TIMEOUT",
    "PROMOTE",
    "PROMOTION",
    "RETRY",
    "STRATEGY",
    "TIMEOUT",
    "WEIGHT",
    "Problem",
    "ServiceSpec",
    "parse_duration",
    "parse_spec",
]

PREFIX = "rayctl.io/"
CAPACITY = PREFIX + "capacity-fraction"
TIMEOUT = PREFIX + "switchover-timeout"
ON_TIMEOUT = PREFIX + "on-timeout"
PROMOTION = PREFIX + "promotion"
DRAIN = PREFIX + "drain-timeout"
STRATEGY = PREFIX + "strategy"
INITIALIZING_TIMEOUT = "ray.io/initializing-timeout"

PROMOTE = PREFIX + "promote"
ABORT = PREFIX + "abort"
WEIGHT = PREFIX + "weight"
RETRY = PREFIX + "retry"
"""What a person asks for. The value names the side (``retry``: the serial) that it is meant for, and no other."""

INCREMENTAL = "NewClusterWithIncrementalUpgrade"
STOP_THEN_START = "StopThenStart"
_STRATEGIES = ("NewCluster", "None", INCREMENTAL, STOP_THEN_START)
_DRAIN_S = 60.0
_LARGEST = 50_000
"""Values in a Serve configuration."""
_GO_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_GO_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, and what. ``kind``: ``Spec`` or ``Metadata``, as in the names of events."""

    path: str
    message: str
    kind: str = "Spec"

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass(frozen=True)
class ServiceSpec:
    """A valid specification.

    Args:
        cluster: The RayClusterSpec, as it was written.
        serve: The Serve configuration: ``applications`` and what goes with it; empty if there is none.
        strategy: ``NewCluster``, ``None``, ``NewClusterWithIncrementalUpgrade``, ``StopThenStart``.
        rules: How to switch.
        serve_service: The user's serve Service.
        exclude_head: The head takes no requests.
        gateway_class: Of the Gateway with weighted routes; empty: none.
        suspend: Everything is to be stopped.
    """

    cluster: Mapping[str, Any]
    serve: Mapping[str, Any] = field(default_factory=dict)
    strategy: str = "NewCluster"
    rules: Rules = field(default_factory=Rules)
    serve_service: Mapping[str, Any] = field(default_factory=dict)
    exclude_head: bool = False
    gateway_class: str = ""
    suspend: bool = False

    @property
    def autoscaled(self) -> bool:
        """Whether Ray's autoscaler decides on the number of workers."""
        return bool(self.cluster.get("enableInTreeAutoscaling"))


def parse_duration(text: str) -> float:
    """Return seconds from ``90``, ``90s``, ``1h30m`` (whole seconds, or a Go duration).

    Raises:
        ValueError: It is neither, or not positive.
    """
    text = text.strip()
    if text.isdigit():
        seconds = float(text)
    else:
        parts = _GO_PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError(f"{text!r} is no duration: write seconds (90) or a duration (1m30s)")
        seconds = sum(float(number) * _GO_UNITS[unit] for number, unit in parts)
    if seconds <= 0:
        raise ValueError(f"a duration must be positive, not {text!r}")
    return seconds


def parse_spec(metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> tuple[ServiceSpec, tuple[Problem, ...]]:
    """Read a RayService. What is wrong is listed; the specification may be acted upon only if nothing is."""
    problems: list[Problem] = []
    annotations = metadata.get("annotations") or {}
    wrong = name_problem(str(metadata.get("name", "")), MAX_SERVICE_NAME)
    if wrong:
        problems.append(Problem("metadata.name", wrong, "Metadata"))
    cluster = _mapping(spec, "rayClusterConfig", problems)
    _check_cluster(cluster, problems)
    serve = _serve_config(spec.get("serveConfigV2"), problems)
    strategy = _strategy(annotations, spec, problems)
    gradual, gateway_class = None, ""
    if strategy == INCREMENTAL:
        gradual, gateway_class = _incremental(cluster, spec, problems)
    rules = _rules(annotations, spec, strategy, gradual, problems)
    found = ServiceSpec(
        cluster,
        serve,
        strategy,
        rules,
        _mapping(spec, "serveService", problems, optional=True),
        bool(spec.get("excludeHeadPodFromServeSvc")),
        gateway_class,
        bool(spec.get("suspend")),
    )
    return found, tuple(problems)


def _mapping(spec: Mapping[str, Any], name: str, problems: list[Problem], optional: bool = False) -> Mapping[str, Any]:
    found = spec.get(name)
    if found is None and optional:
        return {}
    if not isinstance(found, Mapping):
        problems.append(Problem(f"spec.{name}", "is missing" if found is None else "must be an object"))
        return {}
    return found


def _check_cluster(cluster: Mapping[str, Any], problems: list[Problem]) -> None:
    """Add what a RayService forbids of a cluster's specification, besides what the cluster itself forbids."""
    where = "spec.rayClusterConfig"
    head = cluster.get("headGroupSpec")
    if cluster and not isinstance(head, Mapping):
        problems.append(Problem(f"{where}.headGroupSpec", "is missing"))
        return
    service = (head or {}).get("headService") or {}
    if (service.get("metadata") or {}).get("name"):
        problems.append(
            Problem(f"{where}.headGroupSpec.headService.metadata.name", "must not be set: each cluster needs its own")
        )
    if (cluster.get("upgradeStrategy") or {}).get("type"):
        problems.append(Problem(f"{where}.upgradeStrategy", "is the service's to decide: use spec.upgradeStrategy"))
    if (cluster.get("authOptions") or {}).get("enableK8sTokenAuth"):
        problems.append(Problem(f"{where}.authOptions.enableK8sTokenAuth", "is not possible in a RayService"))


@lru_cache(maxsize=1024)
def _read_yaml(text: str) -> tuple[Any, str]:
    """Return what a YAML text says, or what is wrong with it. Kept, because every pass reads the same texts again."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        return None, f"is not YAML: {getattr(error, 'problem', error)}{where}"
    except (ValueError, RecursionError) as error:
        return None, f"cannot be read: {error}"
    return (found, "") if _size(found) <= _LARGEST else (None, f"unfolds to more than {_LARGEST} values")


def _size(document: Any) -> int:
    """Count values, up to a limit: aliases make texts of a few lines that unfold to billions."""
    waiting, count = [document], 0
    while waiting and count <= _LARGEST:
        value = waiting.pop()
        count += 1
        if isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return count


def _serve_config(text: Any, problems: list[Problem]) -> Mapping[str, Any]:
    if not text:
        return {}
    found, wrong = _read_yaml(text) if isinstance(text, str) else (None, "must be a text")
    if wrong:
        problems.append(Problem("spec.serveConfigV2", wrong))
        return {}
    if not isinstance(found, Mapping):
        problems.append(Problem("spec.serveConfigV2", "must be a YAML object with a list of applications"))
        return {}
    applications = found.get("applications")
    if not isinstance(applications, list) or not all(isinstance(item, Mapping) for item in applications):
        problems.append(Problem("spec.serveConfigV2.applications", "must be a list of applications"))
        return {}
    names = [str(item.get("name", "default")) for item in applications]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        problems.append(Problem("spec.serveConfigV2.applications", f"the name {twice[0]} is there twice"))
    return found


def _strategy(annotations: Mapping[str, str], spec: Mapping[str, Any], problems: list[Problem]) -> str:
    asked = annotations.get(STRATEGY) or (spec.get("upgradeStrategy") or {}).get("type") or "NewCluster"
    if asked not in _STRATEGIES:
        problems.append(Problem("spec.upgradeStrategy.type", f"{asked!r} is none of {', '.join(_STRATEGIES)}"))
        return "NewCluster"
    return str(asked)


def _incremental(
    cluster: Mapping[str, Any], spec: Mapping[str, Any], problems: list[Problem]
) -> tuple[Gradual | None, str]:
    where = "spec.upgradeStrategy.clusterUpgradeOptions"
    options = (spec.get("upgradeStrategy") or {}).get("clusterUpgradeOptions")
    before = len(problems)
    if not cluster.get("enableInTreeAutoscaling"):
        problems.append(Problem("spec.rayClusterConfig.enableInTreeAutoscaling", f"must be true for {INCREMENTAL}"))
    if not isinstance(options, Mapping):
        problems.append(Problem(where, f"is missing: {INCREMENTAL} needs it"))
        return None, ""
    surge: Any = options.get("maxSurgePercent", 100)
    step: Any = options.get("stepSizePercent")
    interval: Any = options.get("intervalSeconds")
    if not _whole(surge) or not 0 < surge <= 100:
        problems.append(
            Problem(f"{where}.maxSurgePercent", "must be between 1 and 100: with 0 nothing would ever move")
        )
    if not _whole(step) or not 0 < step <= 100:
        problems.append(
            Problem(f"{where}.stepSizePercent", "must be between 1 and 100: with 0 nothing would ever move")
        )
    elif _whole(surge) and step > surge:
        problems.append(Problem(f"{where}.stepSizePercent", f"must not be above maxSurgePercent ({surge})"))
    if not _whole(interval) or interval <= 0:
        problems.append(Problem(f"{where}.intervalSeconds", "must be above 0"))
    if not options.get("gatewayClassName"):
        problems.append(Problem(f"{where}.gatewayClassName", "is missing"))
    if len(problems) > before:
        return None, ""
    return Gradual(step, float(interval), surge), str(options["gatewayClassName"])


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _rules(
    annotations: Mapping[str, str],
    spec: Mapping[str, Any],
    strategy: str,
    gradual: Gradual | None,
    problems: list[Problem],
) -> Rules:
    plain = Rules()
    delay = spec.get("rayClusterDeletionDelaySeconds")
    if delay is not None and (not _whole(delay) or delay < 0):
        problems.append(Problem("spec.rayClusterDeletionDelaySeconds", "must be 0 or more"))
        delay = None
    drain = _annotated_duration(annotations, DRAIN, _DRAIN_S, problems)
    policy = annotations.get(ON_TIMEOUT, plain.on_deadline)
    if policy not in ("rollback", "pause"):
        problems.append(_metadata(ON_TIMEOUT, f"{policy!r} is neither rollback nor pause"))
        policy = plain.on_deadline
    promotion = annotations.get(PROMOTION, "automatic")
    if promotion not in ("automatic", "manual"):
        problems.append(_metadata(PROMOTION, f"{promotion!r} is neither automatic nor manual"))
    return Rules(
        capacity=_fraction(annotations, problems),
        deadline_s=_annotated_duration(annotations, TIMEOUT, plain.deadline_s, problems),
        on_deadline=policy,
        first_deadline_s=_annotated_duration(annotations, INITIALIZING_TIMEOUT, 0.0, problems),
        manual=promotion == "manual",
        drain_min_s=float(delay or 0),
        drain_max_s=drain,
        stop_first=strategy == STOP_THEN_START,
        gradual=gradual,
    )


def _metadata(annotation: str, message: str) -> Problem:
    return Problem(f"metadata.annotations[{annotation}]", message, "Metadata")


def _annotated_duration(annotations: Mapping[str, str], name: str, default: float, problems: list[Problem]) -> float:
    text = annotations.get(name)
    if text is None:
        return default
    try:
        return parse_duration(text)
    except ValueError as error:
        problems.append(_metadata(name, str(error)))
        return default


def _fraction(annotations: Mapping[str, str], problems: list[Problem]) -> float:
    text = annotations.get(CAPACITY)
    try:
        found = 1.0 if text is None else float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        problems.append(_metadata(CAPACITY, f"{text!r} must be a number from 0 to 1"))
        return 1.0
    return found
