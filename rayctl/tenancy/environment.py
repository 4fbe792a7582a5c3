"""From a configuration to the runtime environment of Ray that its calls get. Pure, and the same every time.

Equal environments have equal texts, whatever the order in which packages or variables were written: Ray builds and
keeps an environment per text. No secret is in them, because Ray writes them into its logs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from rayctl.errors import InvalidRequest
from rayctl.tenancy.model import EnvironmentSpec
from rayctl.tenancy.policy import normal_requirements

__all__ = ["Facts", "digest", "merged", "overlay_name", "requirements", "runtime_env"]


@dataclass(frozen=True)
class Facts:
    """What a cluster said of itself.

    ``python``: version of its interpreter; ``ray``, ``rayctl``: versions (None: rayctl is not installed there).
    ``venv``: the virtual environment that its interpreter lives in (None: none). Ray would copy it as a whole for
    every environment (0.8 GB each), so that packages are put on top of it instead. ``overlays``: folder for these, on
    every node.
    """

    python: str
    ray: str
    rayctl: str | None = None
    venv: str | None = None
    overlays: str | None = None
    missing: tuple[str, ...] = ()


def digest(spec: EnvironmentSpec) -> str:
    """Return the identity of an environment: sha256 of what is in it (not of how long its setup may take)."""
    text = {
        "isolation": spec.isolation,
        "packages": requirements(spec),
        "installer": spec.installer,
        "variables": dict(sorted(spec.variables.items())),
        "image": spec.image,
    }
    return sha256(json.dumps(text, sort_keys=True).encode()).hexdigest()


def overlay_name(spec: EnvironmentSpec, facts: Facts) -> str:
    """Return the folder name of the packages' virtual environment, which tenants with the same packages share.

    What it lies on top of is part of the name: two installations of Ray on one machine share no environment.
    """
    text = json.dumps([requirements(spec), facts.python, facts.ray, facts.venv])
    return sha256(text.encode()).hexdigest()[:24]


def requirements(spec: EnvironmentSpec) -> list[str]:
    """Return the packages in normal form and order. Raises InvalidRequest (``invalid-packages``)."""
    try:
        return list(normal_requirements(spec.packages))
    except ValueError as error:
        raise InvalidRequest(f"The tenant's packages cannot be used: {error}.", code="invalid-packages") from error


def runtime_env(spec: EnvironmentSpec, facts: Facts) -> dict[str, Any] | None:
    """Return Ray's runtime environment; None: the cluster's own, at no cost.

    Raises:
        InvalidRequest: ``invalid-packages``: a requirement is none.
    """
    found: dict[str, Any] = {}
    if spec.variables:
        found["env_vars"] = dict(sorted(spec.variables.items()))
    if spec.isolation == "image":
        found["image_uri"] = spec.image
    packages = requirements(spec)
    if packages and facts.venv is not None and facts.overlays is not None:
        found["py_executable"] = f"{facts.overlays}/{overlay_name(spec, facts)}/bin/python"
    elif packages:
        found[spec.installer] = {"packages": packages}
    if found:
        found["config"] = {"setup_timeout_seconds": max(1, round(spec.setup_timeout_s))}
    return found or None


_BRINGS_PACKAGES = frozenset({"pip", "uv", "conda", "py_executable", "image_uri"})
_BESIDE_AN_IMAGE = frozenset({"image_uri", "env_vars", "config"})


def merged(own: Mapping[str, Any] | None, wanted: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the tenant's environment with what a single call wants on top; variables are joined, the call's win.

    Raises:
        InvalidRequest: ``environment-conflict``: the tenant's calls run in an image, which Ray adds nothing else to.
    """
    if not own or not wanted:
        chosen = own or wanted
        return dict(chosen) if chosen else None
    beyond = sorted(set(wanted) - _BESIDE_AN_IMAGE)
    if "image_uri" in own and beyond:
        raise InvalidRequest(
            f"This tenant's calls run in the image {own['image_uri']}, where Ray cannot add {', '.join(beyond)}.",
            code="environment-conflict",
            hint="Build it into the image.",
        )
    variables = {**own.get("env_vars", {}), **wanted.get("env_vars", {})}
    found = {**own, **wanted}
    if _BRINGS_PACKAGES & set(wanted):
        for name in _BRINGS_PACKAGES - set(wanted):
            found.pop(name, None)
    if variables:
        found["env_vars"] = dict(sorted(variables.items()))
    return found
