"""The port between the service and what learns: one engine per task type.

The service (proxy, trainer, tasks) only knows this protocol; `rayctl.automl.tabular` and
`rayctl.automl.forecast` implement it. Engines know neither Ray nor HTTP nor the database, so they are
tested as plain functions. Everything that may run a caller's class (`validate`, `evaluate`,
`fit_final`, `predict`) is only ever called inside a Ray task process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from rayctl.automl.model import DataSummary, RunRequest, TaskType

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["Candidate", "Engine", "Fold", "FoldOutcome", "engine_for"]


@dataclass(frozen=True)
class Candidate:
    """One configuration to try: a model (short name or importable path) and its parameters."""

    model: str
    params: dict[str, Any] = field(default_factory=dict)
    pickled_class: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Fold:
    """One train/test split. For tables both are row positions (int32). For series ``test`` holds the row
    positions to be forecast and ``train`` those before them, in the engine's own row order."""

    index: int
    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class FoldOutcome:
    """What evaluating one candidate on one fold gave.

    ``predictions`` is for the fold's test rows, in their order: shape (n,) or, for class probabilities,
    (n, classes), float64. ``fit_s`` and ``predict_s`` are wall seconds.
    """

    score: float
    predictions: np.ndarray
    fit_s: float
    predict_s: float


class Engine(Protocol):
    """What the service needs of a task type. All methods are deterministic for equal arguments."""

    def validate(self, table: pa.Table, request: RunRequest) -> DataSummary:
        """Check table, request and search space together before a run is accepted.

        Imports the search space's classes, so it runs in a task process.

        Raises:
            InvalidData: the table cannot be learned from; the code names the defect.
            InvalidRequest: unknown metric, model or parameter.
        """

    def prepare(self, table: pa.Table, request: RunRequest) -> Any:
        """Return the shared read-only form of the data that every task gets (numpy-backed, pickles without copies)."""

    def split(self, prepared: Any, request: RunRequest) -> list[Fold]:
        """Return the folds, the same for every trial of the run (seeded by ``request.seed``)."""

    def portfolio(self, summary: DataSummary, request: RunRequest) -> Iterator[Candidate]:
        """Yield the default candidates, strongest and cheapest first, then endless seeded variations.

        The sequence depends on ``summary``, ``request`` and its seed only, never on results or time.
        Must be cheap and must not import model libraries: it is called in the trainer.
        """

    def evaluate(
        self, prepared: Any, fold: Fold, candidate: Candidate, request: RunRequest, *, seed: int, deadline: float | None
    ) -> FoldOutcome:
        """Fit on the fold's train part and score on its test part.

        ``deadline`` (``time.monotonic()`` seconds) is for models that can stop early by themselves.

        Raises:
            TrialError: with the reason, for anything that is the candidate's fault.
        """

    def fit_final(
        self, prepared: Any, candidate: Candidate, request: RunRequest, *, seed: int, fold: Fold | None = None
    ) -> bytes:
        """Fit on all rows (or on ``fold``'s train part) and return the model bundle (see `rayctl.automl.bundle`)."""

    def predict(
        self, bundle: bytes, table: pa.Table | None, *, proba: bool = False, allow_pickle: bool = False
    ) -> pa.Table:
        """Predict with a bundle. ``table`` is checked against the training schema first.

        ``allow_pickle``: also load models of a caller's own class. Only for bundles whose digest was checked against
        the state database, and only in task processes and replicas.

        Tables: one output row per input row, column ``prediction`` (plus ``proba_<class>`` columns if ``proba``).
        Series: ``table`` None forecasts the horizon after the training data; with history it continues from that.

        Raises:
            InvalidData: the table does not fit the training schema (missing column, wrong type), naming each.
            InvalidRequest: ``proba`` for a model without probabilities.
        """

    def final_forecast(self, bundle: bytes) -> pa.Table | None:
        """Return the forecast that belongs to the result (series), or None (tables)."""


def engine_for(task: TaskType) -> Engine:
    """Return the engine of a task type; imports it lazily (model libraries are seconds to import)."""
    name = "rayctl.automl.forecast" if task is TaskType.FORECASTING else "rayctl.automl.tabular"
    return cast(Engine, import_module(name + ".engine").ENGINE)
