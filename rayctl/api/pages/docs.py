"""The API's documentation as one page of our own, made of its OpenAPI document: nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from rayctl.api.pages.render import SECURITY, page, static_file
from rayctl.errors import NotFound

__all__ = ["groups_of", "router"]

router = APIRouter(tags=["system"])


@router.get("/docs", response_class=Response, include_in_schema=False)
async def docs(request: Request) -> Response:
    """All operations, with parameters and answers."""
    document = request.app.openapi()
    about = str(document["info"].get("description", "")).split("\n\n")
    base = f"{request.url.scheme}://{request.url.netloc}"
    return page("docs.html", description=about, groups=groups_of(document), base=base)


@router.get("/ui/static/{name}", include_in_schema=False)
async def static(name: str) -> Response:
    """Style and script of the pages."""
    found = static_file(name)
    if found is None:
        raise NotFound("There is no such file.", code="no-such-path")
    return Response(found[0], media_type=found[1], headers={**SECURITY, "Cache-Control": "no-cache"})


def groups_of(document: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return an OpenAPI document's operations for people, by group."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path, methods in sorted(document["paths"].items()):
        for method, operation in methods.items():
            if isinstance(operation, dict):
                tag = (operation.get("tags") or ["other"])[0]
                found.setdefault(str(tag), []).append(_operation(path, method, operation))
    return found


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    first, _, rest = str(operation.get("description") or operation.get("summary") or "").partition("\n\n")
    body = operation.get("requestBody") or {}
    return {
        "id": f"{method}-{path.strip('/').replace('/', '-')}",
        "method": method.upper(),
        "path": path,
        "text": first,
        "more": rest,
        "parameters": [_parameter(item) for item in operation.get("parameters") or ()],
        "bodies": list(body.get("content") or {}),
        "answers": [(code, str(item.get("description", ""))) for code, item in operation["responses"].items()],
    }


def _parameter(item: Mapping[str, Any]) -> dict[str, Any]:
    schema = item.get("schema") or {}
    kinds = [
        str(part.get("type")) for part in schema.get("anyOf") or [schema] if part.get("type") not in (None, "null")
    ]
    limits = [str(value) for value in schema.get("enum") or ()]
    return {
        "name": item["name"],
        "in": item["in"],
        "required": bool(item.get("required")),
        "description": str(item.get("description") or ""),
        "type": ", ".join([*kinds, *limits]),
    }
