"""Fit configurations on the splits of the tables, and keep what they predicted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from rayctl.automl.engine import Fold
from rayctl.automl.model import DataSummary, RunRequest, TaskType, Validation
from rayctl.automl.search import derive_seed, seed_key
from rayctl.automl.tabular.encoder import Encoded
from rayctl.automl.tabular.engine import ENGINE
from rayctl.automl.tabular.families import FAMILIES
from rayctl.automl.tabular.fitted import load_model, one_thread
from rayctl.automl.tabular.portfolio import adapt
from rayctl.automl.tabular.predict import match_columns
from rayctl.automl.tabular.prepare import PreparedTable
from rayctl.errors import RayctlError, TrialError

from .configurations import REFERENCE, Configuration, pool
from .sources import EVERY, KINDS, SOURCES, Source, split, splits
from .store import Result, Store, Truth

__all__ = ["Pair", "measure", "measure_all", "pairs", "problem_name"]

FOLDS = 3
_WALL_S = 300.0  # of one fit; only there so that a fit that hangs ends
_NOTHING = np.empty(0, dtype=np.float32)


@dataclass(frozen=True)
class Pair:
    """One configuration on one split of a table."""

    source: Source
    split: int
    configuration: Configuration

    @property
    def problem(self) -> str:
        """Name of the split."""
        return problem_name(self.source, self.split)


@dataclass(frozen=True)
class Problem:
    """A split, ready to be learned from."""

    request: RunRequest
    summary: DataSummary
    prepared: PreparedTable
    folds: list[Fold]
    test: Encoded
    test_target: np.ndarray


def problem_name(source: Source, number: int) -> str:
    """Return the name of a split of a table."""
    return f"{source.name}-s{number}"


def pairs(kinds: Sequence[str] = KINDS, only: Sequence[str] = ()) -> Iterator[Pair]:
    """Yield all pairs: tables of the kinds in turn, so that a run that ends early has learned something of each."""
    waiting = [
        [source for source in SOURCES.values() if source.kind == kind and (not only or source.name in only)]
        for kind in kinds
    ]
    while any(waiting):
        for sources in waiting:
            if sources:
                source = sources.pop(0)
                for number in range(splits(source)):
                    for configuration in (REFERENCE, *pool(source.kind)):
                        yield Pair(source, number, configuration)


def measure_all(store: Store, todo: Sequence[Pair], limit_s: float, report: Any = print) -> None:
    """Measure what is not there yet. ``limit_s``: predicted seconds of one fold above which a pair is left out.

    Predicted, not measured, so that what is left out does not depend on what else the machine did.
    """
    missing = [pair for pair in todo if not store.has(pair.problem, pair.configuration.key)]
    report(f"{len(todo)} pairs, {len(missing)} to measure")
    last = ""
    for done, pair in enumerate(missing):
        if pair.problem != last:
            report(f"{done}/{len(missing)} {pair.problem} cpu {time.process_time():.0f} s")
            last = pair.problem
        result = measure(store, pair, limit_s)
        store.write(pair.problem, pair.configuration.key, result)
        if result.state == "failed":
            report(f"  failed: {pair.configuration.model} {dict(pair.configuration.params)}: {result.message}")


@lru_cache(maxsize=1)
def _problem(name: str, number: int) -> Problem:
    source = EVERY[name]
    train, test = split(source, number)
    request = RunRequest(
        task=TaskType.REGRESSION if source.kind == "regression" else TaskType.CLASSIFICATION,
        target=source.target,
        metric=source.metric,
        validation=Validation(folds=FOLDS),
        seed=number,
    )
    table = pa.Table.from_pandas(train, preserve_index=False)
    summary = ENGINE.validate(table, request)
    prepared = ENGINE.prepare(table, request)
    held_out = pa.Table.from_pandas(test, preserve_index=False)
    features = prepared.encoder.features
    encoded = prepared.encoder.transform(match_columns(features, held_out), len(held_out))
    target = test[source.target].to_numpy()
    if prepared.classes is not None:
        codes = {label: code for code, label in enumerate(prepared.classes)}
        target = np.array([codes[label] for label in target], dtype=np.int32)
    return Problem(request, summary, prepared, ENGINE.split(prepared, request), encoded, target)


def measure(store: Store, pair: Pair, limit_s: float) -> Result:
    """Fit the folds of one pair, predict what they have not seen and the held-out rows (by all folds' models)."""
    problem = _problem(pair.source.name, pair.split)
    scored = np.concatenate([fold.test for fold in problem.folds])
    numbers = np.concatenate([np.full(len(fold.test), fold.index) for fold in problem.folds])
    truth = Truth(problem.prepared.target[scored], numbers, problem.test_target, len(scored))
    store.write_truth(pair.problem, truth)
    candidate = pair.configuration.candidate
    if problem.summary.rows > FAMILIES[candidate.model].max_rows:
        return Result("unusable", _NOTHING, _NOTHING)
    if pair.configuration.adapted:
        candidate = adapt(candidate, problem.summary, problem.request)
    cost = ENGINE.cost(problem.summary, problem.request, candidate)
    predicted_s = 0.0 if cost is None else cost.seconds
    if predicted_s > limit_s:
        return Result("too-long", _NOTHING, _NOTHING, predicted_s=predicted_s)
    oof, test, capped = [], np.zeros(()), 0
    cpu, wall = time.process_time(), time.monotonic()
    outside = 0.0
    for fold in problem.folds:
        seed = derive_seed(problem.request.seed, seed_key(candidate), fold.index)
        try:
            outcome = ENGINE.evaluate(
                problem.prepared, fold, candidate, problem.request, seed=seed, deadline=time.monotonic() + _WALL_S
            )
        except TrialError as error:
            return Result("failed", _NOTHING, _NOTHING, message=f"{error.code}: {error.message}")
        oof.append(outcome.predictions)
        capped += outcome.stopped_at is not None
        started = time.process_time()
        try:
            with one_thread():
                model = load_model(outcome.model.tobytes(), allow_pickle=False)
                test = test + model.predict(problem.test.tree if model.view == "tree" else problem.test.dense)
        except RayctlError as error:
            return Result("failed", _NOTHING, _NOTHING, message=f"{error.code}: {error.message}")
        outside += time.process_time() - started
    cpu = time.process_time() - cpu - outside
    return Result(
        "ok",
        _reduced(np.concatenate(oof), truth.oof, pair.source.kind),
        _reduced(test / len(problem.folds), truth.test, pair.source.kind),
        cpu / len(problem.folds),
        (time.monotonic() - wall) / len(problem.folds),
        predicted_s,
        capped,
    )


def _reduced(predicted: np.ndarray, truth: np.ndarray, kind: str) -> np.ndarray:
    if kind == "binary":
        predicted = predicted[:, 1]
    elif kind == "multiclass":
        predicted = predicted[np.arange(len(truth)), truth]
    return predicted.astype(np.float32)
