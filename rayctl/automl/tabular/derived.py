"""Features that see the target, or are chosen by it: fitted on the training rows of each fold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rayctl.automl.tabular.prepare import PreparedTable

__all__ = ["DerivedFeatures"]


@dataclass(frozen=True, eq=False)
class DerivedFeatures:
    """Fitted derived features; ``names``: one per column. (First form: it derives nothing yet.)"""

    names: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls, prepared: PreparedTable, train: np.ndarray, kinds: tuple[str, ...], seed: int
    ) -> tuple[DerivedFeatures, np.ndarray]:
        """Fit on the rows ``train`` (positions); return it and the values of these rows, float32 (len(train), e)."""
        return cls(), np.empty((len(train), 0), dtype=np.float32)

    def transform(self, tree: np.ndarray) -> np.ndarray:
        """Return float32 (rows, e) for rows of the tree matrix."""
        return np.empty((len(tree), 0), dtype=np.float32)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form kept in bundles (floats survive it exactly)."""
        return {"names": list(self.names)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DerivedFeatures:
        """Rebuild from `to_json`."""
        return cls(tuple(value["names"]))
