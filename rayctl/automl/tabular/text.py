"""Free text as a few numbers: hashed words, tf-idf, and the leading directions of a truncated SVD.

The words are hashed (no vocabulary to keep), the directions are learned from a sample of the rows, and only those
hash columns are kept that occur in more than one row, not equally often in all, and carry the most text, so cost and
size stay bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["TextModel"]

_HASHES = 2**16
_KEPT = 8192
_SAMPLE_ROWS = 20_000
_ROWS_AT_ONCE = 20_000
_COMPONENTS = 50
_MAX_CHARS = 5_000


@dataclass(frozen=True, eq=False)
class TextModel:
    """Hashed tf-idf and SVD of one text column.

    ``analyzer``: ``word``, or ``char`` for writing without spaces. ``kept``: the hash columns used (int32, sorted);
    ``idf``: their weights (float32); ``directions``: float32 (kept, components).
    """

    analyzer: str
    kept: np.ndarray
    idf: np.ndarray
    directions: np.ndarray

    @property
    def width(self) -> int:
        """Number of components."""
        return int(self.directions.shape[1])

    @classmethod
    def fit(cls, values: pa.Array, seed: int) -> TextModel:
        """Learn from a text column (type string); rows without text are left out."""
        from sklearn.decomposition import TruncatedSVD
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        present = values.drop_null()
        rng = np.random.default_rng(seed)
        if len(present) > _SAMPLE_ROWS:
            chosen = np.sort(rng.choice(len(present), _SAMPLE_ROWS, replace=False))
            present = present.take(pa.array(chosen))
        analyzer = _analyzer(present)
        counts = _hashed(present, analyzer)
        rows_with = np.bincount(counts.indices, minlength=_HASHES)
        useful = np.flatnonzero((rows_with > 1) & _varies(counts, rows_with))
        if len(useful) > _KEPT:
            useful = np.sort(useful[np.argsort(-rows_with[useful], kind="stable")[:_KEPT]])
        idf = (np.log((1 + len(present)) / (1 + rows_with[useful])) + 1).astype(np.float32)
        width = min(_COMPONENTS, len(useful) - 1, len(present) - 1)
        if width < 1:
            return cls(analyzer, np.empty(0, np.int32), np.empty(0, np.float32), np.empty((0, 0), np.float32))
        # One thread: the last bits of a sum depend on how many threads share it, and equal data has equal models.
        with threadpool_limits(limits=1):
            svd = TruncatedSVD(width, random_state=seed % 2**32).fit(_weighted(counts, useful, idf))
        directions = np.ascontiguousarray(svd.components_.T, dtype=np.float32)
        return cls(analyzer, useful.astype(np.int32), idf, directions)

    def transform(self, values: pa.Array) -> np.ndarray:
        """Return float32 (rows, width); rows without text are zero."""
        if not self.width:
            return np.zeros((len(values), 0), dtype=np.float32)
        components = np.empty((len(values), self.width), dtype=np.float32)
        # In parts: the words of many long texts take far more memory than what is kept of them.
        for start in range(0, len(values), _ROWS_AT_ONCE):
            part = values.slice(start, _ROWS_AT_ONCE).fill_null("")
            weighted = _weighted(_hashed(part, self.analyzer), self.kept, self.idf)
            components[start : start + _ROWS_AT_ONCE] = weighted @ self.directions
        return components

    def to_json(self) -> dict[str, Any]:
        """Return the small part of the state."""
        return {"analyzer": self.analyzer}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the large part of the state."""
        return {"kept": self.kept, "idf": self.idf, "directions": self.directions}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> TextModel:
        """Rebuild a model. Raises ValueError if its arrays do not fit together."""
        kept, idf, directions = arrays["kept"], arrays["idf"], arrays["directions"]
        sound = kept.dtype == np.int32 and kept.ndim == 1 and kept.shape == idf.shape and directions.ndim == 2
        if not sound or len(directions) != len(kept) or (len(kept) and not 0 <= kept.min() <= kept.max() < _HASHES):
            raise ValueError("the arrays of a text model do not fit together")
        if value["analyzer"] not in ("word", "char"):
            raise ValueError(f"unknown analyzer {value['analyzer']!r}")
        return cls(value["analyzer"], kept, idf, directions)


def _analyzer(values: pa.Array) -> str:
    """Choose by the length of what stands between spaces: Chinese, Japanese or Thai sentences have none."""
    probe = [text for text in values.slice(0, 200).to_pylist() if text]
    letters = sum(map(len, probe))
    foreign = sum(1 for text in probe for mark in text if ord(mark) > 0x0E00)
    return "char" if letters and foreign > 0.3 * letters else "word"


def _hashed(values: pa.Array, analyzer: str) -> Any:
    """Return word counts per hash: sparse (rows, 2**16)."""
    from sklearn.feature_extraction.text import HashingVectorizer

    options: dict[str, Any] = {"n_features": _HASHES, "alternate_sign": False, "norm": None, "dtype": np.float32}
    if analyzer == "char":
        options |= {"analyzer": "char", "ngram_range": (1, 2)}
    return HashingVectorizer(**options).transform(pc.utf8_slice_codeunits(values, 0, _MAX_CHARS).to_pylist())


def _varies(counts: Any, rows_with: np.ndarray) -> np.ndarray:
    """Whether a hash column tells rows apart: some lack it, or have it more often than others. Bool (2**16,)."""
    rows = counts.shape[0]
    total = np.bincount(counts.indices, weights=counts.data, minlength=_HASHES)
    squares = np.bincount(counts.indices, weights=counts.data.astype(np.float64) ** 2, minlength=_HASHES)
    return np.asarray((rows_with < rows) | (squares * rows > total**2))


def _weighted(counts: Any, kept: np.ndarray, idf: np.ndarray) -> Any:
    """Return tf-idf rows of length 1: sparse (rows, kept), with 1 + log(count) as the frequency of a word."""
    from sklearn.preprocessing import normalize

    chosen = counts[:, kept]
    chosen.data = (1 + np.log(chosen.data)) * idf[chosen.indices]
    return normalize(chosen, copy=False)
