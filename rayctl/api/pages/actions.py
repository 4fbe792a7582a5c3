"""The buttons of the pages, where the operator has allowed them: the same changes as the API's, for the same roles."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from rayctl.api.auth import Role
from rayctl.api.deps import Caller
from rayctl.api.kube.changes import Target, changed
from rayctl.api.kube.deps import At, Kubernetes
from rayctl.api.kube.kinds import BY_WORD
from rayctl.api.kube.routes.steering import VERBS, decide
from rayctl.api.kube.scope import named_namespace, object_name
from rayctl.api.pages.gate import checked_form
from rayctl.api.pages.render import SECURITY
from rayctl.core.steering import Steered
from rayctl.errors import Forbidden, MalformedRequest

__all__ = ["router"]

router = APIRouter(include_in_schema=False)
_REVISION = re.compile(r"[0-9]{1,30}")
_SUSPENDING = {"suspend": True, "resume": False}


@router.post("/ui/actions")
async def act(request: Request, caller: Caller, door: Kubernetes, at: At) -> Response:
    """Do what a button says, to the version that the page showed."""
    form = await checked_form(request)
    if not request.app.state.settings.dashboard_actions:
        raise Forbidden("These pages are read-only.", code="read-only", hint="The operator can allow actions.")
    caller.need(Role.OPERATOR)
    kind, verb, name = BY_WORD.get(form.get("kind", "")), form.get("verb", ""), form.get("name", "")
    if kind is None or not name or not _REVISION.fullmatch(form.get("revision", "")):
        raise MalformedRequest("The form is not complete.")
    where = named_namespace(caller, form.get("namespace"), kind.one, name)
    target = Target(door, kind, where, object_name(kind.one, name), form["revision"])
    change = await _decided(target, verb, at)
    await changed(target, change)
    told = urlencode({"done": f"{kind.one}/{name} {change.text}"})
    place = quote(f"/ui/{kind.word}/{where}/{name}")
    return RedirectResponse(f"{place}?{told}", 303, headers=SECURITY)


async def _decided(target: Target, verb: str, at: float) -> Steered:
    asked: dict[str, Any] = {}
    if (target.kind.word, verb) in VERBS and verb != "weight":
        return await decide(target, verb, asked, at)
    if target.kind.suspends and verb in _SUSPENDING:
        word = "suspended" if _SUSPENDING[verb] else "resumed"
        return Steered(word, {"spec": {"suspend": _SUSPENDING[verb]}})
    raise MalformedRequest("There is no such action.")
