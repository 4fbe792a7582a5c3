"""What rayctl adds to AIBrix's fields of a fleet: ``spec.rollout``, or the annotation ``rayctl.io/rollout`` with JSON.

``strategy.type`` keeps AIBrix's meaning. ``rollout.strategy`` (``Canary``, ``BlueGreen``) takes its place where it is
given; everything else in ``rollout`` goes with every strategy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from rayctl.core.quantity import parse_quantity
from rayctl.replicaset.options import mapping_at, seconds

__all__ = ["BlueGreen", "Capacity", "GateSpec", "Options", "Step", "parse_options"]

_GATES = ("Ready", "Serve", "Metric", "Manual")


@dataclass(frozen=True)
class GateSpec:
    """A condition for going on.

    Args:
        kind: ``Ready`` (all new clusters), ``Serve`` (their applications run), ``Metric``, ``Manual``.
        application: Of ``Serve``: only this one; empty: all.
        query: Of ``Metric``: what is asked.
        least, most: Of ``Metric``: bounds of the value.
        seconds: After so long without an answer that lets it pass, the gate has failed; 0: it waits.
    """

    kind: str
    application: str = ""
    query: str = ""
    least: float | None = None
    most: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Step:
    """One step of a canary: exactly one of the fields is set. ``pause``: seconds; infinite: until it is promoted."""

    weight: int | None = None
    replicas: int | None = None
    pause: float | None = None
    gate: GateSpec | None = None

    def __str__(self) -> str:
        if self.weight is not None:
            return f"{self.weight}% new"
        if self.replicas is not None:
            return f"{self.replicas} new"
        if self.gate is not None:
            return f"gate {self.gate.kind}"
        return "pause" if self.pause == float("inf") else f"pause {self.pause:.0f}s"


@dataclass(frozen=True)
class BlueGreen:
    """The new revision comes up beside the old one, all of it, and then takes over.

    Args:
        active, preview: Services whose selectors are set to the revision in use and to the newest; empty: none.
        auto: Whether it takes over by itself when all gates let it.
        preview_replicas: Size before that; None: all.
        delay_s: How long the old one stays afterwards.
        gates: What must hold.
    """

    active: str = ""
    preview: str = ""
    auto: bool = True
    preview_replicas: int | None = None
    delay_s: float = 30.0
    gates: tuple[GateSpec, ...] = ()


@dataclass(frozen=True)
class Capacity:
    """What the fleet may hold at most, by resource (``nvidia.com/gpu``, ``cpu``, ``memory``).

    ``replace``: where a surge does not fit, an old cluster goes before the new one comes; otherwise the rollout waits.
    """

    limits: Mapping[str, Fraction] = field(default_factory=dict)
    replace: bool = True


@dataclass(frozen=True)
class Options:
    """``spec.rollout``. ``partition``: members that stay with the old revision."""

    strategy: str = ""
    steps: tuple[Step, ...] = ()
    blue_green: BlueGreen = field(default_factory=BlueGreen)
    partition: int = 0
    in_place: bool = True
    capacity: Capacity = field(default_factory=Capacity)
    roll_back: bool = False


def parse_options(value: Any) -> Options:
    """Read ``spec.rollout``.

    Raises:
        ValueError: Says which field is wrong.
    """
    found = mapping_at(value, "rollout")
    strategy = found.get("strategy") or ""
    if strategy not in ("", "Canary", "BlueGreen"):
        raise ValueError(f"rollout.strategy is {strategy!r}, not Canary or BlueGreen")
    steps = tuple(_step(item, index) for index, item in enumerate(found.get("steps") or ()))
    if steps and strategy != "Canary":
        raise ValueError("rollout.steps need rollout.strategy: Canary")
    failure = found.get("onFailure", "Report")
    if failure not in ("Report", "RollBack"):
        raise ValueError(f"rollout.onFailure is {failure!r}, not Report or RollBack")
    return Options(
        strategy,
        steps,
        _blue_green(mapping_at(found.get("blueGreen"), "rollout.blueGreen")),
        int(seconds(found, "partition", 0, "rollout")),
        bool(found.get("inPlace", True)),
        _capacity(mapping_at(found.get("capacity"), "rollout.capacity")),
        failure == "RollBack",
    )


def _step(item: Any, index: int) -> Step:
    where = f"rollout.steps[{index}]"
    step = mapping_at(item, where)
    if len(step) != 1:
        raise ValueError(f"{where} must have exactly one of setWeight, setReplicas, pause, gate")
    name, value = next(iter(step.items()))
    if name == "setWeight":
        weight = int(seconds(step, "setWeight", 0, where))
        if weight > 100:
            raise ValueError(f"{where}.setWeight is {weight}, more than 100")
        return Step(weight=weight)
    if name == "setReplicas":
        return Step(replicas=int(seconds(step, "setReplicas", 0, where)))
    if name == "pause":
        pause = mapping_at(value, f"{where}.pause")
        return Step(pause=seconds(pause, "seconds", float("inf"), f"{where}.pause"))
    if name == "gate":
        return Step(gate=_gate(value, f"{where}.gate"))
    raise ValueError(f"{where} must have exactly one of setWeight, setReplicas, pause, gate")


def _gate(value: Any, where: str) -> GateSpec:
    gate = mapping_at(value, where)
    kind = gate.get("type")
    if kind not in _GATES:
        raise ValueError(f"{where}.type is {kind!r}, not one of {', '.join(_GATES)}")
    if kind == "Metric" and (not gate.get("query") or ("min" not in gate and "max" not in gate)):
        raise ValueError(f"{where} needs a query, and min or max")
    return GateSpec(
        kind,
        str(gate.get("application") or ""),
        str(gate.get("query") or ""),
        _bound(gate, "min", where),
        _bound(gate, "max", where),
        seconds(gate, "seconds", 0.0, where),
    )


def _bound(gate: Mapping[str, Any], name: str, where: str) -> float | None:
    value = gate.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{where}.{name} is {value!r}, not a number")
    return float(value)


def _blue_green(found: Mapping[str, Any]) -> BlueGreen:
    where = "rollout.blueGreen"
    preview = found.get("previewReplicas")
    return BlueGreen(
        str(found.get("activeService") or ""),
        str(found.get("previewService") or ""),
        bool(found.get("autoPromote", True)),
        None if preview is None else int(seconds(found, "previewReplicas", 0, where)),
        seconds(found, "scaleDownDelaySeconds", 30.0, where),
        tuple(_gate(item, f"{where}.gates[{index}]") for index, item in enumerate(found.get("gates") or ())),
    )


def _capacity(found: Mapping[str, Any]) -> Capacity:
    limits = {}
    for name, value in mapping_at(found.get("limits"), "rollout.capacity.limits").items():
        try:
            limits[str(name)] = parse_quantity(value)
        except (ValueError, AttributeError) as error:
            raise ValueError(f"rollout.capacity.limits.{name} is {value!r}, not a quantity") from error
    full = found.get("whenFull", "Replace")
    if full not in ("Replace", "Wait"):
        raise ValueError(f"rollout.capacity.whenFull is {full!r}, not Replace or Wait")
    return Capacity(limits, full == "Replace")
