"""What the routes about Kubernetes objects are given: the door, namespaces that were checked, versions, memory."""

from __future__ import annotations

import re
import time
from typing import Annotated, cast

from fastapi import Depends, Header, Query, Request

from rayctl.api.kube.door import Door
from rayctl.api.kube.scope import LABEL_SELECTOR
from rayctl.errors import MalformedRequest

__all__ = ["At", "Based", "Cursor", "DryRun", "Kubernetes", "Labels", "Limit", "Namespace", "now"]

_VERSION = re.compile(r"[0-9]{1,30}")


def _door(request: Request) -> Door:
    return cast(Door, request.app.state.door)


def _based(
    if_match: Annotated[str | None, Header(description="The version (ETag) that the change is based on.")] = None,
) -> str | None:
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().removeprefix("W/").strip('"')
    if not _VERSION.fullmatch(text):
        raise MalformedRequest('If-Match must be the version as the ETag said it, for example "4711".')
    return text


def now(request: Request) -> float:
    """Return seconds since the epoch."""
    clock = getattr(request.app.state, "clock", time.time)
    return float(clock())


Kubernetes = Annotated[Door, Depends(_door)]
Based = Annotated["str | None", Depends(_based)]
At = Annotated[float, Depends(now)]
Namespace = Annotated[
    "str | None", Query(max_length=63, pattern=r"^[a-z0-9-]*$", description="The namespace; a tenant's own by default.")
]
Labels = Annotated[str, Query(max_length=1000, pattern=LABEL_SELECTOR, description="Label selector.")]
Limit = Annotated[int, Query(ge=1, le=500, description="Objects per page.")]
Cursor = Annotated[str, Query(max_length=4096, pattern=r"^[\x21-\x7e]*$", description="`next` of the page before.")]
DryRun = Annotated[bool, Query(description="Check everything, keep nothing.")]
