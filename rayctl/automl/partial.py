"""What is delivered when time was up before its members had forecast all series: who forecasts which part. Pure.

A member's forecast is used for every part (unscored fold) that it has; where no member has one, a trial that has all
parts fills in. The shares of all of them in what is delivered are the weights that users see.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["KEY", "Partial", "partial_warning"]

KEY = "partial"
"""Where a stored combination's settings hold it."""


@dataclass(frozen=True)
class Partial:
    """Which parts the members lack.

    Attributes:
        weights: Member → the weight that was chosen for it; they sum to 1.
        missing: Member → the unscored folds that it lacks.
        fills_in: The trial that forecasts the parts of which no member has a forecast; None: there are no such parts.
        filled: Share of the series that it forecasts.
    """

    weights: Mapping[int, float]
    missing: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    fills_in: int | None = None
    filled: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form kept in settings."""
        return {
            "weights": {str(trial): weight for trial, weight in self.weights.items()},
            "missing": {str(trial): list(folds) for trial, folds in self.missing.items()},
            "fills_in": self.fills_in,
            "filled": self.filled,
        }

    @classmethod
    def of(cls, settings: Mapping[str, Any] | None) -> Partial | None:
        """Read it from a combination's settings; None if all members have everything."""
        found = (settings or {}).get(KEY)
        if not found:
            return None
        weights = {int(trial): float(weight) for trial, weight in found["weights"].items()}
        missing = {int(trial): tuple(map(int, folds)) for trial, folds in found["missing"].items()}
        fills_in = found["fills_in"]
        return cls(weights, missing, None if fills_in is None else int(fills_in), float(found["filled"]))

    def uncovered(self, parts: Collection[int]) -> list[int]:
        """Return the parts that no member has."""
        return [part for part in parts if all(part in self.missing.get(trial, ()) for trial in self.weights)]

    def shares(self, parts: Mapping[int, float]) -> dict[int, float]:
        """Return trial → its share in what is delivered; they sum to 1, and none is 0.

        Args:
            parts: Unscored fold → its size, in any unit.
        """
        total = sum(parts.values())
        found: dict[int, float] = {}
        for part, size in parts.items():
            there = {trial: w for trial, w in self.weights.items() if part not in self.missing.get(trial, ())}
            if not there and self.fills_in is not None:
                there = {self.fills_in: 1.0}
            for trial, weight in there.items():
                found[trial] = found.get(trial, 0.0) + weight / sum(there.values()) * size / total
        return dict(sorted(found.items()))


def partial_warning(combination: Mapping[str, Any] | None) -> str | None:
    """Return what to say about a run that delivered this stored combination; None if nothing was missing."""
    partial = Partial.of((combination or {}).get("settings"))
    if partial is None:
        return None
    late = ", ".join(str(trial) for trial in sorted(partial.missing))
    who = f"trial {late} lacks" if len(partial.missing) == 1 else f"trials {late} lack"
    text = f"The time was up before every series was forecast by the chosen models: {who} some series"
    if partial.fills_in is not None:
        text += f", and {100 * partial.filled:.0f} % of the series are forecast by trial {partial.fills_in} instead"
    return f"{text}. Extend the run, or give it more time."
