"""What the tasks of a run reserve where a tenant has defaults and limits of its own. Pure."""

from __future__ import annotations

from functools import partial
from typing import Any

from rayctl.automl.model import Resources, RunRequest
from rayctl.errors import InvalidRequest
from rayctl.tenancy.model import TenantConfig

__all__ = ["for_tenant"]

_FIELDS = {"num_cpus": "cpus", "num_gpus": "gpus", "memory": "memory_bytes"}


def for_tenant(request: RunRequest, config: TenantConfig | None) -> RunRequest:
    """Return the request with the tenant's defaults where it does not say what a task reserves, within its limits.

    ``config``: None: the tenant is not registered; the request stays as it is.

    Raises:
        InvalidRequest: ``over-tenant-limit``: a task or the trainer asks for more than the tenant's tasks may, or a
            single task for more CPUs than all of the tenant's runs may use together.
    """
    if config is None:
        return request
    resources = _with_defaults(request.resources, config)
    config.check_limits(_options(resources), partial(_place, "resources"))
    config.check_limits(_options(request.trainer_resources), partial(_place, "trainer_resources"))
    together = config.quota.max_cpus
    if together is not None and resources.cpus > together:
        raise InvalidRequest(
            f"One task asks for {resources.cpus:g} CPUs; all runs of tenant {config.tenant} may use {together:g}.",
            code="over-tenant-limit",
            hint="Ask for fewer CPUs per task, or let the operator raise quota.max_cpus.",
            errors=[{"pointer": "/resources/cpus", "message": f"must be at most {together:g}"}],
        )
    return request if resources == request.resources else request.model_copy(update={"resources": resources})


def _with_defaults(asked: Resources, config: TenantConfig) -> Resources:
    defaults = config.defaults
    values = {"cpus": defaults.num_cpus, "gpus": defaults.num_gpus, "memory_bytes": defaults.memory_bytes}
    said = {name: getattr(asked, name) for name in asked.model_fields_set}
    given: dict[str, Any] = {name: value for name, value in values.items() if value is not None} | said
    if custom := {**defaults.resources, **asked.custom}:
        given["custom"] = custom
    return Resources(**given)


def _options(resources: Resources) -> dict[str, Any]:
    found = {"num_cpus": resources.cpus, "num_gpus": resources.gpus, "memory": resources.memory_bytes}
    return {**found, "resources": resources.custom}


def _place(field: str, option: str) -> str:
    return f"/{field}/{_FIELDS.get(option, f'custom/{option}')}"
