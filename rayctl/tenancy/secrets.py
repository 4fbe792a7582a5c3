"""Secrets: read where they are used, at the moment of use, and never carried, kept or shown."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pydantic import SecretStr

from rayctl.errors import NotFound
from rayctl.tenancy.current import current_config
from rayctl.tenancy.model import SecretReference, TenantConfig

__all__ = ["SECRETS_FOLDER_VARIABLE", "resolve", "secret"]

SECRETS_FOLDER_VARIABLE = "RAYCTL_SECRETS_DIR"
"""Names the operator's folder of ``<tenant>/<name>`` files; it is set in the cluster's environment, not by tenants."""

_MAX_BYTES = 1024 * 1024


def secret(name: str) -> SecretStr:
    """Return a secret of the tenant that the call at hand belongs to. Raises NotFound, also outside of such a call."""
    return resolve(current_config(), name)


def resolve(config: TenantConfig, name: str) -> SecretStr:
    """Return a secret of the tenant, read in this process now; ``.get_secret_value()`` gives the text.

    Raises:
        NotFound: ``no-such-secret`` (the configuration has no reference of this name), ``secret-missing`` (it has, but
            nothing is there on this machine). Neither says what other secrets contain.
    """
    reference = config.secrets.get(name)
    if reference is None:
        known = ", ".join(sorted(config.secrets)) or "none"
        raise NotFound(
            f"Tenant {config.tenant} has no secret named {name!r}.", code="no-such-secret", hint=f"It has: {known}."
        )
    return SecretStr(_read(config.tenant, name, reference))


def _read(tenant: str, name: str, reference: SecretReference) -> str:
    if reference.source == "env":
        value = os.environ.get(reference.name)
        if value is None:
            raise _missing(name, f"the variable {reference.name} is not set in the worker's environment")
        return value
    if reference.source == "file":
        return _file(name, Path(reference.name))
    folder = os.environ.get(SECRETS_FOLDER_VARIABLE)
    if not folder:
        raise _missing(name, f"{SECRETS_FOLDER_VARIABLE} is not set in the worker's environment")
    return _file(name, Path(folder) / tenant / reference.name)


def _file(name: str, path: Path) -> str:
    """Read a small regular file; one line break at its end, which editors leave, does not belong to the secret."""
    try:
        # A pipe would keep the opener waiting.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _missing(name, f"{path} is no file")
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _missing(name, f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise _missing(name, f"{path} is larger than {_MAX_BYTES:,} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise _missing(name, f"{path} is no text") from None
    return text.removesuffix("\n").removesuffix("\r")


def _missing(name: str, why: str) -> NotFound:
    return NotFound(
        f"The secret {name!r} is not there: {why}.",
        code="secret-missing",
        hint="Secrets are read on the machine where the task runs; ask the operator to put it there.",
    )
