"""A tenant's configuration: one frozen document, handed along with every call, never read from a global.

Creating one has no side effect. What may stand in it (sizes, names, forbidden variables and packages) is checked here
and in `rayctl.tenancy.policy`; how it is found and merged is in `rayctl.tenancy.load`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from typing_extensions import Self

from rayctl.errors import FieldError, InvalidRequest
from rayctl.tenancy.frozen import freeze

__all__ = [
    "NAME_PATTERN",
    "SCHEMA",
    "EnvironmentSpec",
    "Quota",
    "SecretReference",
    "TaskDefaults",
    "TaskLimits",
    "TenantConfig",
    "unknown_fields",
]

SCHEMA = (1, 1)
"""(major, minor) of the configuration's form. A minor step only adds fields that may be absent (1.1: ``limits``)."""

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_IMAGE = re.compile(
    r"^[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]+)?(/[A-Za-z0-9._-]+)*(:[A-Za-z0-9._-]+)?(@sha256:[0-9a-f]{64})?$"
)
_UNQUOTABLE = re.compile(r"['\x00-\x1f\x7f]")

Settings = Annotated[Mapping[str, Any], AfterValidator(freeze)]
Texts = Annotated[Mapping[str, str], AfterValidator(freeze)]


class _Part(BaseModel):
    """Frozen. Fields of a newer minor version are kept and written again; `unknown_fields` lists them."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)


class SecretReference(_Part):
    """Where a secret is found, never the secret: it is read by the process that uses it.

    ``source``: ``env`` (a variable of the worker), ``file`` (a file on the worker's machine, as Kubernetes mounts
    secrets), ``tenant`` (a file of the tenant's own folder below the operator's secrets folder). ``name``: the
    variable, the absolute path, or the name.
    """

    source: Literal["env", "file", "tenant"]
    name: str = Field(min_length=1, max_length=1000)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """``env:NAME`` means ``{"source": "env", "name": "NAME"}``."""
        if isinstance(value, str):
            source, colon, name = value.partition(":")
            if not colon:
                raise ValueError("a secret is written source:name, for example env:DB_PASSWORD or tenant:db-password")
            return {"source": source, "name": name}
        return value

    @model_validator(mode="after")
    def _check(self) -> SecretReference:
        if self.source == "env" and not _VARIABLE.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of an environment variable")
        if self.source == "file" and not self.name.startswith("/"):
            raise ValueError("the file of a secret needs an absolute path")
        if self.source == "tenant" and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", self.name):
            raise ValueError("a tenant's secret is named with letters, digits, '_', '-' and '.'")
        return self

    def __str__(self) -> str:
        return f"{self.source}:{self.name}"


class EnvironmentSpec(_Part):
    """What the tenant's processes run in.

    ``isolation``: ``process`` (workers of the cluster's own Python; packages and variables are not possible),
    ``venv`` (a virtual environment with ``packages`` on top of the cluster's), ``image`` (a container). ``packages``:
    requirements as in a requirements file, without options. ``image``: needs podman on the nodes, and Ray and rayctl of
    the cluster's versions in it. ``installer``: what installs packages where Ray does it. ``variables``:
    environment variables of the worker processes; every different set of them needs processes of its own, so
    settings belong into ``settings``. ``setup_timeout_s``: seconds that the installation may take.
    """

    isolation: Literal["process", "venv", "image"] = "process"
    packages: tuple[str, ...] = ()
    installer: Literal["uv", "pip"] = "uv"
    variables: Texts = Field(default_factory=dict)
    image: str | None = Field(default=None, max_length=500)
    setup_timeout_s: float = Field(default=300.0, gt=0, le=3600)

    @model_validator(mode="before")
    @classmethod
    def _isolation_of(cls, value: Any) -> Any:
        """Packages ask for a virtual environment, an image for a container; nothing has to be said twice."""
        if isinstance(value, Mapping) and "isolation" not in value:
            if value.get("image"):
                return {**value, "isolation": "image"}
            if value.get("packages"):
                return {**value, "isolation": "venv"}
        return value

    @field_validator("variables")
    @classmethod
    def _names(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name in value:
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"{name!r} is no name of an environment variable")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> EnvironmentSpec:
        if self.isolation == "process" and (self.packages or self.image):
            raise ValueError("isolation process cannot have packages or an image; leave isolation out or say venv")
        if self.isolation == "venv" and self.image:
            raise ValueError("an image needs isolation image")
        if self.isolation == "image" and not self.image:
            raise ValueError("isolation image needs an image")
        if self.isolation == "image" and self.packages:
            raise ValueError("Ray cannot install packages into an image's container; build them into the image")
        if self.image is not None and not _IMAGE.fullmatch(self.image):
            raise ValueError("the image must be written like registry/name:tag or name@sha256:…")
        if self.isolation == "image":
            # Ray puts image and variables into the text of a shell's command, the values between single quotes.
            for name, value in self.variables.items():
                if _UNQUOTABLE.search(value):
                    raise ValueError(f"with an image, the value of {name} may have no quote and no control character")
        return self

    @property
    def is_plain(self) -> bool:
        """Whether the cluster's own environment does."""
        return self.isolation == "process" and not self.variables


class TaskDefaults(_Part):
    """What a task or actor of the tenant reserves unless the call says otherwise. ``memory_bytes``: bytes."""

    num_cpus: float | None = Field(default=None, ge=0)
    num_gpus: float | None = Field(default=None, ge=0)
    memory_bytes: int | None = Field(default=None, gt=0)
    resources: Annotated[Mapping[str, float], AfterValidator(freeze)] = Field(default_factory=dict)
    max_retries: int | None = Field(default=None, ge=-1)

    def options(self) -> dict[str, Any]:
        """Return them as Ray's options."""
        found: dict[str, Any] = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus, "memory": self.memory_bytes}
        found |= {"resources": dict(self.resources) or None, "max_retries": self.max_retries}
        return {name: value for name, value in found.items() if value is not None}


class TaskLimits(_Part):
    """The most that one task or actor of the tenant may reserve; None: no bound. ``memory_bytes``: bytes.

    ``resources``: name of a custom resource → the most of it; 0 forbids it.
    """

    num_cpus: float | None = Field(default=None, ge=0)
    num_gpus: float | None = Field(default=None, ge=0)
    memory_bytes: int | None = Field(default=None, gt=0)
    resources: Annotated[Mapping[str, float], AfterValidator(freeze)] = Field(default_factory=dict)

    def exceeded(self, options: Mapping[str, Any]) -> list[tuple[str, float, float]]:
        """Return what of Ray's options is over a limit: (what, what is asked for, the limit)."""
        bounds = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus, "memory": self.memory_bytes}
        asked = {name: options.get(name) or 0 for name in bounds} | dict(options.get("resources") or {})
        bounds |= self.resources
        return [
            (name, amount, bound)
            for name, amount in asked.items()
            if (bound := bounds.get(name)) is not None and amount > bound
        ]


class Quota(_Part):
    """What a tenant may use of the AutoML service at once; None: no bound of its own.

    ``max_running``, ``max_queued``: runs. ``max_cpus``: CPUs that the tasks of its runs reserve together.
    ``max_stored_bytes``: bytes of its uploads, data and results in the artifact store.
    """

    max_running: int | None = Field(default=None, ge=1)
    max_queued: int | None = Field(default=None, ge=0)
    max_cpus: float | None = Field(default=None, gt=0)
    max_stored_bytes: int | None = Field(default=None, ge=0)


class TenantConfig(_Part):
    """Everything one tenant's calls are told.

    ``settings``: the application's own, free-form. ``secrets``: name → where it is found. ``artifacts``: URL of the
    tenant's own artifacts, for its code to use. ``description``: for people. ``defaults``, ``limits``: what one task or
    actor reserves unless its call says otherwise, and at most (those of AutoML runs too); ``quota``: of all runs.
    """

    tenant: str
    description: str = Field(default="", max_length=2000)
    settings: Settings = Field(default_factory=dict)
    environment: EnvironmentSpec = EnvironmentSpec()
    secrets: Annotated[Mapping[str, SecretReference], AfterValidator(freeze)] = Field(default_factory=dict)
    defaults: TaskDefaults = TaskDefaults()
    limits: TaskLimits = TaskLimits()
    quota: Quota = Quota()
    artifacts: str | None = Field(default=None, max_length=2000)

    @field_validator("tenant")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not re.fullmatch(NAME_PATTERN, value):
            raise ValueError(
                "a tenant is named with at most 63 lower-case letters, digits and hyphens, no hyphen first or last"
            )
        return value

    @model_validator(mode="after")
    def _defaults_are_within_limits(self) -> TenantConfig:
        for name, amount, bound in self.limits.exceeded(self.defaults.options()):
            raise ValueError(f"the default of {name} is {amount:,.12g}, over the limit of {bound:,.12g}")
        return self

    def check_limits(self, options: Mapping[str, Any], place: Callable[[str], str] = "/{}".format) -> None:
        """Refuse a task or actor that would reserve more than the tenant's tasks may.

        ``options``: Ray's. ``place``: the pointer of what somebody asked for, by the option's name.

        Raises:
            InvalidRequest: ``over-tenant-limit``, with every place.
        """
        over = self.limits.exceeded(options)
        if over:
            errors = [
                FieldError(pointer=place(name), message=f"asks for {amount:,.12g}, at most {bound:,.12g}")
                for name, amount, bound in over
            ]
            name, amount, bound = over[0]
            raise InvalidRequest(
                f"A task of tenant {self.tenant} asks for {name}={amount:,.12g}; its limit is {bound:,.12g}.",
                code="over-tenant-limit",
                hint="Ask for less, or let the operator raise the tenant's limits.",
                errors=errors,
            )

    def setting(self, path: str, default: Any = None) -> Any:
        """Return one setting by its path with dots (``model.depth``), or ``default`` if it is not there."""
        found: Any = self.settings
        for part in path.split("."):
            if not isinstance(found, Mapping) or part not in found:
                return default
            found = found[part]
        return found

    @cached_property
    def packed(self) -> bytes:
        """What was said as msgpack, packed once, because a configuration cannot change.

        Raises:
            MalformedEnvelope: a setting has a value that cannot travel; the message names it.
        """
        from rayctl.tenancy.codec import packed_body

        return packed_body(self)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy (see pydantic); it is packed anew."""
        found = super().model_copy(update=update, deep=deep)
        vars(found).pop("packed", None)
        return found

    def with_changes(self, **fields: Any) -> TenantConfig:
        """Return a copy with some fields replaced, checked like a new one."""
        return type(self).model_validate({**{name: getattr(self, name) for name in self.model_fields_set}, **fields})


def unknown_fields(part: BaseModel, place: str = "") -> Iterator[str]:
    """Yield the places of fields that this version does not know, as paths with slashes."""
    for name in part.model_extra or {}:
        yield f"{place}/{name}"
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, BaseModel):
            yield from unknown_fields(value, f"{place}/{name}")
        elif isinstance(value, Mapping):
            for key, item in value.items():
                if isinstance(item, BaseModel):
                    yield from unknown_fields(item, f"{place}/{name}/{key}")
