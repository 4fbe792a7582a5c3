"""What a browser may do here: under which names it may come, from where, and as whom. Pure.

A page of somebody else, open in the same browser, can send requests to this address; it must get nothing and change
nothing. So the name in ``Host`` is checked (a foreign name that resolves to this machine is refused), changes must
come from our own pages, and a session is only good for looking and for what our own forms send.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from rayctl.errors import Forbidden

__all__ = ["COOKIE", "LOOKING", "check_browser", "host_allowed", "is_page", "session_of"]

COOKIE = "rayctl_session"
LOOKING = frozenset({"GET", "HEAD", "OPTIONS"})
_PAGES = "/ui"


def is_page(path: str) -> bool:
    """Whether a path is one of the pages for browsers."""
    return path == _PAGES or path.startswith(_PAGES + "/")


def session_of(headers: Headers) -> str:
    """Return the session in the request's cookies; empty if there is none."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def host_allowed(host: str, allowed: Collection[str]) -> bool:
    """Whether browsers may use a name: this machine's own, or one that the operator has named."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".").lower()
    except ValueError:
        return False
    if name == "localhost" or name in {item.lower() for item in allowed}:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_browser(method: str, path: str, headers: Headers, allowed: Collection[str]) -> None:
    """Refuse what no page of ours has sent.

    Raises:
        Forbidden: the name is not ours, or the request comes from another site.
    """
    site, origin = headers.get("sec-fetch-site", ""), headers.get("origin")
    if not (is_page(path) or site or origin or session_of(headers)):
        return  # no browser: its token says enough
    host = headers.get("host", "")
    if not host_allowed(host, allowed):
        raise Forbidden(
            "Browsers may not use this service under this name.",
            code="host-not-allowed",
            hint="Use localhost, or have the operator add the name to RAYCTL_ALLOWED_HOSTS.",
        )
    foreign = site in ("cross-site", "same-site")
    navigates = (
        headers.get("sec-fetch-mode") == "navigate"
        and method in LOOKING
        and headers.get("sec-fetch-dest") == "document"
    )
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        foreign, navigates = True, False
    if foreign and not navigates:
        raise Forbidden("This request comes from another site.", code="cross-site")
