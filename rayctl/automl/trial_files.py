"""What finished trials leave in the artifact store, so that nothing is computed twice.

One folder holds the trials of one question: the same tenant, data, target, folds, metric, seed and versions. Each
trial has ``<key>.json`` (configuration, leaderboard row, what each fold gave) and, while it may be part of an
ensemble, ``<key>.npz`` (validation predictions and fitted models). A restarted trainer, a continued run and a later
run of the same question all read them. Damaged or missing files cost a repetition, never a wrong result.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from rayctl.automl.actions import FoldResult
from rayctl.automl.engine import Candidate, FoldOutcome
from rayctl.automl.model import LeaderboardRow, RunRequest, TaskType
from rayctl.automl.search import candidate_key
from rayctl.errors import NotFound
from rayctl.state.artifacts import ArtifactStore
from rayctl.tenancy.codec import body_of
from rayctl.tenancy.environment import digest
from rayctl.tenancy.model import TenantConfig
from rayctl.tenancy.wire import pack, sorted_deep

__all__ = ["REUSE", "FoundTrial", "TrialFiles", "forget_data", "prune", "question_folder"]

REUSE = "reuse"
_FORMAT = 1
_NOT_PART_OF_THE_QUESTION = frozenset(
    {"data", "search_space", "time_budget_s", "max_trials", "trial_timeout_s", "resources", "trainer_resources"}
    | {"trainer_runtime_env", "max_parallel", "name", "labels", "reuse", "ensemble", "stacking", "calibrate", "levels"}
    | {"tenant", "replay_of", "continues", "max_predict_ms"}
)


@dataclass(frozen=True)
class FoundTrial:
    """One trial of an earlier run."""

    candidate: Candidate
    results: dict[int, FoldResult]
    row: LeaderboardRow


def question_folder(
    request: RunRequest, fingerprint: str, versions: Mapping[str, str], tenant: TenantConfig | None = None
) -> str:
    """Return the folder of all trials that answer the same question (see the module's text).

    ``fingerprint``: of the table. ``versions``: of the libraries that results depend on. ``tenant``: what the tasks
    carry; its environment counts, and its settings where code of the caller's own can read them. The windows of a
    forecast are not part of it: they may follow from the time budget or be those of a continued run, so the trainer
    tells folds apart itself.
    """
    implied = _NOT_PART_OF_THE_QUESTION | ({"validation"} if request.task is TaskType.FORECASTING else set())
    asked = request.model_dump(mode="json", exclude=set(implied))
    parts = {"asked": asked, "ensemble": request.delivers_ensemble, "versions": dict(versions), "format": _FORMAT}
    if tenant is not None and (carried := _carried(request, tenant)):
        parts["tenant"] = carried
    question = sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"{REUSE}/{request.tenant}/{fingerprint[:32]}/{question[:32]}"


def _carried(request: RunRequest, tenant: TenantConfig) -> list[str]:
    """Return what of a tenant's configuration scores can depend on; empty: nothing."""
    found = [] if tenant.environment.is_plain else [digest(tenant.environment)]
    if request.custom_metric is not None or any("." in entry.model for entry in request.search_space or ()):
        read = {name: value for name, value in body_of(tenant).items() if name in ("settings", "secrets", "artifacts")}
        found.append(sha256(pack(sorted_deep(read))).hexdigest())
    return found


def forget_data(store: ArtifactStore, data_key: str) -> None:
    """Remove what was learned from a table that is removed itself, for every tenant.

    ``data_key``: ``data/<fingerprint>.arrow``.
    """
    fingerprint = data_key.rsplit("/", 1)[1].partition(".")[0]
    # reuse/<tenant>/<fingerprint>/<question>/…
    folders = {tuple(file.key.split("/")[:3]) for file in store.list(REUSE)}
    for folder in sorted(folders):
        if folder[2] == fingerprint[:32]:
            store.delete("/".join(folder))


def prune(store: ArtifactStore, most_bytes: int) -> int:
    """Remove the questions to which nothing was added for the longest time until all take at most ``most_bytes``.

    Returns the number of questions removed.
    """
    sizes: dict[str, int] = {}
    newest: dict[str, float] = {}
    for file in store.list(REUSE):
        folder = file.key.rsplit("/", 1)[0]
        sizes[folder] = sizes.get(folder, 0) + file.bytes
        newest[folder] = max(newest.get(folder, 0.0), file.changed_at)
    removed, total = 0, sum(sizes.values())
    for folder in sorted(sizes, key=lambda folder: newest[folder]):
        if total <= most_bytes:
            break
        store.delete(folder)
        total -= sizes[folder]
        removed += 1
    return removed


class TrialFiles:
    """The trials in one folder of a store. All methods may raise `rayctl.errors.Unavailable`."""

    def __init__(self, store: ArtifactStore, folder: str) -> None:
        self._store = store
        self._folder = folder

    def keeps(self, candidate: Candidate) -> bool:
        """Whether trials of a candidate are kept: not of a caller's own pickled class, which is never found again."""
        return candidate.pickled_class is None

    def save(
        self,
        candidate: Candidate,
        row: LeaderboardRow,
        results: Mapping[int, FoldResult],
        outcomes: Mapping[int, FoldOutcome],
    ) -> None:
        """Keep a trial. ``outcomes``: with predictions and models, or empty if only its results are worth keeping.

        Nothing is kept of a candidate that it does not keep (see `keeps`).
        """
        if not self.keeps(candidate):
            return
        key = candidate_key(candidate)
        index = {
            "format": _FORMAT,
            "results": {str(fold): asdict(result) for fold, result in results.items()},
        }
        try:
            index["row"] = row.model_dump(mode="json")
            json.dumps(index)
        except (TypeError, ValueError):
            return  # parameters that JSON cannot express: such a trial cannot be recognised again
        if outcomes:
            # Folds that were taken over from an earlier run are in the old file only.
            old = self.load(candidate) if results.keys() - outcomes.keys() else {}
            kept = {fold: outcome for fold, outcome in old.items() if _belongs(outcome, results.get(fold))}
            # The arrays first: an index entry must not name what is not there.
            stored = self._store.put(f"{self._folder}/{key}.npz", _pack(kept | dict(outcomes)), durable=False)
            index["arrays"] = stored.sha256
        self._store.put(f"{self._folder}/{key}.json", json.dumps(index).encode(), durable=False)

    def find(self) -> dict[str, FoundTrial]:
        """Return the trials that are there: candidate key → trial, in the order of their old numbers."""
        found = {}
        for file in self._store.list(self._folder):
            name = file.key.rsplit("/", 1)[1]
            if name.endswith(".json"):
                trial = _read(self._get(file.key))
                # Through JSON some parameters become others (a tuple a list): that is not the same configuration.
                if trial is not None and candidate_key(trial.candidate) == name.removesuffix(".json"):
                    found[name.removesuffix(".json")] = trial
        return dict(sorted(found.items(), key=lambda item: (item[1].row.trial, item[0])))

    def load(self, candidate: Candidate) -> dict[int, FoldOutcome]:
        """Return what is kept of a trial's folds: predictions and models. Empty if nothing (usable) is."""
        key = f"{self._folder}/{candidate_key(candidate)}"
        text = self._get(f"{key}.json")
        trial, digest = _read(text), _digest(text)
        if trial is None or digest is None:
            return {}
        data = self._get(f"{key}.npz")
        # Another run may be writing the same trial, and unsynced files may be damaged after a power cut.
        if data is None or sha256(data).hexdigest() != digest:
            return {}
        return _unpack(data, trial.results)

    def _get(self, key: str) -> bytes | None:
        try:
            return self._store.get(key)
        except NotFound:
            return None


def _read(text: bytes | None) -> FoundTrial | None:
    if text is None:
        return None
    try:
        index = json.loads(text)
        if index["format"] != _FORMAT or index.get("pickled"):  # older versions kept pickled classes' trials, too
            return None
        row = LeaderboardRow.model_validate(index["row"])
        results = {int(fold): FoldResult(**result) for fold, result in index["results"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # cut short by a crash, or of another version
    return FoundTrial(Candidate(row.model, dict(row.params)), results, row)


def _digest(text: bytes | None) -> str | None:
    """Return the sha256 of the arrays that an index entry (which can be read) belongs to."""
    try:
        found = json.loads(text or b"null")
    except ValueError:
        return None
    return found.get("arrays") if isinstance(found, dict) else None


def _belongs(outcome: FoldOutcome, result: FoldResult | None) -> bool:
    return result is not None and (outcome.score, outcome.stopped_at) == (result.score, result.stopped_at)


def _pack(outcomes: Mapping[int, FoldOutcome]) -> memoryview:
    import numpy as np

    arrays: dict[str, Any] = {}
    for fold, outcome in outcomes.items():
        arrays |= {f"predictions{fold}": outcome.predictions, f"model{fold}": outcome.model}
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **arrays)
    return out.getbuffer()


def _unpack(data: bytes, results: Mapping[int, FoldResult]) -> dict[int, FoldOutcome]:
    import numpy as np

    found = {}
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            for fold, result in results.items():
                if f"model{fold}" in arrays:
                    found[fold] = FoldOutcome(
                        result.score,
                        arrays[f"predictions{fold}"],
                        result.fit_s,
                        result.predict_s,
                        arrays[f"model{fold}"],
                        result.stopped_at,
                    )
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile):
        return {}
    return found
