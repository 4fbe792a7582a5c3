"""The scale on which a regression is fitted: as it is, standardised, or logarithms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["TargetScale"]

_MARGIN = 0.1
_FACTOR_RANGE = (0.8, 1.25)


@dataclass(frozen=True)
class TargetScale:
    """``scaled = (f(y) - center) / spread`` with ``f`` the identity or ``log(y + shift)``.

    ``low``, ``high``: predictions on the scale of the fit are kept within these, a little beyond what was seen: linear
    models and networks would otherwise make one strange row into an enormous error. ``factor``: multiplies predictions.
    The exponential of a mean of logarithms is below the mean; the factor of least squared error makes up for it.
    """

    kind: str = "identity"
    shift: float = 0.0
    center: float = 0.0
    spread: float = 1.0
    low: float = 0.0
    high: float = 0.0
    factor: float = 1.0

    @classmethod
    def fit(cls, kind: str, y: np.ndarray) -> TargetScale:
        """Learn from training targets. ``log`` needs targets that are not negative, and becomes ``standard`` else."""
        if kind == "identity":
            return cls()
        shift = 0.0
        if kind == "log":
            if y.min() < 0:
                kind = "standard"
            else:
                shift = 0.0 if y.min() > 0 else 1.0
        values = np.log(y + shift) if kind == "log" else y
        center, spread = float(values.mean()), float(values.std()) or 1.0
        scaled = (values - center) / spread
        margin = _MARGIN * float(scaled.max() - scaled.min())
        return cls(kind, shift, center, spread, float(scaled.min()) - margin, float(scaled.max()) + margin)

    def apply(self, y: np.ndarray) -> np.ndarray:
        """Return targets on the scale of the fit. Those outside the range of logarithms become the range's ends."""
        if self.kind == "identity":
            return y
        if self.kind == "standard":
            return (y - self.center) / self.spread
        floor = np.exp(self.low * self.spread + self.center)
        return (np.log(np.maximum(y + self.shift, floor)) - self.center) / self.spread

    def invert(self, scaled: np.ndarray) -> np.ndarray:
        """Return predictions on the caller's scale."""
        if self.kind == "identity":
            return scaled
        if self.kind == "standard":
            return np.clip(scaled, self.low, self.high) * self.spread + self.center
        values = np.exp(np.clip(scaled, self.low, self.high) * self.spread + self.center) - self.shift
        return values * self.factor

    def corrected(self, y: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None) -> TargetScale:
        """Return the scale with the factor that gives predictions of these rows the least squared error."""
        if self.kind != "log":
            return self
        mass = np.ones(len(y)) if weights is None else weights
        square = float((mass * predicted**2).sum())
        factor = float((mass * y * predicted).sum()) / square if square > 0 else 1.0
        return replace(self, factor=float(np.clip(self.factor * factor, *_FACTOR_RANGE)))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form kept in bundles."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TargetScale:
        """Rebuild a scale from its JSON form."""
        return cls(str(value["kind"]), *(float(value[name]) for name in list(cls.__dataclass_fields__)[1:]))
