"""The encoder of a table: input columns to the two matrices that models see. It never sees the target.

*tree*: numbers as they are, category codes, date parts, text components; NaN for everything missing.
*dense*: no missing values; numbers as normal scores, categories one-hot (see `rayctl.automl.tabular.dense`).

As it knows nothing of the target, it is learned once, from all rows, and every task of a run reads the same matrices.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from rayctl.automl.bundle import DAMAGED, Member
from rayctl.automl.tabular.arrays import pack_arrays, unpack_arrays
from rayctl.automl.tabular.columns import Feature
from rayctl.automl.tabular.dense import DenseEncoder
from rayctl.automl.tabular.parts import CategoryPart, Column, Part, fit_part, part_from_json
from rayctl.errors import InvalidRequest

__all__ = ["Encoded", "TableEncoder"]

_STATE, _ARRAYS = "encoder/columns.json", "encoder/arrays"


@dataclass(frozen=True)
class Encoded:
    """Rows as models see them: ``tree`` float32 (rows, t) and ``dense`` float32 (rows, d)."""

    tree: np.ndarray
    dense: np.ndarray


@dataclass(frozen=True, eq=False)
class TableEncoder:
    """Learned from input columns only; frozen, picklable, and stored in bundles without code.

    ``features``: the input columns, in order. ``parts``: one per feature. Category codes count from 0 (the most
    frequent category); a category that was not seen is missing (NaN), or rare where rare ones share a code.
    """

    features: tuple[Feature, ...]
    parts: tuple[Part, ...]
    dense: DenseEncoder

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """All encoded columns, in the order of the features; the tree matrix has those with ``tree`` set."""
        return tuple(column for part in self.parts for column in part.columns)

    @cached_property
    def _owners(self) -> tuple[int, ...]:
        return tuple(index for index, part in enumerate(self.parts) for _ in part.columns)

    @cached_property
    def _in_tree(self) -> tuple[int, ...]:
        return tuple(index for index, column in enumerate(self.columns) if column.tree)

    @cached_property
    def tree_names(self) -> tuple[str, ...]:
        """One name per column of the tree matrix."""
        return tuple(self.columns[index].name for index in self._in_tree)

    @cached_property
    def categorical(self) -> tuple[int, ...]:
        """Positions in the tree matrix that hold category codes."""
        return tuple(place for place, index in enumerate(self._in_tree) if self.columns[index].role == "code")

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of category codes of each column in ``categorical``."""
        return tuple(int(self.columns[self._in_tree[place]].size) for place in self.categorical)

    @cached_property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The categories with a code of their own, by input column; most frequent first."""
        pairs = zip(self.features, self.parts, strict=True)
        return {feature.name: part.categories for feature, part in pairs if isinstance(part, CategoryPart)}

    @property
    def dense_width(self) -> int:
        """Number of columns of the dense matrix."""
        return self.dense.width

    @classmethod
    def fit(cls, features: Sequence[Feature], columns: Sequence[pa.ChunkedArray], rows: int, seed: int) -> TableEncoder:
        """Learn from columns of the features' own kinds (see `rayctl.automl.tabular.columns.canonical`)."""
        return cls.fit_encode(features, columns, rows, seed)[0]

    @classmethod
    def fit_encode(
        cls, features: Sequence[Feature], columns: Sequence[pa.ChunkedArray], rows: int, seed: int
    ) -> tuple[TableEncoder, Encoded]:
        """Learn as `fit`, and return the encoded rows as well."""
        parts = tuple(fit_part(feature, column, seed) for feature, column in zip(features, columns, strict=True))
        encoded = _encode(parts, columns, rows)
        described = tuple(column for part in parts for column in part.columns)
        encoder = cls(tuple(features), parts, DenseEncoder.fit(encoded, described))
        return encoder, encoder._split(encoded, ("tree", "dense"))

    def transform(
        self, columns: Sequence[pa.ChunkedArray], rows: int, *, want: Sequence[str] = ("tree", "dense")
    ) -> Encoded:
        """Encode rows. The matrix that is not in ``want`` has no columns."""
        return self._split(_encode(self.parts, columns, rows), want)

    def _split(self, encoded: np.ndarray, want: Sequence[str]) -> Encoded:
        nothing = np.empty((len(encoded), 0), dtype=np.float32)
        whole = len(self._in_tree) == encoded.shape[1]
        tree = (encoded if whole else encoded[:, list(self._in_tree)]) if "tree" in want else nothing
        return Encoded(np.ascontiguousarray(tree), self.dense.transform(encoded) if "dense" in want else nothing)

    @cached_property
    def _tree_places(self) -> dict[int, tuple[int, ...]]:
        return _places(self._owners[index] for index in self._in_tree)

    @cached_property
    def _dense_places(self) -> dict[int, tuple[int, ...]]:
        return _places(self._owners[source] for source in self.dense.sources)

    def tree_of(self, feature_index: int) -> tuple[int, ...]:
        """Return the columns of the tree matrix that come from an input column."""
        return self._tree_places.get(feature_index, ())

    def dense_of(self, feature_index: int) -> tuple[int, ...]:
        """Return the columns of the dense matrix that come from an input column."""
        return self._dense_places.get(feature_index, ())

    def to_members(self) -> tuple[dict[str, Any], dict[str, Member]]:
        """Return (JSON for the bundle's info, members): all that is needed to rebuild the encoder, as plain data."""
        arrays = {f"{index}/{name}": a for index, part in enumerate(self.parts) for name, a in part.arrays().items()}
        arrays |= {f"dense/{name}": array for name, array in self.dense.arrays().items()}
        directory, data = pack_arrays(arrays)
        state = {
            "parts": [part.to_json() for part in self.parts],
            "dense": self.dense.to_json(),
            "arrays": directory,
        }
        info = {"features": [feature.to_json() for feature in self.features]}
        return info, {_STATE: Member(json.dumps(state).encode(), "json"), _ARRAYS: Member(data)}

    @classmethod
    def from_members(cls, info: Mapping[str, Any], members: Mapping[str, Member]) -> TableEncoder:
        """Rebuild an encoder.

        Raises:
            InvalidRequest: ``invalid-bundle``.
        """
        try:
            state = json.loads(members[_STATE].data)
            arrays = unpack_arrays(state["arrays"], members[_ARRAYS].data)
            own = _by_owner(arrays)
            parts = tuple(part_from_json(part, own.get(str(index), {})) for index, part in enumerate(state["parts"]))
            features = tuple(Feature.from_json(feature) for feature in info["features"])
            if len(features) != len(parts):
                raise ValueError("it has not one part per feature")
            width = sum(len(part.columns) for part in parts)
            dense = DenseEncoder.from_json(state["dense"], own["dense"], width)
            return cls(features, parts, dense)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidRequest(
                f"The model bundle is incomplete: {error!r}.", code="invalid-bundle", hint=DAMAGED
            ) from error


def _places(owners: Iterable[int]) -> dict[int, tuple[int, ...]]:
    """Return the positions of each owner."""
    found: dict[int, list[int]] = {}
    for place, owner in enumerate(owners):
        found.setdefault(owner, []).append(place)
    return {owner: tuple(places) for owner, places in found.items()}


def _by_owner(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Return the arrays by what stands before the slash of their names."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        owner, _, rest = name.partition("/")
        found.setdefault(owner, {})[rest] = array
    return found


def _encode(parts: Sequence[Part], columns: Sequence[pa.ChunkedArray], rows: int) -> np.ndarray:
    encoded = np.empty((rows, sum(len(part.columns) for part in parts)), dtype=np.float32)
    start = 0
    for part, column in zip(parts, columns, strict=True):
        width = len(part.columns)
        encoded[:, start : start + width] = part.encode(column)
        start += width
    return encoded
