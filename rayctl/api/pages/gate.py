"""Logging a browser in and out, and the mark that a form must carry."""

from __future__ import annotations

import hmac
import time
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from rayctl.api.auth import TokenBook
from rayctl.api.bodies import media_type, read_body, unsupported_media
from rayctl.api.browser import COOKIE, is_page, session_of
from rayctl.api.pages.render import SECURITY, page
from rayctl.errors import Forbidden, MalformedRequest, NotAuthenticated

__all__ = ["checked_form", "read_form", "router"]

router = APIRouter(include_in_schema=False)
_SESSION_S = 12 * 3600
_MOST_BYTES = 16 * 1024
_FORM = "application/x-www-form-urlencoded"


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form. Raises MalformedRequest, and the 415 refusal for anything else."""
    if media_type(request) != _FORM:
        raise unsupported_media(request, _FORM)
    try:
        text = (await read_body(request, _MOST_BYTES)).decode("ascii")
        fields = parse_qs(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=20, errors="strict")
    except ValueError:
        raise MalformedRequest("The form cannot be read.") from None
    return {name: values[-1] for name, values in fields.items()}


async def checked_form(request: Request) -> dict[str, str]:
    """Return the fields of a form that a page of this session has sent. Raises Forbidden."""
    form = await read_form(request)
    mark: Any = getattr(request.state, "form_mark", None)
    if not isinstance(mark, str) or not hmac.compare_digest(mark.encode(), form.get("mark", "").encode()):
        raise Forbidden("The form is not of this session.", code="form-not-ours", hint="Load the page again.")
    return form


@router.get("/ui/login")
async def login_form(request: Request, next: str = "") -> Response:
    """The form that takes a token."""
    return page("login.html", problem="", next=_own_path(next))


@router.post("/ui/login")
async def login(request: Request) -> Response:
    """Open a session for a token."""
    form = await read_form(request)
    tokens: TokenBook = request.app.state.tokens
    until = int(time.time()) + _SESSION_S
    following = _own_path(form.get("next", ""))
    try:
        session = tokens.open_session(form.get("token", ""), until)
    except NotAuthenticated:
        return page("login.html", 401, problem="This token is not known to this service.", next=following)
    answer = RedirectResponse(following, 303, headers=SECURITY)
    answer.set_cookie(
        COOKIE, session, _SESSION_S, path="/", secure=request.url.scheme == "https", httponly=True, samesite="strict"
    )
    return answer


@router.post("/ui/logout")
async def logout(request: Request) -> Response:
    """Have the browser forget the session."""
    if session_of(request.headers):
        await checked_form(request)
    answer = RedirectResponse("/ui/login", 303, headers=SECURITY)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


def _own_path(text: str) -> str:
    """Return a path of ours: a link to the login form must not lead elsewhere afterwards."""
    inside = text.isascii() and text.isprintable() and "\\" not in text and is_page(text.partition("?")[0])
    return text if inside and not text.startswith("/ui/login") else "/ui/"
