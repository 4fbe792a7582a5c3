"""Pages from templates, with headers that let them load nothing from elsewhere and run no script but ours."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Any
from urllib.parse import quote, urlencode

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape
from starlette.responses import Response

from rayctl.client.figures import number_text, share_text
from rayctl.clock import format_duration
from rayctl.telemetry.redaction import Redactor
from rayctl.views.readiness import moment
from rayctl.views.summary import bare

__all__ = ["POLICY", "SECURITY", "page", "static_file"]

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send our own forms with the origin null
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_STATIC = {"style.css": "text/css; charset=utf-8", "live.js": "text/javascript; charset=utf-8"}
_MARKS = {
    "ready": "✔",
    "succeeded": "✔",
    "complete": "✔",
    "serving": "✔",
    "done": "✔",
    "failed": "✖",
    "invalid": "✖",
    "paused": "‖",
    "waiting": "‖",
    "suspended": "‖",
    "cancelled": "‖",
    "deleting": "…",
}
_TONES = {
    "✔": "good",
    "✖": "bad",
    "‖": "held",
    "…": "held",
}


def _ago(value: Any) -> Markup:
    """Show a time as an age; the moment itself is in the title."""
    at = value if isinstance(value, (int, float)) else moment(value) if value else None
    if at is None:
        return Markup("–")
    text = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
    return Markup('<time title="{}">{}</time>').format(text, format_duration(time.time() - at))


def _duration(value: Any) -> str:
    return "–" if value is None else format_duration(float(value))


def _state(word: Any) -> Markup:
    """Show a state: its word, a sign and a colour, so that none of them is alone."""
    text = str(word or "unknown")
    mark = _MARKS.get(text, "◌")
    tone = _TONES.get(mark, "busy")
    return Markup('<span class="state {}"><span aria-hidden="true">{}</span> {}</span>').format(tone, mark, text)


def _code(text: str) -> Markup:
    """Show what is between backticks as code."""
    parts = str(text).split("`")
    shown = [
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    ]
    return Markup("").join(shown)


def _score(value: Any) -> str:
    return number_text(None if value is None else float(value), 5)


def _yaml(document: Mapping[str, Any]) -> str:
    hidden = Redactor().value(_hidden_env(bare(document)))
    return str(yaml.safe_dump(hidden, sort_keys=False, allow_unicode=True, width=100))


def _hidden_env(value: Any) -> Any:
    """Return a document in which the values of environment variables with a secret's name are named by that name."""
    if isinstance(value, list):
        return [_hidden_env(item) for item in value]
    if isinstance(value, Mapping):
        if set(value) == {"name", "value"}:
            redacted = Redactor().value({str(value["name"]): value["value"]})
            return {"name": value["name"], "value": next(iter(redacted.values()))}
        return {key: _hidden_env(item) for key, item in value.items()}
    return value


def _url(path: str, **query: Any) -> str:
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return quote(path) + (f"?{urlencode(given)}" if given else "")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("rayctl.api.pages"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(
        ago=_ago, duration=_duration, state=_state, score=_score, share=share_text, code=_code, yaml=_yaml
    )
    found.globals["url"] = _url
    return found


def page(template: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any) -> Response:
    """Return a page."""
    body = _environment().get_template(template).render(**values)
    given = {**SECURITY, **(headers or {})}
    return Response(body, status_code=status, headers=given, media_type="text/html; charset=utf-8")


@lru_cache(maxsize=8)
def static_file(name: str) -> tuple[bytes, str] | None:
    """Return a static file and its type, or None."""
    if name not in _STATIC:
        return None
    return (resources.files("rayctl.api.pages") / "static" / name).read_bytes(), _STATIC[name]
