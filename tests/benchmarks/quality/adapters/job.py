"""What every adapter shares: reading its job, timing, and handing in predictions. Needs pandas and pyarrow only.

A job is a JSON file named by the first argument. An adapter writes predictions (tables: one column per class, named as
the class, or `prediction`; series: series, time, prediction) and a report with its seconds, versions and settings.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["Job"]


@dataclass
class Job:
    """One fit: the problem, the budget in seconds, the seed, the cores, and where to write.

    ``problem``: binary, multiclass, regression or series. ``folder`` is scratch space of this run alone.
    """

    problem: str
    metric: str
    target: str
    classes: list[str]
    horizon: int
    season: int
    frequency: str
    train: str
    test: str
    budget_s: float
    seed: int
    cpus: int
    options: dict[str, Any]
    folder: str
    predictions: str
    report: str
    seconds: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls) -> Job:
        """Read the job that this process was started for."""
        return cls(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))

    @property
    def is_regression(self) -> bool:
        """Whether a number is predicted for each row."""
        return self.problem == "regression"

    def frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the training rows with their target, and the test features."""
        return pd.read_parquet(self.train), pd.read_parquet(self.test)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Measure a part: ``fit`` (what the budget is for) or ``predict``. Imports and reading are in neither."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] = time.perf_counter() - began

    def hand_in(self, predictions: Any, classes: Sequence[Any] | None, packages: Sequence[str]) -> None:
        """Write predictions and report. ``classes``: what the columns of probabilities stand for."""
        if isinstance(predictions, pd.DataFrame):
            frame = predictions.reset_index(drop=True)
        elif self.is_regression:
            frame = pd.DataFrame({"prediction": predictions})
        else:
            frame = pd.DataFrame(predictions)
        if classes is not None:
            frame.columns = [str(label) for label in classes]
        frame.to_parquet(self.predictions, index=False)
        versions = {"python": platform.python_version()}
        for package in packages:
            try:
                versions[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                versions[package] = "absent"
        report = {
            "fit_s": self.seconds["fit"],
            "predict_s": self.seconds["predict"],
            "versions": versions,
            "settings": self.options,
            "notes": self.notes,
        }
        Path(self.report).write_text(json.dumps(report, default=str), encoding="utf-8")
