"""Where things are kept, and the small documents that pass between the parts."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["HERE", "SERIES", "TABLES", "Layout", "Problem", "append_line", "read_lines", "sha256", "write_json"]

HERE = Path(__file__).resolve().parent
TABLES, SERIES = "tables", "series"


@dataclass(frozen=True)
class Problem:
    """One data set as it was written for the frameworks.

    ``kind``: tables or series. ``task``: its name. ``split``: number of the split, which is also its seed.
    ``problem``: binary, multiclass, regression or series. ``metric``: what is scored. ``classes``: sorted labels.
    ``horizon``, ``season`` (steps) and ``frequency`` (pandas alias) are for series. ``sha256``: of each file.
    """

    kind: str
    task: str
    split: int
    problem: str
    metric: str
    target: str
    rows: int
    columns: int
    classes: tuple[str, ...] = ()
    horizon: int = 0
    season: int = 0
    frequency: str = ""
    sha256: Mapping[str, str] | None = None

    @property
    def key(self) -> str:
        """Name of the task-split."""
        return f"{self.task}-s{self.split}"

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Problem:
        """Read what was written as JSON."""
        return cls(**{**document, "classes": tuple(document["classes"])})


@dataclass(frozen=True)
class Layout:
    """The work folder. Test targets lie apart from everything whose path a framework is told."""

    root: Path

    @classmethod
    def of(cls, folder: str | None) -> Layout:
        """Return the given folder, or one below the user's cache."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        return cls(Path(folder).resolve() if folder else cache / "rayctl-quality")

    def data(self, problem_key: str) -> Path:
        """Folder with ``train.parquet``, ``test.parquet`` (features only) and ``problem.json``."""
        return self.root / "data" / problem_key

    def truth(self, problem_key: str) -> Path:
        """File with the test target; only the scorer reads it."""
        return self.root / "truth" / f"{problem_key}.parquet"

    @property
    def results(self) -> Path:
        """One line per run, in the order in which they ended."""
        return self.root / "results.jsonl"

    @property
    def runs(self) -> Path:
        """One folder per run: job, predictions, report, log."""
        return self.root / "runs"

    def venv(self, name: str) -> Path:
        """Environment of a peer."""
        return self.root / "venvs" / name


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_json(path: Path, document: Any) -> None:
    """Write a JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(document, indent=1, default=str) + "\n", encoding="utf-8")
    draft.replace(path)


def append_line(path: Path, document: Mapping[str, Any]) -> None:
    """Append one JSON line and make sure that it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(document, default=str) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return all whole lines; the last one may be cut off where the benchmark was interrupted."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
