"""The JSON documents that the API answers with, beyond the models of a run, and how they are written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from rayctl.automl.model import LeaderboardRow, RunView, Seconds

__all__ = [
    "ArtifactInfo",
    "ArtifactList",
    "DeployOptions",
    "DeploymentInfo",
    "DeploymentList",
    "ExtendOptions",
    "Leaderboard",
    "Predictions",
    "ResultDocument",
    "RunPage",
    "ServiceInfo",
    "TenantHistory",
    "TenantList",
    "TenantVersion",
    "UploadInfo",
    "VersionInfo",
    "answer",
    "dump",
    "etag_of",
    "is_known",
]


class _Open(BaseModel):
    """Answers may get more fields in later versions; readers ignore what they do not know."""

    model_config = ConfigDict(extra="allow")


class RunPage(_Open):
    """One page of runs, newest first; ``next`` is the cursor of the page after it."""

    items: list[RunView]
    next: str | None = None


class Leaderboard(_Open):
    """The trials of a run, best first."""

    items: list[LeaderboardRow]


class ArtifactInfo(_Open):
    """One file that a run left behind."""

    name: str
    bytes: int
    sha256: str


class ArtifactList(_Open):
    """The files of a run."""

    items: list[ArtifactInfo]


class ResultDocument(_Open):
    """What a finished run found."""

    run: RunView
    best: LeaderboardRow | None = None
    ensemble: dict[str, Any] | None = None
    leaderboard: list[LeaderboardRow] = []
    artifacts: list[ArtifactInfo] = []
    reproduce: dict[str, Any] = {}
    forecast: list[dict[str, Any]] | None = None


class UploadInfo(_Open):
    """A kept file; name it in a request as ``{"data": {"upload": id}}``."""

    upload: str
    rows: int
    columns: list[str]
    bytes: int


class Predictions(_Open):
    """One record per input row, in its order (series: one per step)."""

    predictions: list[dict[str, Any]]


class DeployOptions(BaseModel):
    """How a model is to be served."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None


class ExtendOptions(BaseModel):
    """By how much a run is to be continued: seconds (or a text such as ``"2m"``), further trials, or both."""

    model_config = ConfigDict(extra="forbid")

    time_budget: Seconds | None = Field(default=None, gt=0, le=30 * 86400)
    max_trials: int | None = Field(default=None, ge=1, le=1_000_000)

    @model_validator(mode="before")
    @classmethod
    def _named_as_in_a_request(cls, value: Any) -> Any:
        """``time_budget_s``, as requests call it, is taken too."""
        if isinstance(value, Mapping) and "time_budget_s" in value and "time_budget" not in value:
            return {("time_budget" if key == "time_budget_s" else key): item for key, item in value.items()}
        return value


class DeploymentInfo(_Open):
    """A model that is served."""

    name: str
    route: str
    run_id: str
    state: str


class DeploymentList(_Open):
    """The models that are served."""

    items: list[DeploymentInfo]


class TenantVersion(_Open):
    """One version of a tenant's configuration. ``envelope``: the same, exactly, in base64."""

    tenant: str
    version: int | None = None
    config: dict[str, Any] = {}
    fingerprint: str | None = None
    created_at: str | None = None
    author: str = ""
    note: str = ""
    envelope: str | None = None
    usage: dict[str, int] | None = None


class TenantList(_Open):
    """The registered tenants, by name."""

    items: list[TenantVersion]


class TenantHistory(_Open):
    """The versions of a tenant, newest first; ``changes`` of each: pointer, before, after."""

    items: list[dict[str, Any]]


class VersionInfo(_Open):
    """Which service this is."""

    name: str
    version: str
    api: str


class ServiceInfo(_Open):
    """Versions, limits, and for operators resources and counts."""


def _plain(value: Any) -> Any:
    item = getattr(value, "item", None)  # a NumPy scalar
    return item() if callable(item) else str(value)


def dump(document: Any) -> bytes:
    """Write JSON. What JSON has no word for (NaN, infinities) becomes null."""
    return to_json(document, inf_nan_mode="null", bytes_mode="base64", fallback=_plain)


def answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    return Response(dump(document), status_code=status, headers=headers, media_type="application/json")


def etag_of(view: Mapping[str, Any]) -> str:
    """Return the weak entity tag of a run's view; a clock that merely ticks on does not change it."""
    stable = {key: value for key, value in view.items() if key != "elapsed_s"}
    return f'W/"{hashlib.sha256(dump(stable)).hexdigest()[:32]}"'


def is_known(request: Request, etag: str) -> bool:
    """Whether the caller has this version already (``If-None-Match``); the answer is then 304 without a body."""
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    return bool(known & {"*", etag.removeprefix("W/")})
