"""The check of a table before a run is accepted: roles of the columns, defects, what gets dropped.

`inspect_table` is the single place that decides which rows and columns are used; validation reports it and
preparation follows it, so both always agree.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayctl.automl.metrics import Metric, metric_of, score
from rayctl.automl.model import DataSummary, RunRequest
from rayctl.automl.relevance import without_effect
from rayctl.automl.search import count_candidates
from rayctl.automl.tabular import columns as col
from rayctl.automl.tabular.advice import advise
from rayctl.automl.tabular.columns import Feature
from rayctl.automl.tabular.families import resolve
from rayctl.automl.tabular.folds import choose_folds, plan_folds
from rayctl.automl.tabular.kinds import decide
from rayctl.automl.tabular.roles import in_order, read_groups, weighed
from rayctl.automl.tabular.target import Target, examples, read_target
from rayctl.errors import FieldError, InvalidData, InvalidRequest

__all__ = ["TablePlan", "check_search_space", "duplicates", "inspect_table", "summarize"]

_METRIC_ROWS = 20
_TOLD, _REASONS = 30, 5
_LISTED = 20


@dataclass(frozen=True)
class TablePlan:
    """What is used of a table, and what the caller should know.

    ``weights`` (float64, mean 1) and ``groups`` (int64) are for the rows that have a target, like ``target.values``.
    """

    features: tuple[Feature, ...]
    target: Target
    weights: np.ndarray | None
    groups: np.ndarray | None
    warnings: tuple[str, ...]


def summarize(table: pa.Table, request: RunRequest) -> DataSummary:
    """Check table and request together and return the summary of the data.

    Raises:
        InvalidData, InvalidRequest: as `inspect_table` and `check_search_space`; InvalidRequest ``unknown-metric``,
            ``invalid-metric``.
    """
    from rayctl.automl.ingest import fingerprint

    plan = inspect_table(table, request)
    classes = plan.target.classes
    remarks = _check_metric(request, plan.target)
    remarks += check_search_space(request)
    usable = col.take(table, plan.target.rows)
    advice = advise(usable, plan.features, plan.target, request.time_column)
    if len(advice) > _TOLD:
        advice = [*advice[:_TOLD], f"There are {len(advice) - _TOLD} more remarks of these kinds."]
    return DataSummary(
        rows=len(plan.target.values),
        columns=list(table.column_names),
        features=[feature.name for feature in plan.features],
        fingerprint=fingerprint(table),
        classes=None if classes is None else [str(label) for label in classes],
        categorical=sum(feature.kind == "category" for feature in plan.features),
        warnings=[*without_effect(request), *remarks, *plan.warnings, *advice],
    )


def _check_metric(request: RunRequest, target: Target) -> list[str]:
    """Import the metric and, if it is the caller's own, call it; return what is to be said about it.

    Raises:
        InvalidRequest: ``unknown-metric``, ``invalid-metric`` (it fails, or gives no finite number).
    """
    n_classes = None if target.classes is None else len(target.classes)
    metric = metric_of(request, n_classes)
    if metric.name == "rmsle" and (target.values < 0).any():
        message = "The metric 'rmsle' is for targets of at least 0, and some values of the target are negative."
        raise InvalidRequest(
            message,
            code="invalid-metric",
            hint="Choose rmse or mae, or shift the target.",
            errors=[{"pointer": "/metric", "message": message}],
        )
    if metric.function is None:
        return []
    # A few rows of every class, and as predictions the same values one row on: what a weak model might say.
    if n_classes is None:
        # From the smallest to the largest: the first rows of the table may all be zero.
        places = np.linspace(0, len(target.values) - 1, min(_METRIC_ROWS, len(target.values))).astype(np.int64)
        truth = np.sort(target.values)[places]
    else:
        _, first = np.unique(target.values, return_index=True)
        truth = target.values[np.concatenate([first, np.arange(min(_METRIC_ROWS, len(target.values)))])]

    def scored(guess: np.ndarray) -> float:
        if n_classes is not None and metric.needs_proba:
            guess = 0.1 / n_classes + 0.9 * np.eye(n_classes)[guess]
        return score(metric, truth, guess, n_classes, classes=target.classes)

    wrong = float("nan")
    try:
        wrong = scored(np.roll(truth, 1))
        problem = None if np.isfinite(wrong) else f"it gave {wrong}"
    except Exception as error:  # the caller's code: anything can come out
        problem = f"{type(error).__name__}: {error}"
    if problem is not None:
        message = f"The metric {metric.name!r} failed on {len(truth)} rows of the data: {problem}."
        raise InvalidRequest(
            message,
            code="invalid-metric",
            hint="It is called as f(y_true, y_pred) and must return one finite number.",
            errors=[{"pointer": "/custom_metric", "message": message}],
        )
    return _is_turned(metric, wrong, lambda: scored(truth))


def _is_turned(metric: Metric, wrong: float, ask: Callable[[], float]) -> list[str]:
    """Return a warning if the caller's metric finds wrong predictions better than right ones (``ask`` scores those)."""
    try:
        right = ask()
    except Exception:  # the caller's code: some metrics have no value where nothing is wrong
        return []
    if not metric.better(wrong, right) or abs(wrong - right) <= 1e-9 * abs(wrong):
        return []
    way = "larger" if metric.greater_is_better else "smaller"
    return [
        f"The metric {metric.name!r} counts as better the {way} it is, and it was {right:g} for right predictions and "
        f"{wrong:g} for wrong ones: set greater_is_better to {not metric.greater_is_better} if that is a mistake."
    ]


def check_search_space(request: RunRequest) -> list[str]:
    """Import every class of the search space and check its parameters; return what is to be said about them.

    Raises:
        InvalidRequest: ``unknown-model``, ``unknown-parameter``, ``wrong-model-type``, ``empty-grid``.
    """
    weighs = request.weight_column is not None or request.class_weight is not None
    unweighed = []
    for position, entry in enumerate(request.search_space or ()):
        empty = [name for name, values in entry.params.items() if not values]
        if empty or not count_candidates([entry]):
            raise InvalidRequest(
                f"The grid of {entry.model!r} has no value for {', '.join(map(repr, empty))}.",
                code="empty-grid",
                hint="Give every parameter at least one value, or leave it out.",
                errors=[
                    {"pointer": f"/search_space/{position}/params/{name}", "message": "no value"} for name in empty
                ],
            )
        resolved = resolve(entry.model, entry.pickled_class, request.task)
        resolved.check({name: values[0] for name, values in entry.params.items()})
        for name, values in entry.params.items():
            for value in values[1:]:
                resolved.check({name: value})
        if weighs and not resolved.takes_weights:
            unweighed.append(f"The model {entry.model!r} takes no weights of rows when it learns.")
    return unweighed


def inspect_table(table: pa.Table, request: RunRequest) -> TablePlan:
    """Decide which rows and columns are used.

    Raises:
        InvalidData: ``empty-table``, ``duplicate-columns``, ``unknown-column``, ``target-in-features``,
            ``missing-target``, ``target-type``, ``one-class``, ``constant-target``, ``non-finite``,
            ``too-few-rows``, ``too-few-groups``, ``unusable-folds``, ``invalid-weights``, ``invalid-times``,
            ``no-features``.
    """
    repeated = duplicates(table.column_names)
    if repeated:
        raise _columns_defect("duplicate-columns", "These columns occur more than once", repeated, "Rename them.")
    if len(table) == 0 or not table.column_names:
        raise InvalidData(
            "The table is empty: it has no rows.",
            code="empty-table",
            hint="Send rows to learn from, with the target and at least one more column.",
        )
    names = _feature_names(table, request)
    target, weights, groups, warnings = _rows(table, request)
    warnings += _check_folds(target, groups, request)
    _check_finite(table.select(names))
    features, dropped = _choose_features(col.take(table, target.rows), names, target.rows)
    if not features:
        raise InvalidData(
            "No column is left to learn from. " + " ".join(dropped),
            code="no-features",
            hint="Add columns that vary from row to row besides the target.",
        )
    return TablePlan(tuple(features), target, weights, groups, (*warnings, *dropped))


def _rows(table: pa.Table, request: RunRequest) -> tuple[Target, np.ndarray | None, np.ndarray | None, list[str]]:
    """Return (the target of the rows that are used, in their order; their weights; their groups; warnings)."""
    target = read_target(table, request.target, request.task)
    warnings = list(target.warnings)
    weights: np.ndarray | None = None
    groups: np.ndarray | None = None

    def rows(name: str) -> pa.Table:
        return col.take(table.select([name]), target.rows)

    if request.time_column is not None and request.validation.scheme == "time_series":
        target, said = in_order(rows(request.time_column), target, request.time_column)
        warnings += said
    if request.weight_column is not None:
        target, weights, said = weighed(rows(request.weight_column), target, request.weight_column)
        warnings += said
    name = request.validation.group_column
    if name is not None:
        groups, said = read_groups(rows(name), name, target.rows)
        warnings += said
    return target, weights, groups, warnings


def _check_folds(target: Target, groups: np.ndarray | None, request: RunRequest) -> list[str]:
    """Return what is to be said about the folds; refuse rows that cannot be split."""
    if target.classes is None and request.validation.scheme != "time_series":
        number = None if groups is None else len(np.unique(groups))
        return choose_folds(len(target.values), None, request.validation, number)[1]
    return plan_folds(target.values, None if target.classes is None else len(target.classes), groups, request)[1]


def _choose_features(
    table: pa.Table, names: list[str], positions: np.ndarray | None
) -> tuple[list[Feature], list[str]]:
    features, notes, dropped = [], [], []
    for name in names:
        decision = decide(name, table.column(name), positions)
        if decision.feature is None:
            dropped.append((name, decision.why))
            continue
        features.append(decision.feature)
        if decision.note:
            notes.append(decision.note)
    copies = _copies(table, features)
    dropped += [(name, f"it is the same as column {of!r}") for name, of in copies.items()]
    if len(notes) > _TOLD:
        notes = [*notes[:_TOLD], f"{len(notes) - _TOLD} more columns are text and were read as numbers or dates."]
    return [feature for feature in features if feature.name not in copies], [*_told(dropped), *notes]


def _told(dropped: list[tuple[str, str]]) -> list[str]:
    """Say of every column why it was dropped; of very many only how many more there are, by reason."""
    told = [f"Column {name!r} was dropped: {why}." for name, why in dropped[:_TOLD]]
    more = Counter(_kind_of_reason(why) for _, why in dropped[_TOLD:])
    return [*told, *(f"{count} more columns were dropped: {why}." for why, count in more.most_common(_REASONS))]


def _kind_of_reason(why: str) -> str:
    """Return a reason without what is about one column only: the name of another, examples."""
    return re.sub(r" \(.*\)$", "", re.sub(r"column ['\"].*$", "another column", why))


def _copies(table: pa.Table, features: list[Feature]) -> dict[str, str]:
    """Return the columns that are equal to an earlier one of the same kind, with the name of that one."""
    first: dict[tuple[str, bytes], str] = {}
    copies = {}
    for feature in features:
        column = table.column(feature.name)
        if feature.kind in ("category", "text") or feature.reading:
            encoded = pc.dictionary_encode(col.texts(column), null_encoding="encode")
            digest = sha256(encoded.indices.to_numpy(zero_copy_only=False).tobytes())
            digest.update(repr(encoded.dictionary.to_pylist()).encode())
        elif feature.kind == "datetime":
            micros, valid = col.timestamps(column)
            digest = sha256(micros.tobytes() + valid.tobytes())
        else:
            digest = sha256((col.numbers(column) + 0.0).tobytes())  # -0.0 and 0.0 are the same
        key = (feature.kind, digest.digest())
        if key in first:
            copies[feature.name] = first[key]
        first.setdefault(key, feature.name)
    return copies


def duplicates(names: list[str]) -> list[str]:
    """Return the names that occur more than once, in order."""
    return [name for name, count in Counter(names).items() if count > 1]


def _columns_defect(code: str, what: str, names: list[str], hint: str) -> InvalidData:
    errors: list[FieldError] = [{"pointer": f"/data/{name}", "message": what} for name in names[:_LISTED]]
    return InvalidData(f"{what}: {_listed(map(repr, names))}.", code=code, hint=hint, errors=errors)


def _listed(texts: Iterable[str], sign: str = ", ") -> str:
    """Join texts; of very many only the first."""
    every = list(texts)
    more = f"{sign}and {len(every) - _LISTED} more" if len(every) > _LISTED else ""
    return sign.join(every[:_LISTED]) + more


def _feature_names(table: pa.Table, request: RunRequest) -> list[str]:
    single = (request.time_column, request.weight_column, request.validation.group_column)
    roles = [*(request.features or ()), *request.id_columns, *(name for name in single if name is not None)]
    unknown = [name for name in dict.fromkeys(roles) if name not in table.column_names]
    if unknown:
        close = difflib.get_close_matches(unknown[0], table.column_names, n=1, cutoff=0.5)
        hint = f"Did you mean {close[0]!r}?" if close else f"Columns: {', '.join(table.column_names[:20])}."
        raise _columns_defect("unknown-column", "These columns are not in the table", unknown, hint)
    no_features = (request.weight_column, request.validation.group_column)
    if request.target in no_features:
        raise _columns_defect(
            "target-in-features",
            "The target cannot have a second role",
            [request.target],
            "Name another column for weight_column and group_column, or leave them out.",
        )
    if request.features is None:
        apart = {request.target, *request.id_columns, *no_features}
        return [name for name in table.column_names if name not in apart]
    if request.target in request.features:
        raise _columns_defect(
            "target-in-features", "The target cannot be a feature as well", [request.target], "Take it out of features."
        )
    return [name for name in dict.fromkeys(request.features) if name not in no_features]


def _check_finite(table: pa.Table) -> None:
    errors: list[FieldError] = []
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_floating(column.type):
            infinite = np.isinf(col.numbers(column))
            if infinite.any():
                message = f"{int(infinite.sum())} infinite values in column {name!r} (rows {examples(infinite)})"
                errors.append({"pointer": f"/data/{name}", "message": message})
    if errors:
        raise InvalidData(
            f"The table has {_listed((error['message'] for error in errors), '; ')}.",
            code="non-finite",
            hint="Replace infinities by numbers, or by missing values.",
            errors=errors,
        )
