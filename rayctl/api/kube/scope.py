"""Which namespaces a caller may see: a tenant's token the namespace of the tenant's name, an operator's all."""

from __future__ import annotations

import re

from rayctl.api.auth import Principal
from rayctl.errors import InvalidRequest, NotFound

__all__ = ["LABEL_SELECTOR", "named_namespace", "object_name", "seen_namespace"]

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
LABEL_SELECTOR = r"^[A-Za-z0-9_./,=!() -]*$"


def seen_namespace(caller: Principal, asked: str | None) -> str:
    """Return the namespace to list, empty for all.

    Raises:
        Forbidden: the caller's token is of another tenant.
        InvalidRequest: it is no name.
    """
    if asked and not _LABEL.fullmatch(asked):
        raise InvalidRequest("This is no name of a namespace.", errors=[{"pointer": "/namespace", "message": "name"}])
    return caller.scope(asked or None) or ""


def named_namespace(caller: Principal, asked: str | None, one: str, name: str) -> str:
    """Return the namespace of one object.

    Raises:
        NotFound: it is not the caller's: whether the object is there is not told.
    """
    if asked and (not _LABEL.fullmatch(asked) or caller.tenant not in (None, asked)):
        raise not_there(one, name)
    return asked or caller.tenant or "default"


def object_name(one: str, name: str) -> str:
    """Return a name that an object can have. Raises NotFound."""
    if not _NAME.fullmatch(name):
        raise not_there(one, name)
    return name


def not_there(one: str, name: str) -> NotFound:
    """Return the answer for an object that is not there, or is another's."""
    return NotFound(f"There is no {one} {name!r} here.", code="object-not-found")
