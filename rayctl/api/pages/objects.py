"""Pages about Kubernetes objects: home, lists, one object with its rollout or switchover."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import RedirectResponse, Response

from rayctl.api.auth import Principal
from rayctl.api.deps import Caller, Service
from rayctl.api.kube.deps import At, Cursor, Kubernetes, Labels
from rayctl.api.kube.door import Door
from rayctl.api.kube.following import Followed
from rayctl.api.kube.gathering import events_in, fleet_parts, gather
from rayctl.api.kube.kinds import BY_WORD, KINDS, Kind
from rayctl.api.kube.routes.reading import tree_document
from rayctl.api.kube.routes.watching import LastId, change_of, event_row, stream
from rayctl.api.kube.scope import named_namespace, object_name, seen_namespace
from rayctl.api.pages.frame import shown
from rayctl.api.pages.others import EMPTY_RUN
from rayctl.errors import NotFound, Unavailable
from rayctl.fleet.capacity import demand, text_of, total
from rayctl.fleet.preview import preview
from rayctl.fleet.view import fleet_view, history
from rayctl.kube.kinds import RAY_CLUSTERS, REPLICA_SETS, SERVICES
from rayctl.service.view import service_view
from rayctl.views.events import about
from rayctl.views.explanation import Surroundings, explain
from rayctl.views.summary import attention, counts, summary

__all__ = ["router"]

router = APIRouter(include_in_schema=False)
_TITLES = {"fleets": "Fleets", "services": "Services", "clusters": "Clusters"}
_PAGE = 50
_EVENTS = 25
_RECENT_S = 86400.0
_PLANNED = 100


async def _rows(door: Door, where: str) -> tuple[list[dict[str, Any]], str]:
    """Return a summary of every object, each with its kind's words, and what all clusters hold."""
    lists = await asyncio.gather(*[door.all(kind.resource, where) for kind in KINDS])
    rows = [
        {**summary(document), "word": kind.word, "one": kind.one}
        for kind, documents in zip(KINDS, lists, strict=True)
        for document in documents
    ]
    clusters = lists[[kind.word for kind in KINDS].index("clusters")]
    return rows, text_of(total(demand({"spec": item.get("spec") or {}}) for item in clusters))


def _card(word: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    found = counts(row for row in rows if row["word"] == word)
    return {"word": word, "text": _TITLES[word], "good": "ready", "busy": "progressing", **found}


@router.get("/")
async def root(request: Request) -> Response:
    """Lead browsers to the pages; for everybody else there is nothing here."""
    if "text/html" not in request.headers.get("accept", ""):
        raise HTTPException(404)
    return RedirectResponse("/ui/", 303)


@router.get("/ui")
@router.get("/ui/")
async def home(request: Request, door: Kubernetes, caller: Caller, service: Service, at: At) -> Response:
    """What needs attention, everywhere that the caller may look."""
    where, missing = caller.tenant or "", None
    rows: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    held = ""
    try:
        rows, held = await _rows(door, where)
        recent = [event for event in await events_in(door, where) if at - event.last_at < _RECENT_S]
        events = [event_row(event) for event in reversed(recent[-15:])]
    except Unavailable as error:
        missing = {"hint": "", **error.to_problem()}
    runs = (await service.list_runs(tenant=caller.tenant, limit=200))["items"]
    states = [str(run["state"]) for run in runs]
    cards = [] if missing else [_card(word, rows) for word in _TITLES]
    cards.append(
        {
            "word": "runs",
            "text": "Runs",
            "total": len(runs),
            "ready": states.count("succeeded"),
            "good": "succeeded",
            "busy": "under way",
            "progressing": states.count("running") + states.count("queued"),
            "failed": states.count("failed"),
            "other": 0,
        }
    )
    failed = [{**EMPTY_RUN, **run} for run in runs if run["state"] == "failed"][:5]
    # What a fleet's clusters go through is told by the fleet.
    worth = attention(row for row in rows if not row.get("owner") or row["state"] == "failed")
    frame = {"live": "/ui/live"} if missing is None else {"poll": 10}
    values = {"attention": worth[:20], "failed_runs": failed, "cards": cards, "held": held}
    return shown(request, "home.html", "", frame, missing=missing, events=events, **values)


@router.get("/ui/live")
async def live(
    request: Request, door: Kubernetes, caller: Caller, kind: str = "", last_event_id: LastId = None
) -> Response:
    """What changes from now on, for the pages' script: only that something has."""
    words = [word for word in kind.split(",") if word in BY_WORD] or list(BY_WORD)
    where = caller.tenant or ""
    selections = [
        Followed(BY_WORD[word].resource, change_of(BY_WORD[word]), where, history=False)
        for word in dict.fromkeys(words)
    ]
    return await stream(request, door, selections, last_event_id, "")


def _add_list(kind: Kind) -> None:
    async def listing(
        request: Request,
        door: Kubernetes,
        caller: Caller,
        namespace: str = "",
        label: Labels = "",
        cursor: Cursor = "",
    ) -> Response:
        where = seen_namespace(caller, namespace)
        items, following, _ = await door.page(kind.resource, where, label, limit=_PAGE, cursor=cursor)
        sets = []
        if kind.word == "clusters":
            sets = [summary(item) for item in (await door.page(REPLICA_SETS, where, label, limit=_PAGE))[0]]
        return shown(
            request,
            "list.html",
            kind.word,
            {"live": f"/ui/live?kind={kind.word}"},
            title=_TITLES[kind.word],
            word=kind.word,
            rows=[summary(item) for item in items],
            sets=sets,
            label=label,
            namespace=namespace,
            cursor=cursor,
            next=following,
        )

    router.add_api_route(f"/ui/{kind.word}", listing, methods=["GET"])


for _kind in KINDS:
    if _kind.word in _TITLES:
        _add_list(_kind)


@router.get("/ui/{word}/{namespace}/{name}")
async def one_object(
    request: Request, word: str, namespace: str, name: str, door: Kubernetes, caller: Caller, at: At
) -> Response:
    """One object: why it is not ready, its rollout or switchover, its parts, its events."""
    kind = BY_WORD.get(word)
    if kind is None:
        raise NotFound("There is nothing at this path.", code="no-such-path")
    where = named_namespace(caller, namespace, kind.one, name)
    document = await door.get(kind.resource, where, object_name(kind.one, name))
    node, happened = await gather(door, document), await events_in(door, where)
    row = summary(document)
    found = {
        "rollout": None,
        "plan": None,
        "history": [],
        "switch": None,
        "tree": tree_document(node) if node.children else None,
        **await _parts(door, kind, document, at),
    }
    return shown(
        request,
        "object.html",
        "clusters" if word == "sets" else word,
        {"live": f"/ui/live?kind={_FOLLOWED[word]}"},
        word=word,
        row=row,
        why=explain(node, Surroundings(happened), at).document(),
        buttons=_buttons(word, row),
        events=[event_row(event) for event in reversed(about(happened, document)[-_EVENTS:])],
        document=document,
        commands=_commands(word, row, caller),
        **found,
    )


_FOLLOWED = {
    "fleets": "fleets,sets,clusters",
    "sets": "sets,clusters",
    "clusters": "clusters",
    "services": "services,clusters",
}


async def _parts(door: Door, kind: Kind, document: dict[str, Any], at: float) -> dict[str, Any]:
    """Return what only this kind has."""
    where = document["metadata"].get("namespace", "")
    if kind.word == "fleets":
        sets, clusters = await fleet_parts(door, where)
        view = fleet_view(document, sets, clusters, at)
        found = {"rollout": view, "history": history(document, sets), "tree": None}
        large = view["wanted"] > _PLANNED or len(clusters) > _PLANNED  # it would take seconds for every look
        if not document["metadata"].get("deletionTimestamp") and not large:
            found["plan"] = (await asyncio.to_thread(preview, document, sets, clusters, at)).document()
        return found
    if kind.word == "services":
        clusters = await door.all(RAY_CLUSTERS, where)
        return {"switch": service_view(document, clusters, await door.all(SERVICES, where), at)}
    return {}


def _buttons(word: str, row: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what can be done now, in the order in which it is likely to be wanted."""
    found: list[tuple[str, str]] = []
    state = row["state"]
    if word == "fleets":
        found = [("resume", "Resume")] if state == "paused" else [("pause", "Pause")]
        if state in ("progressing", "paused"):
            found += [("promote", "Promote step"), ("abort", "Abort")]
        found += [("undo", "Undo"), ("restart", "Restart")]
    elif word == "services":
        if row.get("pending") and row.get("active"):
            found = [("promote", "Promote"), ("abort", "Abort")]
        found += [("rollback", "Roll back")]
    if BY_WORD[word].suspends:
        found.append(("resume", "Resume") if state == "suspended" else ("suspend", "Suspend"))
    return [{"verb": verb, "text": text} for verb, text in found]


def _commands(word: str, row: Mapping[str, Any], caller: Principal) -> list[str]:
    name, where = row["name"], f" -n {row['namespace']}" if row["namespace"] != "default" else ""
    if word == "fleets":
        return [f"rayctl rollout status fleet/{name}{where}", f"rayctl explain fleet/{name}{where}"]
    if word == "services":
        return [f"rayctl service status {name}{where}", f"rayctl explain rayservice/{name}{where}"]
    return [f"rayctl describe {BY_WORD[word].one}/{name}{where}", f"rayctl explain {BY_WORD[word].one}/{name}{where}"]
