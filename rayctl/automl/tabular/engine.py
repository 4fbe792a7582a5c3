"""The engine for classification and regression on tables (see `rayctl.automl.engine` for the contract)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from rayctl.automl.bundle import read_bundle, write_bundle
from rayctl.automl.engine import Candidate, Fold, FoldOutcome
from rayctl.automl.metrics import Metric, resolve_metric, score
from rayctl.automl.model import DataSummary, RunRequest
from rayctl.automl.tabular.columns import Feature, encode
from rayctl.automl.tabular.families import portfolio
from rayctl.automl.tabular.fitted import FittedModel, fit_model, one_thread, restore_model
from rayctl.automl.tabular.folds import make_folds
from rayctl.automl.tabular.predict import match_columns, output_table
from rayctl.automl.tabular.prepare import PreparedTable, prepare_table
from rayctl.automl.tabular.target import Label
from rayctl.automl.tabular.validate import summarize
from rayctl.errors import InvalidRequest, RayctlError, TrialError

__all__ = ["ENGINE", "TabularEngine"]

_KIND = "tabular"
_MESSAGE_CHARS = 500


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
        return make_folds(prepared.target, prepared.n_classes, request.validation, request.seed)

    def portfolio(self, summary: DataSummary, request: RunRequest) -> Iterator[Candidate]:
        """Yield default candidates, endlessly."""
        return portfolio(summary, request.task, request.seed)

    def evaluate(
        self,
        prepared: PreparedTable,
        fold: Fold,
        candidate: Candidate,
        request: RunRequest,
        *,
        seed: int,
        deadline: float | None,
    ) -> FoldOutcome:
        """Fit on the fold's train part, score on its test part.

        ``predictions`` are (n, classes) probabilities if the model has them, else (n,) class codes or numbers.
        ``deadline`` is not used yet: the default models are short.

        Raises:
            TrialError: ``model-error``, ``out-of-memory``, ``invalid-prediction``, ``invalid-score``,
                ``unknown-model``, ``unknown-parameter``.
        """
        metric = resolve_metric(request.metric, request.task, prepared.n_classes)
        with _blamed_on(candidate), one_thread():
            started = time.perf_counter()
            model = fit_model(prepared, fold.train, candidate, request.task, seed)
            fitted = time.perf_counter()
            matrix = model.matrix(prepared.numeric[fold.test], prepared.codes[fold.test])
            predicted = model.predict(matrix)
            done = time.perf_counter()
            value = _score(metric, model, matrix, prepared.target[fold.test], predicted, candidate)
        if not np.isfinite(value):
            raise TrialError(
                f"{metric.name} is not defined on fold {fold.index} (it came out as {value}).",
                code="invalid-score",
                hint="The test part may hold a single class; use another validation scheme or metric.",
            )
        return FoldOutcome(value, predicted, fitted - started, done - fitted)

    def fit_final(
        self,
        prepared: PreparedTable,
        candidate: Candidate,
        request: RunRequest,
        *,
        seed: int,
        fold: Fold | None = None,
    ) -> bytes:
        """Fit on all rows, or on the fold's train part, and return the bundle. Raises TrialError as `evaluate`."""
        train = np.arange(len(prepared.target), dtype=np.int32) if fold is None else fold.train
        with _blamed_on(candidate), one_thread():
            model = fit_model(prepared, train, candidate, request.task, seed)
            described, members = model.to_bundle()
        info = {
            "task": request.task.value,
            "target": request.target,
            "schema": {feature.name: feature.kind for feature in prepared.features},
            "features": [feature.to_json() for feature in prepared.features],
            "classes": None if prepared.classes is None else list(prepared.classes),
            "model": {
                "name": candidate.model,
                "params": {name: _plain(value) for name, value in candidate.params.items()},
                "seed": seed,
                "rows": len(train),
                **described,
            },
        }
        return write_bundle(_KIND, info, members)

    def predict(
        self, bundle: bytes, table: pa.Table | None, *, proba: bool = False, allow_pickle: bool = False
    ) -> pa.Table:
        """Predict every row of ``table`` (see `Engine.predict`).

        ``allow_pickle`` also loads models of classes that are not built in, by running their code: only for
        bundles of one's own store whose digest has been checked.

        Raises:
            InvalidData: the table does not fit (see `rayctl.automl.tabular.predict.match_columns`).
            InvalidRequest: ``no-probabilities``, ``no-data``, ``untrusted-model``, or a bundle that cannot be read.
        """
        if table is None:
            raise InvalidRequest("This model predicts rows of a table; no table was given.", code="no-data")
        opened = _open(bytes(bundle), allow_pickle)
        if proba and not opened.model.has_proba:
            raise InvalidRequest(
                f"The model {opened.name!r} gives no class probabilities.",
                code="no-probabilities",
                hint="Leave out proba.",
            )
        numeric, codes = encode(opened.features, match_columns(opened.features, table), len(table))
        with one_thread():
            predicted = opened.model.predict(opened.model.matrix(numeric, codes))
        return output_table(predicted, opened.classes, proba)

    def final_forecast(self, bundle: bytes) -> pa.Table | None:
        """Tables have no forecast: always None."""
        return None


@dataclass(frozen=True)
class _Opened:
    """A bundle that was read, checked and restored."""

    name: str
    features: tuple[Feature, ...]
    classes: tuple[Label, ...] | None
    model: FittedModel


@lru_cache(maxsize=2)
def _open(bundle: bytes, allow_pickle: bool) -> _Opened:
    """Restore a model. The last two stay in memory, so that serving one does not unpack it for every request."""
    opened = read_bundle(bundle, kind=_KIND)
    try:
        features = tuple(Feature.from_json(feature) for feature in opened.info["features"])
        classes, described = opened.info["classes"], opened.info["model"]
        model = restore_model(described, opened.members, allow_pickle=allow_pickle)
        return _Opened(described["name"], features, None if classes is None else tuple(classes), model)
    except (KeyError, TypeError) as error:
        raise InvalidRequest(f"The model bundle is incomplete: {error!r}.", code="invalid-bundle") from error


def _score(
    metric: Metric,
    model: FittedModel,
    matrix: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    candidate: Candidate,
) -> float:
    if metric.needs_proba and not model.has_proba:
        decision = model.decision(matrix) if metric.ranks else None
        if decision is None:
            raise TrialError(
                f"The metric {metric.name} needs class probabilities, and {candidate.model!r} has no predict_proba.",
                code="invalid-prediction",
                hint="Choose a metric on labels, for example accuracy.",
            )
        predicted = decision
    return score(metric, truth, predicted, model.n_classes)


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
        raise TrialError(message[:_MESSAGE_CHARS], code="model-error") from error


def _out_of_memory(candidate: Candidate) -> TrialError:
    return TrialError(
        f"{candidate.model!r} ran out of memory.",
        code="out-of-memory",
        hint="Use a smaller model, or give the task more memory.",
    )


def _plain(value: object) -> object:
    """Return a parameter value as JSON, or as its text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else repr(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return repr(value)[:200]


ENGINE = TabularEngine()
