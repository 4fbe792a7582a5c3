"""The bundle of a tabular model: the encoder, and per weighted trial the models of its folds.

``info``: ``task``, ``target``, ``schema`` (input column → kind), the encoder's part, ``classes``, ``settings`` of the
combination, and ``trials``: per trial ``trial``, ``model``, ``params``, ``weight``, ``bytes`` and ``folds``: names of
its members with the fold's index (None: fitted on all rows). Each member is a bundle by itself (see
`rayctl.automl.tabular.fitted`), kept as it came out of its task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rayctl.automl.bundle import Member, write_bundle
from rayctl.automl.engine import Candidate, Combination, Fold, FoldOutcome
from rayctl.automl.model import RunRequest
from rayctl.automl.tabular.prepare import PreparedTable
from rayctl.automl.tabular.thinning import BUDGET_US, CALL_US, kept_models, most_us, row_us, thinned_forest
from rayctl.errors import TrialError

__all__ = ["KIND", "assemble"]

KIND = "tabular"


def assemble(
    prepared: PreparedTable,
    folds: Sequence[Fold],
    candidates: Mapping[int, Candidate],
    outcomes: Mapping[int, Sequence[FoldOutcome]],
    combination: Combination,
    request: RunRequest,
) -> bytes:
    """Return the bundle of the weighted trials (see `Engine.assemble`).

    If there is a fold of all rows, each trial is its model alone; else the models of all scored folds are averaged.

    Raises:
        TrialError: ``model-error``: a weighted trial has no stored model.
    """
    info, members = prepared.encoder.to_members()
    whole = [place for place, fold in enumerate(folds) if not fold.scored]
    used = whole[-1:] or list(range(len(folds)))
    blobs: dict[int, list[bytes]] = {}
    for trial in sorted(combination.weights):
        models = [outcomes[trial][place].model for place in used]
        if not all(len(model) for model in models):
            raise TrialError(
                f"Trial {trial} has no stored model of a fold.",
                code="model-error",
                hint="Extend the run: the trial is fitted again.",
            )
        blobs[trial] = [thinned_forest(np.ascontiguousarray(blob).tobytes(), models=len(used)) for blob in models]
    costs = {trial: [row_us(blob) for blob in parts] for trial, parts in blobs.items()}
    trials = []
    limit = most_us(request)
    if limit is None:
        places = kept_models(costs, combination.weights)
    else:
        called = {trial: [CALL_US + cost for cost in parts] for trial, parts in costs.items()}
        places = kept_models(called, combination.weights, min(limit, BUDGET_US), fewest=1)
    for trial, kept in places.items():
        parts: list[dict[str, Any]] = []
        size = 0
        for position in kept:
            place, data = used[position], blobs[trial][position]
            name = f"trial-{trial}/fold-{place}"
            members[name] = Member(data, "bundle")
            size += len(data)
            parts.append({"member": name, "fold": folds[place].index if folds[place].scored else None})
        trials.append(
            {
                "trial": trial,
                "model": candidates[trial].model,
                "params": {name: _plain(value) for name, value in candidates[trial].params.items()},
                "weight": combination.weights[trial],
                "bytes": size,
                "folds": parts,
            }
        )
    info = {
        **info,
        "task": request.task.value,
        "target": request.target,
        "schema": {feature.name: feature.kind for feature in prepared.features},
        "classes": None if prepared.classes is None else list(prepared.classes),
        "rows": len(prepared.target),
        "settings": dict(combination.settings),
        "trials": trials,
    }
    return write_bundle(KIND, info, members)


def _plain(value: object) -> object:
    """Return a parameter value as JSON, or as its text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else repr(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return repr(value)[:200]
