"""Where results lie: one small file per split of a table and configuration, so that a run can end and go on."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Result", "Store", "Truth"]


@dataclass(frozen=True)
class Result:
    """What one configuration gave on one split.

    ``oof``, ``test``: float32, one number per row: the probability of the second class (binary) or of the true class
    (multiclass, all that a log loss needs), or the predicted number. ``oof`` is in the order of the rows of all folds'
    test parts, one fold after the other. Both are empty unless ``state`` is ``ok``; ``unusable``: the portfolio leaves
    the model out for tables of this size; ``too-long``: it would have taken longer than the learning may; ``failed``.
    ``cpu_s``: CPU seconds of fitting, per fold; ``predicted_s``: what the table of costs says.
    ``capped``: folds whose fit was ended by the time limit.
    """

    state: str
    oof: np.ndarray
    test: np.ndarray
    cpu_s: float = 0.0
    wall_s: float = 0.0
    predicted_s: float = 0.0
    capped: int = 0
    message: str = ""

    def info(self) -> dict[str, Any]:
        """Everything but the arrays."""
        return {name: value for name, value in asdict(self).items() if name not in ("oof", "test")}


@dataclass(frozen=True)
class Truth:
    """The target of one split, in the order of `Result`'s rows: class codes or numbers. ``fold``: of ``oof`` rows."""

    oof: np.ndarray
    fold: np.ndarray
    test: np.ndarray
    rows: int


class Store:
    """A folder of results."""

    def __init__(self, folder: str | None) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        self.root = Path(folder).resolve() if folder else cache / "rayctl-portfolio"

    def _path(self, problem: str, name: str) -> Path:
        return self.root / problem / f"{name}.npz"

    def has(self, problem: str, key: str) -> bool:
        """Whether there is a result."""
        return self._path(problem, key).exists()

    def write(self, problem: str, key: str, result: Result) -> None:
        """Keep a result; whole or not at all."""
        self._save(self._path(problem, key), oof=result.oof, test=result.test, info=json.dumps(result.info()))

    def read(self, problem: str, key: str) -> Result:
        """Return a result. Raises FileNotFoundError."""
        with np.load(self._path(problem, key)) as file:
            return Result(oof=file["oof"], test=file["test"], **json.loads(str(file["info"])))

    def write_truth(self, problem: str, truth: Truth) -> None:
        """Keep the target of a split. Raises ValueError if its results were made with another one."""
        path = self._path(problem, "truth")
        if path.exists():
            known = self.read_truth(problem)
            if not (np.array_equal(known.oof, truth.oof) and np.array_equal(known.test, truth.test)):
                raise ValueError(f"{problem}: the table or its folds changed; remove {path.parent}")
            return
        self._save(path, oof=truth.oof, fold=truth.fold, test=truth.test, rows=np.array(truth.rows))

    def read_truth(self, problem: str) -> Truth:
        """Return the target of a split. Raises FileNotFoundError."""
        with np.load(self._path(problem, "truth")) as file:
            return Truth(file["oof"], file["fold"], file["test"], int(file["rows"]))

    @staticmethod
    def _save(path: Path, **arrays: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.stem + ".part.npz")
        np.savez_compressed(draft, **arrays)
        draft.replace(path)
