"""What a tenant may ask for: packages and environment variables. The operator decides; the defaults are cautious. Pure.

Everything that would reach beyond the tenant's own processes is refused whatever the operator allows: variables that
the loader, Python or Ray itself obey, and options inside requirement lines (an index of somebody else's, a file).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidName, canonicalize_name

from rayctl.errors import FieldError, Forbidden
from rayctl.tenancy.model import TenantConfig

__all__ = ["NEVER", "Policy", "check", "normal_requirement", "normal_requirements"]

NEVER = (
    "LD_*", "DYLD_*", "GLIBC_TUNABLES", "MALLOC_*", "PATH", "HOME", "SHELL", "IFS", "BASH_ENV", "ENV",
    "PYTHON*", "VIRTUAL_ENV", "CONDA_*", "PIP_*", "UV_*", "RAY_*", "RAYCTL_*", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "OPENSSL_*", "GRPC_*", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
"""Patterns of variables that no tenant may set."""

_LOOKS_SECRET = re.compile(
    r"(^|_)(SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|PRIVATE_?KEY|API_?KEY)($|_)", re.I
)


@dataclass(frozen=True)
class Policy:
    """The operator's rules.

    ``packages``: patterns of normalised project names that may be asked for; ``denied_packages``: that may not,
    whatever else says so. ``urls``: whether a requirement may name a URL or file instead of a version. ``variables``,
    ``denied_variables``: patterns of names. ``images``: patterns of container images; none by default.
    """

    packages: Sequence[str] = ("*",)
    denied_packages: Sequence[str] = ("ray", "ray-*", "rayctl")
    urls: bool = False
    variables: Sequence[str] = ("*",)
    denied_variables: Sequence[str] = field(default=())
    images: Sequence[str] = ()


def normal_requirement(line: str) -> str:
    """Return one requirement in its normal form, so that equal requirements are equal texts.

    Raises:
        ValueError: it is no requirement, or it carries options.
    """
    text = line.strip()
    if "\n" in text or "\r" in text:
        raise ValueError("one requirement per entry")
    if _OPTION.search(text):
        raise _carries_option(text)
    try:
        found = Requirement(text)
        name = canonicalize_name(found.name, validate=True)
        chosen = sorted(canonicalize_name(extra, validate=True) for extra in found.extras)
    except (InvalidRequirement, InvalidName) as error:
        raise ValueError(f"{_shown(text)} is no requirement (write it as in name==1.2)") from error
    extras = f"[{','.join(chosen)}]" if chosen else ""
    version = f" @ {found.url}" if found.url else ",".join(sorted(str(part) for part in found.specifier))
    marker = f" ; {found.marker}" if found.marker else ""
    normal = f"{name}{extras}{version}{marker}"
    if _OPTION.search(normal):  # as the address of a URL
        raise _carries_option(text)
    return normal


_OPTION = re.compile(r"(^|\s)-")


def _carries_option(text: str) -> ValueError:
    return ValueError(f"{_shown(text)} carries an option; indexes and options are the operator's to set")


def _shown(text: str) -> str:
    """A requirement may be a URL with a password in it."""
    return repr(re.sub(r"//[^/@\s]+@", "//…@", text[:200]))


def normal_requirements(lines: Iterable[str]) -> tuple[str, ...]:
    """Return requirements in normal form, each once, in order. Raises ValueError like `normal_requirement`."""
    return tuple(sorted({normal_requirement(line) for line in lines}))


def check(config: TenantConfig, policy: Policy) -> None:
    """Refuse a configuration that asks for what the policy does not allow.

    Raises:
        Forbidden: ``tenant-policy``, with every place.
    """
    errors = [
        *_packages(config.environment.packages, policy),
        *_variables(config.environment.variables, policy),
        *_image(config.environment.image, policy),
    ]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise Forbidden(
            f"Tenant {config.tenant} may not have this: {errors[0]['message']}{more}.",
            code="tenant-policy",
            errors=errors,
            hint="Ask the operator; the policy is part of the service's settings.",
        )


def _packages(lines: Sequence[str], policy: Policy) -> Iterable[FieldError]:
    for number, line in enumerate(lines):
        place = f"/environment/packages/{number}"
        try:
            found = Requirement(normal_requirement(line))
        except ValueError as error:
            yield FieldError(pointer=place, message=str(error))
            continue
        name = canonicalize_name(found.name)
        if found.url and not policy.urls:
            yield FieldError(pointer=place, message=f"{name} is taken from a URL, which the operator does not allow")
        if not _matches(name, policy.packages) or _matches(name, policy.denied_packages):
            yield FieldError(pointer=place, message=f"the package {name} is not allowed")


def _variables(variables: Iterable[str], policy: Policy) -> Iterable[FieldError]:
    for name in variables:
        place = f"/environment/variables/{name}"
        if _matches(name.upper(), NEVER):
            yield FieldError(pointer=place, message=f"the variable {name} belongs to the system and cannot be set")
        elif not _matches(name, policy.variables) or _matches(name, policy.denied_variables):
            yield FieldError(pointer=place, message=f"the variable {name} is not allowed")
        elif _LOOKS_SECRET.search(name):
            text = f"{name} looks like a secret, and Ray writes variables into its logs; make it a secret reference"
            yield FieldError(pointer=place, message=text)


def _image(image: str | None, policy: Policy) -> Iterable[FieldError]:
    if image is not None and not _matches(image, policy.images):
        yield FieldError(pointer="/environment/image", message=f"the image {image} is not allowed")


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
