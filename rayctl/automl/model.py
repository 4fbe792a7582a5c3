"""What callers send and what they get back: the request and the documents of a run.

The same pydantic models serve all three ways in (Ray Client, an actor call inside the cluster, HTTP),
the state database and the command line. Nothing here does I/O and nothing here knows Ray.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

__all__ = [
    "CustomMetric",
    "DataSource",
    "DataSummary",
    "Event",
    "LeaderboardRow",
    "Resources",
    "RunRequest",
    "RunState",
    "RunView",
    "SearchEntry",
    "TaskType",
    "TrialCounts",
    "TrialState",
    "Validation",
    "parse_duration",
]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)\s*")
_UNIT_S = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: Any) -> Any:
    """Turn ``"90s"``, ``"1m30s"``, ``"2h"`` or a number into seconds; other types pass through to validation.

    Raises:
        ValueError: for a text that is not a duration.
    """
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    parts = list(_DURATION.finditer(text))
    if not parts or "".join(part.group(0) for part in parts) != text:
        raise ValueError(f"{value!r} is not a duration; write for example 90s, 10m or 1h30m")
    return sum(float(part.group(1)) * _UNIT_S[part.group(2)] for part in parts)


Seconds = Annotated[float, BeforeValidator(parse_duration)]


class Document(BaseModel):
    """Frozen, and strict about unknown fields: a typing error in a field name is an error, not a surprise."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


class TaskType(str, Enum):
    """What kind of answer is wanted."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    FORECASTING = "forecasting"


class RunState(str, Enum):
    """Life cycle of a run: queued → running → one of the three ends."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the run will never change again."""
        return self in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED)


class TrialState(str, Enum):
    """How one trial ended. ``skipped`` trials were planned but not run to the end (deadline, cancellation)."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class Resources(Document):
    """What one Ray task (or the trainer) reserves: logical CPUs and GPUs, bytes of memory, custom resources."""

    cpus: float = Field(default=1.0, ge=0)
    gpus: float = Field(default=0.0, ge=0)
    memory_bytes: int | None = Field(default=None, gt=0)
    custom: dict[str, float] = Field(default_factory=dict)


class DataSource(Document):
    """Where the table comes from when it is not passed as an object: exactly one of the fields.

    ``uri``: a CSV, Parquet or Arrow file that the service may read. ``upload``: the id of an earlier upload.
    ``columns``: a small table in place, one list per column.
    """

    uri: str | None = None
    upload: str | None = None
    columns: dict[str, list[Any]] | None = None
    format: Literal["csv", "parquet", "arrow"] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> DataSource:
        if sum(source is not None for source in (self.uri, self.upload, self.columns)) != 1:
            raise ValueError("give exactly one of uri, upload and columns")
        return self


class SearchEntry(Document):
    """One estimator of the search space with its parameter grid (every value a list of candidates).

    ``model`` is a short name (``lightgbm``, ``AutoETS``) or an importable path (``package.module.Class``).
    ``pickled_class`` carries a class that workers cannot import; it is accepted over Ray only.
    """

    model: str = Field(min_length=1)
    params: dict[str, list[Any]] = Field(default_factory=dict)
    pickled_class: bytes | None = Field(default=None, repr=False)

    @field_validator("params", mode="before")
    @classmethod
    def _scalars_become_lists(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: list(v) if isinstance(v, (list, tuple)) else [v] for key, v in value.items()}
        return value


class Validation(Document):
    """How trials are scored. ``auto``: stratified or plain k-fold, rolling origin for series.

    ``folds``: number of folds or windows (default: 8, 5 or 3 by the number of rows, 3 windows for series, fewer on
    short data). ``time_series`` uses expanding windows over rows in the order of ``time_column``, or as they are given
    without one. ``group_column``: rows with the same value are never split between training and test part (tables; the
    column is not a feature).
    """

    scheme: Literal["auto", "kfold", "holdout", "time_series"] = "auto"
    folds: int | None = Field(default=None, ge=2, le=50)
    holdout_fraction: float = Field(default=0.25, gt=0, lt=1)
    group_column: str | None = None


class CustomMetric(Document):
    """A caller's own metric: a function ``f(y_true, y_pred) -> float``; it runs in task processes only.

    ``y_true`` are labels (numbers for regression), ``y_pred`` labels, numbers, or with ``needs_proba`` an array
    (n, classes) of probabilities in the order of the sorted labels. ``path`` is importable (``package.module.name``)
    where the tasks run; ``pickled`` carries a function that is not (accepted over Ray only).
    """

    name: str = Field(min_length=1, max_length=100)
    path: str | None = None
    pickled: bytes | None = Field(default=None, repr=False)
    greater_is_better: bool = True
    needs_proba: bool = False

    @model_validator(mode="after")
    def _exactly_one_source(self) -> CustomMetric:
        if (self.path is None) == (self.pickled is None):
            raise ValueError("give exactly one of path and pickled")
        return self


class RunRequest(Document):
    """One AutoML request. Durations are seconds (or texts such as ``"10m"``).

    Without ``time_budget_s``, ``max_trials`` and ``search_space`` a run gets the service's default time budget; a
    search space alone is tried in whole. A run bounded by ``max_trials`` alone is deterministic: same data, seed and
    versions give the same leaderboard.

    ``known_future``: columns of a long table whose future values are known (price, holiday); ``levels``: prediction
    intervals in percent. ``weight_column``: weight of each row in fitting and scoring; rows of weight 0 are left out.
    ``ensemble``: deliver a weighted combination of trials (default) or the best trial fitted again on all rows (False;
    the default with a search space). ``stacking``: a second model learns the combination from the trials' validation
    predictions. ``calibrate``: correct class probabilities (default: where the metric scores them). ``class_weight``:
    weigh rare classes up. ``max_predict_ms``: milliseconds of one core that the delivered model's members may take
    together for 1,000 rows of a table. ``reuse``: take finished folds of earlier runs of the tenant on the same data
    instead of repeating them.
    """

    task: TaskType
    target: str = Field(min_length=1)
    data: DataSource | None = None
    features: list[str] | None = None
    time_column: str | None = None
    id_columns: list[str] = Field(default_factory=list)
    horizon: int | None = Field(default=None, ge=1, le=100_000)
    season_length: list[int] | None = None
    frequency: str | None = None
    known_future: list[str] = Field(default_factory=list)
    levels: list[int] = Field(default_factory=lambda: [80, 95])
    weight_column: str | None = None

    search_space: list[SearchEntry] | None = None
    metric: str | None = None
    custom_metric: CustomMetric | None = None
    validation: Validation = Field(default_factory=Validation)
    ensemble: bool | None = None
    stacking: bool = False
    calibrate: bool | None = None
    class_weight: Literal["balanced"] | None = None
    max_predict_ms: float | None = Field(default=None, gt=0)
    reuse: bool = True
    continues: str | None = None
    replay_of: str | None = None

    time_budget_s: Seconds | None = Field(default=None, gt=0, le=30 * 86400)
    max_trials: int | None = Field(default=None, ge=1, le=1_000_000)
    trial_timeout_s: Seconds | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0, le=2**32 - 1)

    resources: Resources = Field(default_factory=Resources)
    trainer_resources: Resources = Field(default_factory=lambda: Resources(cpus=0))
    runtime_env: dict[str, Any] | None = None
    trainer_runtime_env: dict[str, Any] | None = None
    max_parallel: int | None = Field(default=None, ge=1)

    tenant: str = Field(default="default", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    name: str | None = Field(default=None, max_length=200)
    labels: dict[str, str] = Field(default_factory=dict)

    @property
    def delivers_ensemble(self) -> bool:
        """Whether the model is a combination of trials rather than one trial fitted on all rows."""
        return self.search_space is None if self.ensemble is None else self.ensemble

    @field_validator("levels")
    @classmethod
    def _levels_are_percent(cls, value: list[int]) -> list[int]:
        if any(not 0 < level < 100 for level in value):
            raise ValueError("levels are percentages between 1 and 99")
        return sorted(set(value))

    @field_validator("season_length", mode="before")
    @classmethod
    def _one_season_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, int) else value

    @field_validator("id_columns", mode="before")
    @classmethod
    def _one_id_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("search_space", mode="before")
    @classmethod
    def _mapping_is_a_list(cls, value: Any) -> Any:
        """``{"AutoETS": {"season_length": [4, 7]}}`` is the same as a list of entries."""
        if isinstance(value, Mapping):
            return [{"model": model, "params": params or {}} for model, params in value.items()]
        return value

    @model_validator(mode="before")
    @classmethod
    def _durations_have_short_names(cls, value: Any) -> Any:
        """``time_budget`` and ``trial_timeout``, as the command line and the Python client call them, are taken too."""
        for name in ("time_budget", "trial_timeout"):
            if isinstance(value, Mapping) and name in value and f"{name}_s" not in value:
                value = {(f"{key}_s" if key == name else key): item for key, item in value.items()}
        return value

    @model_validator(mode="after")
    def _forecasting_needs_time_and_horizon(self) -> RunRequest:
        if self.task is TaskType.FORECASTING:
            if not self.time_column:
                raise ValueError("forecasting needs time_column")
            if self.horizon is None:
                raise ValueError("forecasting needs horizon (how many steps ahead)")
        if self.search_space is not None and not self.search_space:
            raise ValueError("search_space is empty; leave it out to get the default models")
        return self


class DataSummary(Document):
    """What the service found in the table: shape, column roles, fingerprint of the contents (sha256, hex).

    ``categorical``: how many features are categories (tables). ``zero_share``: part of the values that are 0 (series).
    """

    rows: int
    columns: list[str]
    features: list[str]
    fingerprint: str
    classes: list[str] | None = None
    categorical: int | None = None
    series: int | None = None
    frequency: str | None = None
    zero_share: float | None = None
    warnings: list[str] = Field(default_factory=list)


class TrialCounts(Document):
    """How many trials there are of each kind. ``planned`` is unknown (None) for runs bounded by time alone."""

    planned: int | None = None
    done: int = 0
    failed: int = 0
    skipped: int = 0
    running: int = 0


class LeaderboardRow(Document):
    """One trial. ``score`` is the mean over folds in the metric's own direction; None unless ``state`` is done.

    ``fold_scores``: one per fold or window that was scored, also of trials that were given up.
    ``fit_s`` and ``predict_s`` are mean seconds per fold. ``error`` has ``code``, ``message`` and perhaps ``hint``.
    ``size_bytes``: of the trial's fitted models together. ``weight``: share in the delivered model, 0 if it is not in
    it (None while the run lasts). ``reused``: taken from an earlier run. ``stopped_at``: fold → rounds after which time
    ended its fit.
    """

    rank: int | None = None
    trial: int
    model: str
    params: dict[str, Any] = Field(default_factory=dict)
    state: TrialState
    score: float | None = None
    std: float | None = None
    fold_scores: list[float] = Field(default_factory=list)
    fit_s: float | None = None
    predict_s: float | None = None
    size_bytes: int | None = None
    weight: float | None = None
    reused: bool = False
    stopped_at: dict[int, int] = Field(default_factory=dict)
    error: dict[str, Any] | None = None


class RunView(Document):
    """The document of a run that every surface shows. Times are ISO 8601 in UTC.

    ``best_*``: the best single trial. ``ensemble``: trial → weight in the delivered model, ``ensemble_score`` its score
    on the validation predictions; None until the run has succeeded. ``predict_ms``: measured milliseconds of one core
    for 1,000 rows, of runs with ``max_predict_ms``. ``tenant_version``: of the tenant's configuration that counted for
    it; None: the tenant is not registered. ``warnings``: of what was delivered (those of the data are in ``data``).
    """

    id: str
    name: str | None = None
    tenant: str
    task: TaskType
    target: str
    state: RunState
    reason: str | None = None
    error: dict[str, Any] | None = None
    metric: str
    greater_is_better: bool
    seed: int
    time_budget_s: float | None = None
    max_trials: int | None = None
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    deadline_at: str | None = None
    elapsed_s: float = 0.0
    queue_position: int | None = None
    cancel_requested: bool = False
    trials: TrialCounts = Field(default_factory=TrialCounts)
    best_score: float | None = None
    best_model: str | None = None
    best_trial: int | None = None
    ensemble_score: float | None = None
    ensemble: dict[int, float] | None = None
    max_predict_ms: float | None = None
    predict_ms: float | None = None
    continues: str | None = None
    replay_of: str | None = None
    tenant_version: int | None = None
    data: DataSummary | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)


class Event(Document):
    """One entry of a run's event log. ``seq`` grows by one per run; streams resume after a given ``seq``.

    Kinds: ``state`` (data: the run view), ``trial`` (a leaderboard row), ``leaderboard`` (the first rows),
    ``ensemble`` (score and weights of the combination so far), ``log`` (a message), ``done`` (the run view, always
    last).
    """

    run_id: str
    seq: int
    at: str
    kind: Literal["state", "trial", "leaderboard", "ensemble", "log", "done"]
    data: dict[str, Any]
