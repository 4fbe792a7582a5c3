"""How one input column becomes columns of numbers: one small frozen class per kind of feature.

A part is learned from the values of its column (never from the target) and turns columns of the same kind into
float32 (rows, width): numbers with NaN for missing values, category codes, date parts, text components.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayctl.automl.tabular.columns import DATE_PARTS, Feature, date_parts, numbers, texts
from rayctl.automl.tabular.text import TextModel

__all__ = ["CategoryPart", "Column", "DatePart", "NumberPart", "Part", "TextPart", "fit_part", "part_from_json"]

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_RARE_FROM = 50
_RARE_COUNT = 2
_TREE_COMPONENTS = 25


class Column(NamedTuple):
    """One column that a part makes.

    ``role``: ``number``, ``cycle`` (``size`` is its period), ``code`` (``size`` is the number of categories),
    ``component`` (of a text), or ``tree`` (nothing that the dense form needs). ``tree``: the tree form has it.
    ``flag``: it says for the whole part where values are missing.
    """

    name: str
    role: str
    size: float = 0.0
    tree: bool = True
    flag: bool = False


class Part(Protocol):
    """The learned form of one input column."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that `encode` returns."""

    def encode(self, column: pa.ChunkedArray) -> np.ndarray:
        """Return float32 (rows, columns) for a column of the feature's kind."""

    def to_json(self) -> dict[str, Any]:
        """Return the small part of the state as JSON."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the large part of the state."""


@dataclass(frozen=True)
class Shift:
    """``(value - offset) / scale``: applied where float32 alone could not tell values of a column apart."""

    offset: float = 0.0
    scale: float = 1.0

    @classmethod
    def fit(cls, values: np.ndarray) -> Shift:
        """Choose offset and scale for float64 values (NaN for missing); mostly there is nothing to do."""
        values = values[~np.isnan(values)]
        peak = float(np.abs(values).max()) if len(values) else 0.0
        if peak == 0.0:
            return cls()
        scale = 2.0 ** np.floor(np.log2(peak)) if peak > 1e30 or peak < 1e-30 else 1.0
        scaled = values / scale
        if (scaled.astype(np.float32) == scaled).all():
            return cls(0.0, scale)
        offset = float(np.median(scaled))
        plain, moved = (len(np.unique(v.astype(np.float32))) for v in (scaled, scaled - offset))
        # Numbers with many random digits always lose a few; an offset is worth it only where it saves something.
        return cls(offset * scale if moved > 1.01 * plain else 0.0, scale)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return float32 values; what is out of its range becomes its largest number."""
        if self.offset or self.scale != 1.0:
            values = (values - self.offset) / self.scale
        return np.clip(values, -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32)


@dataclass(frozen=True)
class NumberPart:
    """A column of numbers or of true/false values.

    ``fill``: encoded median, in place of missing values if training had none: models that know of none would take them
    for zero, or for anything else. None: missing values stay missing.
    """

    name: str
    shift: Shift
    fill: float | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """The number itself."""
        return (Column(self.name, "number", flag=True),)

    def encode(self, column: pa.ChunkedArray) -> np.ndarray:
        """See `Part`."""
        encoded = self.shift.apply(numbers(column))
        if self.fill is not None:
            encoded[np.isnan(encoded)] = self.fill
        return encoded[:, None]

    def to_json(self) -> dict[str, Any]:
        """See `Part`."""
        shift = {"offset": self.shift.offset, "scale": self.shift.scale}
        return {"kind": "number", "name": self.name, **shift, "fill": self.fill}

    def arrays(self) -> dict[str, np.ndarray]:
        """See `Part`."""
        return {}


@dataclass(frozen=True)
class DatePart:
    """A column of dates, expanded to those of `DATE_PARTS` that differ between rows.

    ``fill``: the encoded date in the middle, in place of missing ones if training had none (see `NumberPart`).
    """

    name: str
    parts: tuple[str, ...]
    shift: Shift
    fill: tuple[float, ...] | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """One column per part; the dense form sees day of year and hour as angles and does not need the month."""
        roles = {"month": ("tree", 0.0), "weekday": ("cycle", 7.0), "hour": ("cycle", 24.0)}
        roles |= {"dayofyear": ("cycle", 365.25)}
        return tuple(
            Column(f"{self.name}.{part}", *roles.get(part, ("number", 0.0)), flag=index == 0)
            for index, part in enumerate(self.parts)
        )

    def encode(self, column: pa.ChunkedArray) -> np.ndarray:
        """See `Part`."""
        values = date_parts(column, self.parts)
        encoded = values.astype(np.float32)
        encoded[:, 0] = self.shift.apply(values[:, 0])
        if self.fill is not None:
            encoded[np.isnan(values[:, 0])] = self.fill
        return encoded

    def to_json(self) -> dict[str, Any]:
        """See `Part`."""
        shift = {"offset": self.shift.offset, "scale": self.shift.scale}
        fill = None if self.fill is None else list(self.fill)
        return {"kind": "datetime", "name": self.name, "parts": list(self.parts), **shift, "fill": fill}

    def arrays(self) -> dict[str, np.ndarray]:
        """See `Part`."""
        return {}


@dataclass(frozen=True)
class CategoryPart:
    """A column of categories: codes by falling frequency.

    ``categories``: the texts with a code of their own. ``rare``: whether all other texts, seen before or not, share
    one more code; else a text that is not known is missing (NaN), like null.
    """

    name: str
    categories: tuple[str, ...]
    rare: bool

    @cached_property
    def _known(self) -> pa.Array:
        return pa.array(self.categories, pa.string())

    @property
    def columns(self) -> tuple[Column, ...]:
        """The code."""
        return (Column(self.name, "code", float(len(self.categories) + self.rare), flag=True),)

    def encode(self, column: pa.ChunkedArray) -> np.ndarray:
        """See `Part`."""
        values = texts(column)
        codes = pc.index_in(values, value_set=self._known, skip_nulls=True)
        encoded = codes.cast(pa.float32()).to_numpy(zero_copy_only=False).astype(np.float32)
        if self.rare:
            encoded[np.isnan(encoded) & np.asarray(values.is_valid())] = len(self.categories)
        return encoded[:, None]

    def to_json(self) -> dict[str, Any]:
        """See `Part`."""
        return {"kind": "category", "name": self.name, "categories": list(self.categories), "rare": self.rare}

    def arrays(self) -> dict[str, np.ndarray]:
        """See `Part`."""
        return {}


@dataclass(frozen=True, eq=False)
class TextPart:
    """A column of free text: length, number of words, and its components (see `rayctl.automl.tabular.text`)."""

    name: str
    model: TextModel

    @property
    def columns(self) -> tuple[Column, ...]:
        """Characters, words, and the components, of which the tree form has the first ones."""
        components = (
            Column(f"{self.name}.text{index}", "component", tree=index < _TREE_COMPONENTS)
            for index in range(self.model.width)
        )
        return (
            Column(f"{self.name}.chars", "number", flag=True),
            Column(f"{self.name}.words", "number"),
            *components,
        )

    def encode(self, column: pa.ChunkedArray) -> np.ndarray:
        """See `Part`."""
        values = texts(column)
        chars = pc.utf8_length(values).cast(pa.float32()).to_numpy(zero_copy_only=False)
        words = pc.add(pc.count_substring_regex(values, r"\S\s"), 1).cast(pa.float32())
        counts = [chars, words.to_numpy(zero_copy_only=False)]
        return np.column_stack([*counts, self.model.transform(values)]).astype(np.float32, copy=False)

    def to_json(self) -> dict[str, Any]:
        """See `Part`."""
        return {"kind": "text", "name": self.name, **self.model.to_json()}

    def arrays(self) -> dict[str, np.ndarray]:
        """See `Part`."""
        return self.model.arrays()


def fit_part(feature: Feature, column: pa.ChunkedArray, seed: int) -> Part:
    """Learn the part of a feature from its column (of the feature's own kind)."""
    if feature.kind == "category":
        return _fit_category(feature.name, texts(column))
    if feature.kind == "text":
        return TextPart(feature.name, TextModel.fit(texts(column), seed))
    if feature.kind == "datetime":
        return _fit_date(feature.name, column)
    return _fit_number(feature.name, numbers(column))


def _fit_category(name: str, values: pa.Array) -> CategoryPart:
    counted = values.drop_null().value_counts()
    found, counts = counted.field("values").to_pylist(), counted.field("counts").to_numpy()
    rare = len(found) > _RARE_FROM and bool((counts < _RARE_COUNT).any())
    # By falling count; the text decides between equal counts, so that the order of rows makes no difference.
    ranked = sorted((-int(count), text) for text, count in zip(found, counts, strict=True))
    kept = tuple(text for count, text in ranked if not rare or -count >= _RARE_COUNT)
    return CategoryPart(name, kept, rare)


def _fit_number(name: str, values: np.ndarray) -> NumberPart:
    shift = Shift.fit(values)
    if np.isnan(values).any():
        return NumberPart(name, shift)
    middle = values[np.argpartition(values, len(values) // 2)[len(values) // 2]]
    return NumberPart(name, shift, float(shift.apply(np.array([middle]))[0]))


def _fit_date(name: str, column: pa.ChunkedArray) -> DatePart:
    values = date_parts(column, DATE_PARTS)
    varies = {part: len(np.unique(v[~np.isnan(v)])) > 1 for part, v in zip(DATE_PARTS, values.T, strict=True)}
    parts = ("ordinal", *(part for part in DATE_PARTS if part != "ordinal" and varies[part]))
    days = values[:, DATE_PARTS.index("ordinal")]
    part = DatePart(name, parts, Shift.fit(days))
    if np.isnan(days).any():
        return part
    middle = int(np.argpartition(days, len(days) // 2)[len(days) // 2])
    return replace(part, fill=tuple(part.encode(column.slice(middle, 1))[0].tolist()))


def part_from_json(value: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Part:
    """Rebuild a part from `Part.to_json` and `Part.arrays`."""
    kind, name = value["kind"], str(value["name"])
    if kind == "category":
        return CategoryPart(name, tuple(map(str, value["categories"])), bool(value["rare"]))
    if kind == "text":
        return TextPart(name, TextModel.from_json(value, arrays))
    shift = Shift(float(value["offset"]), float(value["scale"]))
    if kind == "datetime":
        parts = tuple(map(str, value["parts"]))
        if not parts or parts[0] != "ordinal" or not set(parts) <= set(DATE_PARTS):
            raise ValueError(f"unknown parts of a date: {parts}")
        fill = value.get("fill")
        if fill is not None and len(fill) != len(parts):
            raise ValueError("the fill of a date does not have its parts")
        return DatePart(name, parts, shift, None if fill is None else tuple(map(float, fill)))
    if kind != "number":
        raise ValueError(f"unknown kind of column {kind!r}")
    fill = value.get("fill")
    return NumberPart(name, shift, None if fill is None else float(fill))
