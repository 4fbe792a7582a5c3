"""The dense form: from encoded columns to a matrix without missing values for linear models, networks and neighbours.

Every dense column is one simple function of one encoded column, learned without the target:

- numbers: a piecewise linear map whose knots are quantiles and whose images are normal scores (few distinct values:
  standardised); missing values get the image of the median. A value between the quantiles of a tied block gets the
  middle of the block, unlike `sklearn.preprocessing.QuantileTransformer`, which sends the smallest value (the zeros of
  a column that is mostly zero) to minus five.
- a flag where values were missing, angles (sine and cosine) for what goes round, one column per frequent category
  and one for all others, the logarithm of a category's frequency where there are many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rayctl.automl.tabular.parts import Column

__all__ = ["DenseEncoder"]

_QUANTILES = 256
_SAMPLE_ROWS = 50_000
_FEW = 16
_HOT_NUMBERS = 8
_HOT_CATEGORIES = 31
_MAX_BYTES = 2**30
_SAME = 0.995
_BEND = 3.0
_KINDS = ("map", "bend", "flag", "hot", "rest", "cycle", "lookup")


@dataclass(frozen=True, eq=False)
class _Step:
    """One function of the encoded column ``source``.

    ``map``: interpolate at ``knots`` to ``images``. ``bend``: (value - center) / scale, bent; ``knots`` holds both.
    ``flag``: is missing. ``hot``: one column per value in ``knots``.
    ``rest``: is none of ``knots`` and not missing. ``cycle``: sine and cosine of the period ``knots[0]``.
    ``lookup``: ``images`` by code, the last one for missing. ``fill``: in place of a missing value.
    """

    source: int
    kind: str
    knots: np.ndarray
    images: np.ndarray
    fill: float = 0.0

    @property
    def width(self) -> int:
        return len(self.knots) if self.kind == "hot" else 2 if self.kind == "cycle" else 1

    def apply(self, values: np.ndarray, missing: np.ndarray, out: np.ndarray) -> None:
        """Write the result of ``values`` (float32, NaN where ``missing``) to ``out``, float32 (rows, width)."""
        if self.kind == "map":
            out[:, 0] = np.interp(values, self.knots, self.images)
            out[missing, 0] = self.fill
        elif self.kind == "bend":
            out[:, 0] = _bent(values, self.knots)
            out[missing, 0] = self.fill
        elif self.kind == "flag":
            out[:, 0] = missing
        elif self.kind == "hot":
            np.equal(values[:, None], self.knots.astype(np.float32), out=out, casting="unsafe")
        elif self.kind == "rest":
            out[:, 0] = ~missing & ~np.isin(values, self.knots.astype(np.float32))
        elif self.kind == "cycle":
            angles = np.where(missing, 0.0, values) * (2 * np.pi / self.knots[0])
            out[:, 0], out[:, 1] = np.where(missing, 0.0, np.sin(angles)), np.where(missing, 0.0, np.cos(angles))
        else:
            out[:, 0] = self.images[np.where(missing, len(self.images) - 1, values).astype(np.intp)]


@dataclass(frozen=True, eq=False)
class DenseEncoder:
    """The steps, in the order of their columns."""

    steps: tuple[_Step, ...]

    @property
    def width(self) -> int:
        """Number of dense columns."""
        return sum(step.width for step in self.steps)

    @property
    def sources(self) -> tuple[int, ...]:
        """For each dense column the encoded column that it comes from."""
        return tuple(step.source for step in self.steps for _ in range(step.width))

    @classmethod
    def fit(cls, encoded: np.ndarray, columns: Sequence[Column]) -> DenseEncoder:
        """Learn the steps from encoded rows: float32 (rows, columns), NaN for missing."""
        hot = _HOT_CATEGORIES
        while True:
            steps: list[_Step] = []
            for source, column in enumerate(columns):
                steps += _fit_column(source, encoded[:, source], column, hot)
            encoder = cls(tuple(steps))
            if hot == 1 or len(encoded) * encoder.width * 4 <= _MAX_BYTES:
                return encoder
            hot //= 2  # very many categories in very many rows: fewer columns of their own

    def transform(self, encoded: np.ndarray) -> np.ndarray:
        """Return the dense rows: float32 (rows, width), C order, no missing values."""
        dense = np.empty((len(encoded), self.width), dtype=np.float32)
        missing, of, start = np.empty(0, dtype=bool), -1, 0
        for step in self.steps:
            values = encoded[:, step.source]
            if step.source != of:
                missing, of = np.isnan(values), step.source
            step.apply(values, missing, dense[:, start : start + step.width])
            start += step.width
        return dense

    def to_json(self) -> list[list[Any]]:
        """Return the small part of the state: per step source, kind and fill, and the sizes of its arrays."""
        return [[step.source, step.kind, step.fill, len(step.knots), len(step.images)] for step in self.steps]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the large part of the state."""
        parts = [part for step in self.steps for part in (step.knots, step.images)]
        return {"steps": np.concatenate([*parts, np.empty(0)]).astype(np.float64)}

    @classmethod
    def from_json(cls, value: Sequence[Sequence[Any]], arrays: Mapping[str, np.ndarray], sources: int) -> DenseEncoder:
        """Rebuild an encoder of ``sources`` encoded columns. Raises ValueError if its parts do not fit together."""
        numbers, start, steps = arrays["steps"], 0, []
        for source, kind, fill, knots, images in value:
            if kind not in _KINDS or not 0 <= source < sources or knots < 0 or images < 0:
                raise ValueError(f"unknown step {kind!r} of column {source}")
            if start + knots + images > len(numbers) or not _fits(kind, knots, images):
                raise ValueError("the arrays of the dense encoder do not fit together")
            first, second = numbers[start : start + knots], numbers[start + knots : start + knots + images]
            steps.append(_Step(source, kind, first, second, float(fill)))
            start += knots + images
        return cls(tuple(steps))


_NONE = np.empty(0)


def _fits(kind: str, knots: int, images: int) -> bool:
    """Whether a step of a kind can have arrays of these sizes."""
    if kind == "map":
        return knots == images > 0
    needed = {"bend": 2, "cycle": 1, "flag": 0, "lookup": 0}
    return knots == needed.get(kind, knots) and (images > 0) == (kind == "lookup")


def _bent(values: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Return x / sqrt(1 + (x / 3)²) of x = (value - center) / scale."""
    scaled = (values - knots[0]) / knots[1]
    return scaled / np.sqrt(1 + (scaled / _BEND) ** 2)


def _fit_column(source: int, values: np.ndarray, column: Column, hot: int) -> list[_Step]:
    if column.role == "code":
        steps = _fit_codes(source, values, int(column.size), hot)
    elif column.role == "cycle":
        steps = [_Step(source, "cycle", np.array([column.size]), _NONE)]
    elif column.role == "number":
        steps = _fit_number(source, values)
    elif column.role == "component":
        steps = [_standardised(source, values, 4.0)]
    else:
        steps = []
    if column.flag and np.isnan(values).any():
        steps.append(_Step(source, "flag", _NONE, _NONE))
    return steps


def _fit_codes(source: int, values: np.ndarray, size: int, hot: int) -> list[_Step]:
    present = ~np.isnan(values)
    counts = np.bincount(values[present].astype(np.intp), minlength=size)
    if size == 2 and present.all():
        return [_Step(source, "hot", np.array([1.0]), _NONE)]
    steps = [_Step(source, "hot", np.arange(min(size, hot), dtype=np.float64), _NONE)]
    if size > hot:
        steps.append(_Step(source, "rest", np.arange(hot, dtype=np.float64), _NONE))
        frequency = np.log1p(np.append(counts, 0))
        spread = float(np.sqrt(np.average((frequency - frequency.mean()) ** 2))) or 1.0
        center = float(np.average(frequency[:-1], weights=counts)) if counts.sum() else 0.0
        steps.append(_Step(source, "lookup", _NONE, (frequency - center) / spread))
    return steps


def _fit_number(source: int, values: np.ndarray) -> list[_Step]:
    present = values[~np.isnan(values)].astype(np.float64)
    if len(present) > _SAMPLE_ROWS:
        present = present[:: len(present) // _SAMPLE_ROWS + 1]
    ordered = np.sort(present)
    distinct = ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered
    if len(distinct) > _FEW:
        scores, raw = _normal_scores(source, present, ordered)
        bent = _bend(source, present, ordered)
        # How alike they are does not depend on scores being standardised or not.
        same = np.corrcoef(raw, _bent(present, bent.knots))[0, 1]
        return [scores] if same > _SAME else [scores, bent]
    steps = [_standardised(source, values, np.inf)]
    if 3 <= len(distinct) <= _HOT_NUMBERS and (distinct == np.round(distinct)).all():
        steps.append(_Step(source, "hot", distinct, _NONE))
    return steps


def _standardised(source: int, values: np.ndarray, limit: float) -> _Step:
    """Return the map to mean 0 and deviation 1, clipped at ``limit`` deviations and at what was seen."""
    present = values[~np.isnan(values)].astype(np.float64)
    if not len(present):
        return _Step(source, "map", np.zeros(1), np.zeros(1))
    mean, spread = float(present.mean()), float(present.std()) or 1.0
    low, high = max(present.min(), mean - limit * spread), min(present.max(), mean + limit * spread)
    knots = np.array([low, high]) if high > low else np.array([low])
    fill = (float(np.median(present)) - mean) / spread
    return _Step(source, "map", knots, (knots - mean) / spread, fill)


def _normal_scores(source: int, present: np.ndarray, ordered: np.ndarray) -> tuple[_Step, np.ndarray]:
    """Return (the map from quantiles to normal scores, standardised; the scores of ``present`` before that).

    Tied quantiles share their middle. ``ordered``: the same values in order, which makes quantiles cheap.
    """
    from scipy.special import ndtri

    levels = np.linspace(0.0, 1.0, _QUANTILES)
    quantiles = np.quantile(ordered, levels)
    knots, first, counts = np.unique(quantiles, return_index=True, return_counts=True)
    middles = (levels[first] + levels[first + counts - 1]) / 2
    edge = 0.5 / _QUANTILES
    images = ndtri(np.clip(middles, edge, 1 - edge))
    scores = np.interp(present, knots, images)
    images = (images - scores.mean()) / (scores.std() or 1.0)
    return _Step(source, "map", knots, images, float(np.interp(np.median(ordered), knots, images))), scores


def _bend(source: int, present: np.ndarray, ordered: np.ndarray) -> _Step:
    """Return the number in units of its middle half's width, as a normal distribution has it; or of its deviation."""
    low, center, high = np.quantile(ordered, [0.25, 0.5, 0.75])
    scale = (high - low) / 1.349 or float(present.std()) or 1.0
    return _Step(source, "bend", np.array([center, scale]), _NONE)
