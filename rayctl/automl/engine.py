"""The port between the service and what learns: one engine per task type.

The service (proxy, trainer, tasks) only knows this protocol; `rayctl.automl.tabular` and
`rayctl.automl.forecast` implement it. Engines know neither Ray nor HTTP nor the database, so they are
tested as plain functions. Everything that may run a caller's class (`validate`, `evaluate`, `combine`,
`assemble`, `predict`) is only ever called inside a Ray task process.

How a model comes about: every trial is evaluated on the scored folds; each fold gives a score, predictions of
rows that its model has not seen, and the fitted model itself. `combine` turns the validation predictions of the
best trials into weights; `assemble` packs the models of the weighted trials into one bundle. Folds that are not
scored are fitted only for trials that may be delivered: all rows at once for a single refitted model, or the
forecast of the horizon after the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from rayctl.automl.model import DataSummary, RunRequest, TaskType

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from rayctl.automl.search import Space

__all__ = ["Candidate", "Combination", "Cost", "Engine", "Fold", "FoldOutcome", "engine_for"]


@dataclass(frozen=True)
class Candidate:
    """One configuration to try: a model (short name or importable path) and its parameters."""

    model: str
    params: dict[str, Any] = field(default_factory=dict)
    pickled_class: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Fold:
    """One task's part of the data.

    For tables ``train`` and ``test`` are row positions (int32). For series ``test`` holds the row positions to be
    forecast and ``train`` those before them, in the engine's own row order.

    ``group``: folds of one group are parts of one resampling (a rolling-origin window cut into chunks of series);
    the leaderboard shows one score per group. ``weight`` is the fold's share within its group.
    ``scored`` False: fitted only for what is delivered; ``test`` is empty. Such folds come after all scored ones.
    """

    index: int
    train: np.ndarray
    test: np.ndarray
    group: int = 0
    weight: float = 1.0
    scored: bool = True


@dataclass(frozen=True)
class FoldOutcome:
    """What evaluating one candidate on one fold gave.

    ``score`` is None for folds that are not scored. ``predictions`` is for the fold's test rows, in their order:
    float32 or float64, shape (n,) or, for class probabilities, (n, classes).
    ``model``: uint8, what `Engine.assemble` needs to put this fold's model into a bundle (empty: nothing).
    ``stopped_at``: rounds, epochs or trees after which *time* ended the fit; None if it ended by itself.
    ``fit_s`` and ``predict_s`` are wall seconds.
    """

    score: float | None
    predictions: np.ndarray
    fit_s: float
    predict_s: float
    model: np.ndarray
    stopped_at: int | None = None


@dataclass(frozen=True)
class Combination:
    """Which trials a delivered model consists of.

    ``weights``: trial number → weight, all positive, summing to 1. ``score``: of the combination on the validation
    predictions, in the metric's own direction. ``settings``: JSON that `assemble` needs (temperature, threshold).
    ``history``: the score after every step of the greedy selection. ``chosen_from``: the trials that the weights were
    chosen from (set by the schedule); empty if one trial is delivered as it is.
    """

    weights: Mapping[int, float]
    score: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[float, ...] = ()
    chosen_from: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cost:
    """Predicted cost of one fold on one core of the machine that the table of costs was measured on.

    ``peak``: folds that share work are uneven; the one that does it takes so many times the mean that ``seconds`` is.
    ``any_part_helps``: whether a fit that time ends early is worth having; if not, one that would be is not begun.
    """

    seconds: float
    memory_bytes: float
    peak: float = 1.0
    any_part_helps: bool = True


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
        """Return the folds, the same for every trial of the run (seeded by ``request.seed``), scored ones first."""

    def portfolio(self, summary: DataSummary, request: RunRequest) -> Sequence[Candidate]:
        """Return the default candidates for data of this size, in the order in which they are worth their cost.

        Depends on ``summary`` and ``request`` only. Must be cheap and must not import model libraries: it is called
        in the trainer.
        """

    def spaces(self, summary: DataSummary, request: RunRequest) -> Mapping[str, Space]:
        """Return, per model that adaptive search may vary after the portfolio, its parameter space. As `portfolio`."""

    def baseline(self, summary: DataSummary, request: RunRequest) -> Candidate:
        """Return the candidate that is evaluated in milliseconds and delivered if no trial ended in time.

        As `portfolio`; it may be known to `evaluate` alone.
        """

    def cost(self, summary: DataSummary, request: RunRequest, candidate: Candidate) -> Cost | None:
        """Predict what one fold of a candidate costs; None for models that are not known. As `portfolio`."""

    def evaluate(
        self,
        prepared: Any,
        fold: Fold,
        candidate: Candidate,
        request: RunRequest,
        *,
        seed: int,
        deadline: float | None,
        stop_at: int | None = None,
    ) -> FoldOutcome:
        """Fit on the fold's train part, predict its test part and score that.

        ``deadline`` (``time.monotonic()`` seconds): models that can stop early end their fit in time for it; the
        shortened fit is a valid outcome. ``stop_at`` repeats an outcome that had ``stopped_at`` exactly.

        Raises:
            TrialError: with the reason, for anything that is the candidate's fault.
        """

    def combine(
        self, prepared: Any, folds: Sequence[Fold], outcomes: Mapping[int, Sequence[FoldOutcome]], request: RunRequest
    ) -> Combination:
        """Choose weights for trials (number → outcomes of all scored folds, in order) by their validation predictions.

        With ``request.delivers_ensemble`` False the best trial alone gets the weight 1.
        """

    def assemble(
        self,
        prepared: Any,
        folds: Sequence[Fold],
        candidates: Mapping[int, Candidate],
        outcomes: Mapping[int, Sequence[FoldOutcome]],
        combination: Combination,
        request: RunRequest,
    ) -> bytes:
        """Return the bundle (see `rayctl.automl.bundle`) of the weighted trials.

        ``outcomes``: per weighted trial one outcome per fold, those of folds that are not scored included, but for
        those that it lacks (`rayctl.automl.partial.Partial` in the settings; only series have several such folds).
        """

    def blended(
        self,
        prepared: Any,
        folds: Sequence[Fold],
        outcomes: Mapping[int, Sequence[FoldOutcome]],
        combination: Combination,
        request: RunRequest,
    ) -> pa.Table:
        """Return the validation predictions of a combination.

        Columns: ``row`` (position in the caller's table), ``fold`` (the group), ``truth``, and ``prediction`` or
        ``proba_<class>`` per class. Series also have their id and time columns.
        """

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

    def predict_ms(self, bundle: bytes, prepared: Any) -> float | None:
        """Measure the milliseconds of one core that a bundle's models take for 1,000 prepared rows; None for series."""

    def final_forecast(self, bundle: bytes) -> pa.Table | None:
        """Return the forecast that belongs to the result (series), or None (tables)."""

    def importance(
        self,
        bundle: bytes,
        prepared: Any,
        folds: Sequence[Fold],
        request: RunRequest,
        *,
        seed: int,
        deadline: float | None,
        allow_pickle: bool = False,
    ) -> list[dict[str, Any]] | None:
        """Return permutation importances, most important first; None where there is nothing to permute.

        Items: ``feature``, ``importance`` (mean loss of score when the column is shuffled; positive is useful),
        ``std`` (over repeats and folds). Each row is predicted only by models that have not seen it, where the bundle
        has such. Stops at ``deadline`` with what it has.
        """


def engine_for(task: TaskType) -> Engine:
    """Return the engine of a task type; imports it lazily (model libraries are seconds to import)."""
    name = "rayctl.automl.forecast" if task is TaskType.FORECASTING else "rayctl.automl.tabular"
    return cast(Engine, import_module(name + ".engine").ENGINE)
