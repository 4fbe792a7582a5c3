"""Process settings of the service, read from ``RAYCTL_*`` environment variables.

These are the operator's settings of one service process, never a tenant's configuration. They are read
once, where the service is started (`rayctl up`, the Serve gateway), and handed on as an object.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

__all__ = ["ServiceSettings"]

MIB = 1024 * 1024


class ServiceSettings(BaseSettings):
    """Everything the AutoML service can be told. Sizes are bytes, durations seconds.

    ``allowed_paths``: folders whose files may be named as data URIs (empty: none).
    ``allowed_uris``: remote URI prefixes that may be read, for example ``s3://team-bucket/`` (empty: none).
    ``allowed_models``: module prefixes that requests over HTTP may name as estimator classes.
    ``allow_http_runtime_env``: whether requests over HTTP may bring a runtime environment (it can run any code).
    ``reuse_bytes``: what finished trials may take in the artifact store so that later runs need not repeat them.
    ``max_run_cpus``, ``max_total_cpus``: CPUs that the tasks of one run, and of all runs, may reserve at once.
    ``kubeconfig``, ``kube_context``: which Kubernetes the HTTP API works with; None: the embedded server below
    ``home``, or the cluster that this process is a pod of.
    ``lease_namespace``: where the controllers' leases are.
    ``dashboard``, ``dashboard_actions``: whether there are pages for browsers, and whether they have buttons.
    ``allowed_hosts``: names under which browsers may reach the pages, besides this machine's own.
    ``side``: the Ray cluster that this control plane runs on, where one may be replaced by another.
    ``turn_file``: says whether it is this side's turn to work with the state (default: beside the database).
    ``tenant_…``: what tenants may ask for, as patterns of names (see `rayctl.tenancy.policy.Policy`).
    """

    model_config = SettingsConfigDict(env_prefix="RAYCTL_", frozen=True, extra="ignore")

    home: Path = Field(default_factory=lambda: Path("~/.rayctl").expanduser())
    database_url: str | None = None
    artifact_url: str | None = None
    token_file: Path | None = None

    max_running: int = Field(default=8, ge=1)
    max_queued: int = Field(default=64, ge=0)
    max_run_cpus: float | None = Field(default=None, gt=0)
    max_total_cpus: float | None = Field(default=None, gt=0)
    default_time_budget_s: float = Field(default=60.0, gt=0)
    default_trial_timeout_s: float = Field(default=300.0, gt=0)
    max_data_bytes: int = Field(default=1024 * MIB, gt=0)
    reuse_bytes: int = Field(default=4096 * MIB, ge=0)
    max_request_bytes: int = Field(default=16 * MIB, gt=0)
    fetch_timeout_s: float = Field(default=60.0, gt=0)

    allow_http_runtime_env: bool = False
    warm_workers: bool = True

    allowed_paths: Annotated[list[Path], NoDecode] = Field(default_factory=list)
    allowed_uris: Annotated[list[str], NoDecode] = Field(default_factory=list)
    allowed_models: Annotated[list[str], NoDecode] = Field(
        default_factory=lambda: ["sklearn", "lightgbm", "statsforecast", "xgboost", "catboost"]
    )

    kubeconfig: Path | None = None
    kube_context: str | None = None
    lease_namespace: str = "rayctl-system"
    side: str = ""
    turn_file: Path | None = None
    dashboard: bool = True
    dashboard_actions: bool = False
    allowed_hosts: Annotated[list[str], NoDecode] = Field(default_factory=list)

    tenant_packages: Annotated[list[str], NoDecode] = Field(default_factory=lambda: ["*"])
    tenant_denied_packages: Annotated[list[str], NoDecode] = Field(default_factory=lambda: ["ray", "ray-*", "rayctl"])
    tenant_package_urls: bool = False
    tenant_variables: Annotated[list[str], NoDecode] = Field(default_factory=lambda: ["*"])
    tenant_denied_variables: Annotated[list[str], NoDecode] = Field(default_factory=list)
    tenant_images: Annotated[list[str], NoDecode] = Field(default_factory=list)

    @field_validator(
        "allowed_paths",
        "allowed_uris",
        "allowed_models",
        "allowed_hosts",
        "tenant_packages",
        "tenant_denied_packages",
        "tenant_variables",
        "tenant_denied_variables",
        "tenant_images",
        mode="before",
    )
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        """In the environment a list is written as ``a,b``."""
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @property
    def state_url(self) -> str:
        """SQLAlchemy URL of the state database (default: an SQLite file below ``home``)."""
        return self.database_url or f"sqlite:///{self.home / 'state' / 'rayctl.db'}"

    @property
    def store_url(self) -> str:
        """fsspec URL of the artifact store (default: a folder below ``home``)."""
        return self.artifact_url or f"file://{self.home / 'artifacts'}"
