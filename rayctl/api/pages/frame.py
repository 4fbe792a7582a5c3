"""What every page has around it: navigation, who is looking, what it follows; and pages about what went wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.responses import Response

from rayctl.api.auth import Principal, Role
from rayctl.api.pages.render import page
from rayctl.errors import RayctlError

__all__ = ["View", "problem_page", "shown", "view_of"]

NAV = (
    ("", "Home"),
    ("fleets", "Fleets"),
    ("services", "Services"),
    ("clusters", "Clusters"),
    ("runs", "Runs"),
    ("tenants", "Tenants"),
    ("system", "System"),
)
_CHANGES = "state deleted reset"


@dataclass(frozen=True)
class View:
    """The frame of a page. ``live``: the stream that it follows, ``events``: of which names; ``poll``: seconds."""

    here: str
    who: str
    mark: str
    may_act: bool
    all_namespaces: bool
    told: str = ""
    live: str = ""
    events: str = _CHANGES
    poll: int = 0
    nav: tuple[tuple[str, str], ...] = NAV


def view_of(request: Request, here: str, **more: Any) -> View:
    """Return the frame for the caller's page."""
    caller: Principal = request.state.caller
    acting = request.app.state.settings.dashboard_actions and caller.role >= Role.OPERATOR
    return View(
        here,
        f"{caller.tenant or 'all tenants'} · {caller.role.name.lower()}",
        getattr(request.state, "form_mark", ""),
        acting and bool(getattr(request.state, "form_mark", "")),
        caller.tenant is None,
        told=request.query_params.get("done", "")[:200] if request.query_params.get("done", "").isprintable() else "",
        **more,
    )


def shown(request: Request, template: str, here: str, frame: dict[str, Any] | None = None, **values: Any) -> Response:
    """Return a page in its frame."""
    return page(template, view=view_of(request, here, **(frame or {})), **values)


def problem_page(request: Request, error: RayctlError) -> Response:
    """Return the page about an error."""
    problem = {"hint": None, **error.to_problem()}
    return page("problem.html", problem["status"], view=view_of(request, "?"), problem=problem)
