"""Features that see the target, or are chosen by it: fitted on the training rows of each fold.

Kinds: ``target_mean`` (mean of the target per category; per class for classes), ``counts`` (logarithm of a category's
frequency), ``crosses`` (target means of pairs of categories), ``arithmetic`` (differences, ratios, products of numbers)
and ``groups`` (a number minus its mean within a category). All are bounded in number, and chosen on a sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rayctl.automl.tabular.interactions import (
    OPERATIONS,
    choose_crosses,
    choose_group_means,
    choose_pairs,
    combine,
    filled_codes,
    pair_codes,
)
from rayctl.automl.tabular.target_means import Outcomes, target_means

if TYPE_CHECKING:
    from rayctl.automl.tabular.prepare import PreparedTable

__all__ = ["KINDS", "DerivedFeatures"]

KINDS = ("target_mean", "counts", "crosses", "arithmetic", "groups")
_MAX_CLASSES = 10
_MAX_COLUMNS = 60
_MAX_CATEGORIES = 40
_GROUP_SHRINK = 5.0
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class _Step:
    """One or more derived columns, made of columns of the tree matrix.

    ``lookup``: ``table`` by the code of one or two category columns. ``deviation``: the first column minus ``table``
    by the code of the second. The others are operations on two number columns.
    """

    kind: str
    columns: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    table: np.ndarray = field(default_factory=lambda: np.empty((0, 1), dtype=np.float32))

    @property
    def width(self) -> int:
        return self.table.shape[1] if self.kind == "lookup" else 1

    def apply(self, tree: np.ndarray) -> np.ndarray:
        if self.kind == "lookup":
            return self.table[pair_codes(tree, self.columns, self.sizes)]
        first, second = tree[:, self.columns[0]], tree[:, self.columns[1]]
        if self.kind == "deviation":
            return (first - self.table[filled_codes(second, self.sizes[0]), 0])[:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.clip(combine(self.kind, first, second), -_FLOAT32_MAX, _FLOAT32_MAX)
        return values.astype(np.float32)[:, None]

    def to_json(self) -> dict[str, Any]:
        # The shortest text of each float32: exact, and half as long as that of the same number as float64.
        table = [[float(str(value)) for value in row] for row in self.table]
        return {"kind": self.kind, "columns": list(self.columns), "sizes": list(self.sizes), "table": table}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> _Step:
        columns, sizes = tuple(map(int, value["columns"])), tuple(map(int, value["sizes"]))
        table = np.array(value["table"], dtype=np.float32).reshape(len(value["table"]), -1 if value["table"] else 1)
        if value["kind"] not in ("lookup", "deviation", *OPERATIONS) or not 1 <= len(columns) <= 2:
            raise ValueError(f"unknown derived feature {value['kind']!r}")
        if value["kind"] in ("lookup", "deviation") and len(table) != np.prod(np.asarray(sizes) + 1):
            raise ValueError("the table of a derived feature does not fit its categories")
        return cls(value["kind"], columns, sizes, table)


@dataclass(frozen=True, eq=False)
class DerivedFeatures:
    """Fitted derived features; ``names``: one per column."""

    steps: tuple[_Step, ...]
    names: tuple[str, ...]

    @classmethod
    def fit(
        cls, prepared: PreparedTable, train: np.ndarray, kinds: tuple[str, ...], seed: int
    ) -> tuple[DerivedFeatures, np.ndarray]:
        """Fit on training rows.

        Args:
            prepared: The table.
            train: Positions of the training rows.
            kinds: Some of `KINDS`.
            seed: Of the parts for cross fitting.

        Returns:
            The fitted features, and their values for the training rows, float32 (len(train), e). These are
            cross-fitted where they show the target, so they are not the same as `transform` of these rows.

        Raises:
            ValueError: an unknown kind.
        """
        unknown = set(kinds) - set(KINDS)
        if unknown:
            raise ValueError(f"unknown kinds of derived features: {sorted(unknown)}")
        builder = _Builder(prepared, train, seed)
        for kind in dict.fromkeys(kinds):
            getattr(builder, kind)()
        if not builder.values:
            return cls((), ()), np.empty((len(train), 0), dtype=np.float32)
        return cls(tuple(builder.steps), tuple(builder.names)), np.concatenate(builder.values, axis=1)

    def transform(self, tree: np.ndarray) -> np.ndarray:
        """Return float32 (rows, e) for rows of the tree matrix that were not trained on."""
        if not self.steps:
            return np.empty((len(tree), 0), dtype=np.float32)
        return np.concatenate([step.apply(tree) for step in self.steps], axis=1)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form kept in bundles (floats survive it exactly)."""
        return {"steps": [step.to_json() for step in self.steps], "names": list(self.names)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DerivedFeatures:
        """Rebuild from `to_json`. Raises KeyError, TypeError or ValueError if it is not that."""
        return cls(tuple(_Step.from_json(step) for step in value["steps"]), tuple(map(str, value["names"])))


class _Builder:
    """Collects steps, their names, and their values for the training rows; one method per kind."""

    def __init__(self, prepared: PreparedTable, train: np.ndarray, seed: int) -> None:
        encoder = prepared.encoder
        self.tree = prepared.tree[train]
        self.tree_names = encoder.tree_names
        coded = sorted(zip(encoder.cardinalities, encoder.categorical, strict=True), reverse=True)[:_MAX_CATEGORIES]
        coded.sort(key=lambda item: item[1])
        self.categories = [column for _, column in coded]
        self.sizes = [size for size, _ in coded]
        categorical = set(encoder.categorical)
        self.numbers = [
            index for index in range(len(self.tree_names)) if index not in categorical and _varies(self.tree[:, index])
        ]
        self.classes = _classes(prepared, train, len(self.categories))
        weights = None if prepared.weights is None else prepared.weights[train]
        groups = None if prepared.groups is None else prepared.groups[train]
        self.outcomes = Outcomes.of(prepared.target[train], self.classes, weights, groups, seed)
        self.steps: list[_Step] = []
        self.names: list[str] = []
        self.values: list[np.ndarray] = []

    def target_mean(self) -> None:
        for column, size in zip(self.categories, self.sizes, strict=True):
            if size > 2:  # of two categories, trees learn the same from the code
                self._add_means((column,), (size,))

    def crosses(self) -> None:
        for first, second in choose_crosses(self.tree, self.categories, self.sizes, self.outcomes):
            self._add_means((self.categories[first], self.categories[second]), (self.sizes[first], self.sizes[second]))

    def counts(self) -> None:
        for column, size in zip(self.categories, self.sizes, strict=True):
            if size > 2:
                codes = filled_codes(self.tree[:, column], size)
                count = np.log1p(np.bincount(codes, minlength=size + 1)).astype(np.float32)[:, None]
                self._add(_Step("lookup", (column,), (size,), count), [f"count({self.tree_names[column]})"])

    def arithmetic(self) -> None:
        for operation, first, second in choose_pairs(self.tree, self.numbers, self.outcomes):
            name = f"{operation}({self.tree_names[first]}, {self.tree_names[second]})"
            self._add(_Step(operation, (first, second)), [name])

    def groups(self) -> None:
        chosen = choose_group_means(self.tree, self.numbers, self.categories, self.sizes, self.outcomes)
        for column, place in chosen:
            category, size = self.categories[place], self.sizes[place]
            values, codes = self.tree[:, column].astype(np.float64), filled_codes(self.tree[:, category], size)
            present = ~np.isnan(values)
            mean = float(values[present].mean())
            total = np.bincount(codes[present], values[present] - mean, size + 1)
            table = mean + total / (np.bincount(codes[present], minlength=size + 1) + _GROUP_SHRINK)
            step = _Step("deviation", (column, category), (size,), table.astype(np.float32)[:, None])
            self._add(step, [f"deviation({self.tree_names[column]}, {self.tree_names[category]})"])

    def _add_means(self, columns: tuple[int, ...], sizes: tuple[int, ...]) -> None:
        codes = pair_codes(self.tree, columns, sizes)
        table, values = target_means(codes, int(np.prod(np.asarray(sizes) + 1)), self.outcomes)
        name = " x ".join(self.tree_names[column] for column in columns)
        of_class = [""] if self.classes is None else [f", class {code}" for code in self.classes]
        names = [f"mean({name}{suffix})" for suffix in of_class]
        self._add(_Step("lookup", columns, sizes, table.astype(np.float32)), names, values.astype(np.float32))

    def _add(self, step: _Step, names: list[str], values: np.ndarray | None = None) -> None:
        self.steps.append(step)
        self.names += names
        self.values.append(step.apply(self.tree) if values is None else values)


def _varies(values: np.ndarray) -> bool:
    """Whether a number column has more than two values (a look at 1,000 rows decides)."""
    probe = values[:: max(1, len(values) // 1_000)]
    return len(np.unique(probe[~np.isnan(probe)])) > 2


def _classes(prepared: PreparedTable, train: np.ndarray, categories: int) -> tuple[int, ...] | None:
    """Return the class codes that get means: the second of two, else the most frequent ones, ten at most."""
    if prepared.n_classes is None:
        return None
    if prepared.n_classes == 2:
        return (1,)
    counts = np.bincount(prepared.target[train], minlength=prepared.n_classes)
    limit = min(_MAX_CLASSES, max(1, _MAX_COLUMNS // max(categories, 1)))
    return tuple(sorted(np.argsort(-counts, kind="stable")[:limit].tolist()))
