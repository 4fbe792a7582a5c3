"""A tabular bundle that was opened: the models of a combination, ready to predict."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from rayctl.automl.bundle import DAMAGED, MAX_BYTES, read_bundle
from rayctl.automl.tabular.assemble import KIND
from rayctl.automl.tabular.encoder import Encoded, TableEncoder
from rayctl.automl.tabular.fitted import FittedModel, load_model, one_thread
from rayctl.automl.tabular.mixing import mix
from rayctl.automl.tabular.network_model import CHUNK_ROWS
from rayctl.automl.tabular.target import Label
from rayctl.errors import InvalidRequest

__all__ = ["Delivered", "DeliveredTrial", "open_bundle"]

_PARALLEL_ROWS = 200
_MOST_CELLS = 2**26  # 256 MiB of float32


@dataclass(frozen=True)
class DeliveredTrial:
    """One trial of a combination. ``folds``: index of each model's fold (None: fitted on all rows)."""

    trial: int
    name: str
    weight: float
    folds: tuple[int | None, ...]
    models: tuple[FittedModel, ...]


@dataclass(frozen=True, eq=False)
class Delivered:
    """A combination of trials with the encoder of its rows."""

    encoder: TableEncoder
    classes: tuple[Label, ...] | None
    trials: tuple[DeliveredTrial, ...]
    settings: Mapping[str, Any]

    @property
    def has_proba(self) -> bool:
        """Whether it gives class probabilities."""
        return self.classes is not None and all(model.has_proba for trial in self.trials for model in trial.models)

    @property
    def views(self) -> tuple[str, ...]:
        """The forms of rows that its models see."""
        return tuple(sorted({model.view for trial in self.trials for model in trial.models}))

    def predict(self, rows: Encoded, *, fold: int | None = None) -> np.ndarray:
        """Return the combination's predictions: (n, classes) probabilities, (n,) numbers, or (n,) class codes.

        Models that give no probabilities vote; the class with the most votes wins, the first of equal ones.

        Args:
            rows: Encoded rows, in all of `views`.
            fold: Only the models of the fold with this index (those that have not seen its test part). The bundle
                does not have all of them for every trial: the others share the weight, except where a second model
                combines the trials; there a trial without such a model is represented by its others.
        """
        own = [trial for trial in self.trials if fold is None or fold in trial.folds]
        trials = own if own and self.settings.get("stack") is None else self.trials
        work = [
            (trial, model)
            for trial in trials
            for index, model in zip(trial.folds, trial.models, strict=True)
            if fold is None or index == fold or fold not in trial.folds
        ]

        def one(item: tuple[DeliveredTrial, FittedModel]) -> np.ndarray:
            return item[1].predict(rows.tree if item[1].view == "tree" else rows.dense)

        with one_thread():
            if len(work) > 1 and len(rows.tree) * len(work) >= _PARALLEL_ROWS and _cpus() > 1:
                # Models side by side, one thread each: no waiting for one another inside of them.
                with ThreadPoolExecutor(min(_cpus(), len(work))) as pool:
                    found = list(pool.map(one, work))
            else:
                found = [one(item) for item in work]
        per_trial: dict[int, list[np.ndarray]] = {}
        for (trial, _), values in zip(work, found, strict=True):
            per_trial.setdefault(trial.trial, []).append(values)
        parts = {trial: self._averaged(values) for trial, values in per_trial.items()}
        total = sum(trial.weight for trial in trials)
        return mix(parts, {trial.trial: trial.weight / total for trial in trials}, self.settings)

    def predict_columns(self, columns: Sequence[pa.ChunkedArray]) -> np.ndarray:
        """Predict rows by the columns of the encoder's features, not empty; many rows part by part, to bound memory."""
        rows = len(columns[0])
        width = max(1, self.encoder.dense_width + len(self.encoder.tree_names))
        # Whole chunks of the models: how rows are cut makes no difference to what is predicted of them.
        step = CHUNK_ROWS * max(1, _MOST_CELLS // (CHUNK_ROWS * width))
        parts = []
        for start in range(0, rows, step):
            part = [column.slice(start, step) for column in columns]
            parts.append(self.predict(self.encoder.transform(part, len(part[0]), want=self.views)))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _averaged(self, values: Sequence[np.ndarray]) -> np.ndarray:
        if len(values) == 1:
            return values[0]
        if self.classes is not None and values[0].ndim == 1:
            votes = np.zeros((len(values[0]), len(self.classes)))
            for codes in values:
                votes[np.arange(len(codes)), codes] += 1
            return votes.argmax(axis=1)
        total = values[0].astype(np.float64)
        for other in values[1:]:
            total += other
        return total / len(values)


def _cpus() -> int:
    """Return the number of processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def open_bundle(bundle: bytes, *, allow_pickle: bool) -> Delivered:
    """Read, check and restore a bundle. The last two stay in memory, so that serving one does not unpack it again.

    Raises:
        InvalidRequest: ``invalid-bundle``, ``untrusted-model``, ``missing-extra``.
    """
    return _open(bundle, allow_pickle)


@lru_cache(maxsize=2)
def _open(bundle: bytes, allow_pickle: bool) -> Delivered:
    opened = read_bundle(bundle, kind=KIND)
    encoder = TableEncoder.from_members(opened.info, opened.members)
    try:
        classes = opened.info["classes"]
        room = MAX_BYTES
        trials = []
        for described in opened.info["trials"]:
            models, folds = [], []
            for part in described["folds"]:
                blob = opened.members[part["member"]].data
                models.append(load_model(blob, allow_pickle=allow_pickle, max_bytes=room))
                folds.append(None if part["fold"] is None else int(part["fold"]))
            trials.append(
                DeliveredTrial(
                    int(described["trial"]),
                    str(described["model"]),
                    float(described["weight"]),
                    tuple(folds),
                    tuple(models),
                )
            )
        if not trials or not all(trial.models for trial in trials):
            raise ValueError("it has no model")
        settings = dict(opened.info["settings"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(
            f"The model bundle is incomplete: {error!r}.", code="invalid-bundle", hint=DAMAGED
        ) from error
    return Delivered(encoder, None if classes is None else tuple(classes), tuple(trials), settings)
