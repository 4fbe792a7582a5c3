"""The engine for classification and regression on tables (see `rayctl.automl.engine` for the contract)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from rayctl.automl.baseline import BASELINE
from rayctl.automl.engine import Candidate, Combination, Cost, Fold, FoldOutcome
from rayctl.automl.metrics import Metric, metric_of, score
from rayctl.automl.model import DataSummary, RunRequest
from rayctl.automl.search import Space
from rayctl.automl.tabular.assemble import assemble
from rayctl.automl.tabular.baseline import baseline_model
from rayctl.automl.tabular.combine import combine
from rayctl.automl.tabular.cost import cost
from rayctl.automl.tabular.delivered import open_bundle
from rayctl.automl.tabular.encoder import Encoded
from rayctl.automl.tabular.fit import fit_model
from rayctl.automl.tabular.fitted import FittedModel, one_thread
from rayctl.automl.tabular.folds import make_folds
from rayctl.automl.tabular.importance import importance
from rayctl.automl.tabular.mixing import labels_of, mix
from rayctl.automl.tabular.oof import Validation
from rayctl.automl.tabular.portfolio import portfolio, spaces
from rayctl.automl.tabular.predict import match_columns, output_table
from rayctl.automl.tabular.prepare import PreparedTable, prepare_table
from rayctl.automl.tabular.validate import summarize
from rayctl.errors import InvalidRequest, RayctlError, TrialError

__all__ = ["ENGINE", "TabularEngine"]

_MESSAGE_CHARS = 500
_TIMED_ROWS = 1_000
_TIMED_REPEATS = 3
_MODEL_HINT = "The model said so itself: change its parameters or its code, or leave it out."


class TabularEngine:
    """Stateless; the module's `ENGINE` is the one instance."""

    def validate(self, table: pa.Table, request: RunRequest) -> DataSummary:
        """Check table, request and search space (see `Engine.validate`)."""
        return summarize(table, request)

    def prepare(self, table: pa.Table, request: RunRequest) -> PreparedTable:
        """Return the encoded table. Raises InvalidData like `validate`."""
        return prepare_table(table, request)

    def split(self, prepared: PreparedTable, request: RunRequest) -> list[Fold]:
        """Return the folds over the prepared rows (see `rayctl.automl.tabular.folds`)."""
        return make_folds(prepared, request)

    def portfolio(self, summary: DataSummary, request: RunRequest) -> Sequence[Candidate]:
        """Return the default candidates (see `rayctl.automl.tabular.portfolio`)."""
        return portfolio(summary, request)

    def spaces(self, summary: DataSummary, request: RunRequest) -> Mapping[str, Space]:
        """Return the spaces of adaptive search (see `rayctl.automl.tabular.portfolio`)."""
        return spaces(summary, request)

    def baseline(self, summary: DataSummary, request: RunRequest) -> Candidate:
        """Return the model that ignores the input columns (see `rayctl.automl.tabular.baseline`)."""
        return Candidate(BASELINE)

    def cost(self, summary: DataSummary, request: RunRequest, candidate: Candidate) -> Cost | None:
        """Predict what one fold costs (see `rayctl.automl.tabular.cost`)."""
        return cost(summary, request, candidate)

    def evaluate(
        self,
        prepared: PreparedTable,
        fold: Fold,
        candidate: Candidate,
        request: RunRequest,
        *,
        seed: int,
        deadline: float | None,
        stop_at: int | None = None,
    ) -> FoldOutcome:
        """Fit on the fold's train part, score on its test part (see `Engine.evaluate`).

        ``predictions`` are (n, classes) probabilities (float32) if the model has them, else (n,) codes or numbers.

        Raises:
            TrialError: ``model-error``, ``out-of-memory``, ``trial-timeout``, ``invalid-prediction``,
                ``invalid-score``, ``unknown-model``, ``unknown-parameter``, ``invalid-parameter``, ``missing-extra``.
        """
        metric = metric_of(request, prepared.n_classes)
        with _blamed_on(candidate), one_thread():
            started = time.perf_counter()
            if candidate.model == BASELINE:
                model, stopped_at = baseline_model(prepared, fold, request), None
            else:
                model, stopped_at = fit_model(
                    prepared, fold, candidate, request, seed=seed, deadline=deadline, stop_at=stop_at
                )
            fitted = time.perf_counter()
            rows = (prepared.tree if model.view == "tree" else prepared.dense)[fold.test]
            value, predicted = None, np.empty(_shape(prepared))
            if fold.scored:
                predicted = model.predict(rows)
                value = _score(metric, model, prepared, fold, rows, predicted, candidate)
            done = time.perf_counter()
            blob = model.to_blob()
        if value is not None and not np.isfinite(value):
            raise TrialError(
                f"{metric.name} is not defined on fold {fold.index} (it came out as {value}).",
                code="invalid-score",
                hint="The test part may hold a single class; use another validation scheme or metric.",
            )
        stored = np.frombuffer(blob, dtype=np.uint8)
        return FoldOutcome(value, predicted, fitted - started, done - fitted, stored, stopped_at)

    def combine(
        self,
        prepared: PreparedTable,
        folds: Sequence[Fold],
        outcomes: Mapping[int, Sequence[FoldOutcome]],
        request: RunRequest,
    ) -> Combination:
        """Choose weights (see `Engine.combine` and `rayctl.automl.tabular.combine`)."""
        with one_thread():
            return combine(prepared, folds, outcomes, request)

    def assemble(
        self,
        prepared: PreparedTable,
        folds: Sequence[Fold],
        candidates: Mapping[int, Candidate],
        outcomes: Mapping[int, Sequence[FoldOutcome]],
        combination: Combination,
        request: RunRequest,
    ) -> bytes:
        """Return the bundle (see `Engine.assemble` and `rayctl.automl.tabular.assemble`)."""
        return assemble(prepared, folds, candidates, outcomes, combination, request)

    def blended(
        self,
        prepared: PreparedTable,
        folds: Sequence[Fold],
        outcomes: Mapping[int, Sequence[FoldOutcome]],
        combination: Combination,
        request: RunRequest,
    ) -> pa.Table:
        """Return the validation predictions of a combination (see `Engine.blended`)."""
        validation = Validation.of(prepared, folds)
        parts = {trial: validation.predictions(outcomes[trial]) for trial in combination.weights}
        values = mix(parts, combination.weights, combination.settings)
        rows = validation.rows if prepared.rows is None else prepared.rows[validation.rows]
        groups = np.array([fold.group for fold in validation.folds], dtype=np.int32)
        columns: dict[str, Any] = {"row": rows.astype(np.int64), "fold": groups[validation.fold]}
        if prepared.classes is None:
            return pa.table({**columns, "truth": validation.truth, "prediction": values})
        labels = pa.array(list(prepared.classes))
        columns["truth"] = labels.take(pa.array(validation.truth))
        if values.ndim == 1:
            return pa.table({**columns, "prediction": labels.take(pa.array(values))})
        return pa.table(columns | {f"proba_{label}": values[:, code] for code, label in enumerate(prepared.classes)})

    def predict(
        self, bundle: bytes, table: pa.Table | None, *, proba: bool = False, allow_pickle: bool = False
    ) -> pa.Table:
        """Predict every row of ``table`` (see `Engine.predict`).

        ``allow_pickle`` also loads models of classes that are not built in, by running their code: only for
        bundles of one's own store whose digest has been checked.

        Raises:
            InvalidData: the table does not fit (see `rayctl.automl.tabular.predict.match_columns`).
            InvalidRequest: ``no-probabilities``, ``no-data``, ``untrusted-model``, ``missing-extra``, or a bundle that
                cannot be read.
        """
        if table is None:
            raise InvalidRequest(
                "This model predicts rows of a table; no table was given.",
                code="no-data",
                hint="Send the rows to be predicted.",
            )
        opened = open_bundle(bytes(bundle), allow_pickle=allow_pickle)
        if proba and not opened.has_proba:
            raise InvalidRequest(
                f"The model {opened.trials[0].name!r} gives no class probabilities.",
                code="no-probabilities",
                hint="Leave out proba, or train classes by a model with predict_proba.",
            )
        values = opened.predict_columns(match_columns(opened.encoder.features, table, opened.encoder.categories))
        if opened.classes is None:
            return output_table(values, None)
        predicted = output_table(labels_of(values, opened.settings), opened.classes)
        if proba:
            # Members give probabilities in single precision: made to sum to 1 in double precision here.
            values = values.astype(np.float64)
            values /= values.sum(axis=1, keepdims=True)
            for code, label in enumerate(opened.classes):
                predicted = predicted.append_column(f"proba_{label}", pa.array(values[:, code]))
        return predicted

    def predict_ms(self, bundle: bytes, prepared: PreparedTable) -> float | None:
        """Measure how long 1,000 rows take (see `Engine.predict_ms`); rows of smaller tables are repeated."""
        delivered = open_bundle(bytes(bundle), allow_pickle=True)  # packed by this very task
        places = np.resize(np.arange(len(prepared.target)), _TIMED_ROWS)
        rows = Encoded(prepared.tree[places], prepared.dense[places])
        took = []
        for _ in range(_TIMED_REPEATS):
            started = time.process_time()
            delivered.predict(rows)
            took.append(time.process_time() - started)
        return round(1000 * min(took), 3)

    def final_forecast(self, bundle: bytes) -> pa.Table | None:
        """Tables have no forecast: always None."""
        return None

    def importance(
        self,
        bundle: bytes,
        prepared: PreparedTable,
        folds: Sequence[Fold],
        request: RunRequest,
        *,
        seed: int,
        deadline: float | None,
        allow_pickle: bool = False,
    ) -> list[dict[str, Any]] | None:
        """Return permutation importances of the input columns (see `rayctl.automl.tabular.importance`)."""
        delivered = open_bundle(bytes(bundle), allow_pickle=allow_pickle)
        return importance(delivered, prepared, folds, request, seed=seed, deadline=deadline)


def _shape(prepared: PreparedTable) -> tuple[int, ...]:
    return (0,) if prepared.n_classes is None else (0, prepared.n_classes)


def _score(
    metric: Metric,
    model: FittedModel,
    prepared: PreparedTable,
    fold: Fold,
    rows: np.ndarray,
    predicted: np.ndarray,
    candidate: Candidate,
) -> float:
    if metric.needs_proba and not model.has_proba:
        decision = model.decision(rows) if metric.ranks else None
        if decision is None:
            raise TrialError(
                f"The metric {metric.name} needs class probabilities, and {candidate.model!r} has no predict_proba.",
                code="invalid-prediction",
                hint="Choose a metric on labels, for example accuracy.",
            )
        predicted = decision
    weights = None if prepared.weights is None else prepared.weights[fold.test]
    truth = prepared.target[fold.test]
    if metric.function is None:
        return score(metric, truth, predicted, model.n_classes, weights, prepared.classes)
    try:
        return score(metric, truth, predicted, model.n_classes, weights, prepared.classes)
    except MemoryError:
        raise
    except Exception as error:  # the caller's code: anything can come out
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise TrialError(
            f"The metric {metric.name!r} failed on fold {fold.index}: {why}"[:_MESSAGE_CHARS],
            code="invalid-score",
            hint="It is called as f(y_true, y_pred) and must return one number for the test rows of every fold.",
        ) from error


@contextmanager
def _blamed_on(candidate: Candidate) -> Iterator[None]:
    """Turn whatever a model raises into a TrialError; interrupts and exits of the process pass through."""
    try:
        yield
    except TrialError:
        raise
    except RayctlError as error:
        raise TrialError(error.message, code=error.code, hint=error.hint) from error
    except MemoryError as error:
        raise _out_of_memory(candidate) from error
    except Exception as error:  # the model is foreign code: any type is possible
        if "bad_alloc" in str(error) or "bad allocation" in str(error):  # how native libraries say MemoryError
            raise _out_of_memory(candidate) from error
        lines = str(error).strip().splitlines() or [""]
        message = f"{candidate.model}: {type(error).__name__}: {lines[-1].strip()}"
        raise TrialError(message[:_MESSAGE_CHARS], code="model-error", hint=_MODEL_HINT) from error


def _out_of_memory(candidate: Candidate) -> TrialError:
    return TrialError(
        f"{candidate.model!r} ran out of memory.",
        code="out-of-memory",
        hint="Use a smaller model, or give the task more memory.",
    )


ENGINE = TabularEngine()
