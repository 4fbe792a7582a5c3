"""The two forms in which models see a table, and the per-process cache of them.

*tree*: one float64 matrix, numbers as they are, category codes, NaN for everything missing.
*dense*: no missing values; numbers imputed and standardised, categories one-hot. What it needs to know of the data
(`DenseEncoder`) is learned from the training part of a fold only, and never from the target.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from typing import Any

import numpy as np

from rayctl.automl.tabular.prepare import PreparedTable

__all__ = ["DenseEncoder", "clear_cache", "dense_view", "tree_matrix", "tree_view"]

_ONE_HOT_CAP = 32
_CACHE_ITEMS = 12
_CACHE_BYTES = 512 * 2**20


def tree_matrix(numeric: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Join numbers and codes: float64 (rows, numeric + categories); missing and unknown categories become NaN."""
    categories = codes.astype(np.float64)
    categories[codes < 0] = np.nan
    return np.ascontiguousarray(np.concatenate([numeric, categories], axis=1))


@dataclass(frozen=True)
class DenseEncoder:
    """Statistics of a training part that turn encoded columns into a dense matrix.

    ``medians``, ``means``, ``scales``: per numeric column. ``flags``: numeric columns that get a column saying
    "was missing". ``kept``: per category column the codes that get a column of their own (most frequent first);
    ``other``: whether it has a column for all remaining and unknown categories (a missing value has none set).
    """

    medians: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    flags: tuple[int, ...]
    kept: tuple[tuple[int, ...], ...]
    other: tuple[bool, ...]

    @classmethod
    def fit(cls, numeric: np.ndarray, codes: np.ndarray, cardinalities: Sequence[int]) -> DenseEncoder:
        """Learn the statistics of training rows."""
        missing = np.isnan(numeric)
        medians = [
            float(np.median(column[~gone])) if not gone.all() else 0.0
            for column, gone in zip(numeric.T, missing.T, strict=True)
        ]
        filled = np.where(missing, np.asarray(medians, dtype=np.float64), numeric)
        means = filled.mean(axis=0) if numeric.shape[1] else np.empty(0)
        scales = filled.std(axis=0) if numeric.shape[1] else np.empty(0)
        scales = np.where(scales > 0, scales, 1.0)
        kept, other = [], []
        for index, size in enumerate(cardinalities):
            column = codes[:, index]
            counts = np.bincount(column[column >= 0], minlength=size)
            order = np.argsort(-counts, kind="stable")  # ties: smaller code first
            seen = [int(code) for code in order if counts[code]]
            kept.append(tuple(seen[:_ONE_HOT_CAP]))
            other.append(len(seen) > _ONE_HOT_CAP)
        flags = tuple(int(index) for index in np.flatnonzero(missing.any(axis=0)))
        return cls(tuple(medians), tuple(means.tolist()), tuple(scales.tolist()), flags, tuple(kept), tuple(other))

    def transform(self, numeric: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return the dense matrix of rows: float64, C order, no missing values."""
        missing = np.isnan(numeric)
        filled = np.where(missing, np.asarray(self.medians, dtype=np.float64), numeric)
        blocks = [(filled - np.asarray(self.means)) / np.asarray(self.scales), missing[:, list(self.flags)]]
        for index, (kept, other) in enumerate(zip(self.kept, self.other, strict=True)):
            column = codes[:, index]
            hot = column[:, None] == np.asarray(kept, dtype=np.int32)[None, :]
            blocks.append(hot)
            if other:
                blocks.append(((column >= 0) & ~hot.any(axis=1))[:, None])
        return np.ascontiguousarray(np.concatenate([block.astype(np.float64) for block in blocks], axis=1))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form kept in bundles (floats survive it exactly)."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> DenseEncoder:
        """Rebuild an encoder from its JSON form."""
        parts = {name: tuple(value[name]) for name in cls.__dataclass_fields__}
        parts["kept"] = tuple(tuple(codes) for codes in parts["kept"])
        return cls(**parts)


class _Cache:
    """A small least-recently-used store of arrays, bounded by number and bytes."""

    def __init__(self) -> None:
        self._items: OrderedDict[tuple[str, ...], tuple[Any, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple[str, ...], make: Callable[[], tuple[Any, int]]) -> Any:
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
                return self._items[key][0]
        value, size = make()
        with self._lock:
            self._items[key] = (value, size)
            while len(self._items) > _CACHE_ITEMS or sum(size for _, size in self._items.values()) > _CACHE_BYTES:
                self._items.popitem(last=False)
        return value

    def clear(self) -> None:
        with self._lock:
            self._items.clear()


_CACHE = _Cache()


def clear_cache() -> None:
    """Forget all cached views (tests, and processes that change runs)."""
    _CACHE.clear()


def tree_view(prepared: PreparedTable) -> np.ndarray:
    """Return the tree matrix of all rows (cached, read-only)."""

    def make() -> tuple[np.ndarray, int]:
        matrix = tree_matrix(prepared.numeric, prepared.codes)
        matrix.flags.writeable = False
        return matrix, matrix.nbytes

    return _CACHE.get((prepared.token, "tree"), make)


def dense_view(prepared: PreparedTable, train: np.ndarray) -> tuple[DenseEncoder, np.ndarray]:
    """Return (encoder fitted on the rows ``train``, dense matrix of all rows), cached and read-only."""

    def make() -> tuple[tuple[DenseEncoder, np.ndarray], int]:
        encoder = DenseEncoder.fit(prepared.numeric[train], prepared.codes[train], prepared.cardinalities)
        matrix = encoder.transform(prepared.numeric, prepared.codes)
        matrix.flags.writeable = False
        return (encoder, matrix), matrix.nbytes

    key = sha256(np.ascontiguousarray(train).data).hexdigest()
    return _CACHE.get((prepared.token, "dense", key), make)
