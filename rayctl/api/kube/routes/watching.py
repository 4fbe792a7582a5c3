"""Events and changes as they happen, and what is under way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from rayctl.api.deps import Caller
from rayctl.api.documents import answer
from rayctl.api.kube.deps import Kubernetes, Labels, Namespace
from rayctl.api.kube.documents import EventList, Operation, OperationList
from rayctl.api.kube.door import Door
from rayctl.api.kube.following import Followed, follow, resumed_at
from rayctl.api.kube.gathering import events_in
from rayctl.api.kube.kinds import BY_WORD, KINDS, Kind
from rayctl.api.kube.scope import named_namespace, object_name, seen_namespace
from rayctl.api.kube.wish import Name
from rayctl.api.sse import StreamSlots
from rayctl.clock import iso
from rayctl.errors import InvalidRequest, NotFound
from rayctl.kube.kinds import EVENTS
from rayctl.views.events import Happened, about, happened
from rayctl.views.operations import deletion, parse_operation, under_way
from rayctl.views.summary import summary

__all__ = ["change_of", "event_row", "operations_of", "router", "stream"]

router = APIRouter(tags=["clusters"])
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}, "text/event-stream": {}}}}
LastId = Annotated[str | None, Header(description="The id of the last event that was seen.")]
Since = Annotated[str, Query(max_length=200, pattern=r"^[0-9.]*$", description="As Last-Event-ID, in the address.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most this many.")]


def event_row(event: Happened) -> dict[str, Any]:
    """Return a Kubernetes event as JSON."""
    return {
        "at": iso(event.last_at),
        "type": event.type,
        "reason": event.reason,
        "object": event.subject,
        "namespace": event.namespace,
        "message": event.message,
        "count": event.count,
        "source": event.source,
    }


def _event(change: str, document: dict[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    return None if change == "DELETED" else ("event", event_row(happened(document)))


def change_of(kind: Kind) -> Any:
    """Return what is told of a change of a kind's objects."""

    def shown(change: str, document: dict[str, Any]) -> tuple[str, Mapping[str, Any]]:
        document.setdefault("kind", kind.resource.kind)
        document.setdefault("apiVersion", kind.resource.api_version)
        if change == "DELETED":
            metadata = document["metadata"]
            row = {"kind": kind.resource.kind, "namespace": metadata.get("namespace", ""), "name": metadata["name"]}
            return "deleted", row
        return "state", summary(document)

    return shown


def wants_stream(request: Request) -> bool:
    """Whether the caller asked for a stream."""
    return "text/event-stream" in request.headers.get("accept", "")


async def stream(request: Request, door: Door, selections: list[Followed], last: str | None, since: str) -> Response:
    """Return the stream of several selections."""
    slots: StreamSlots = request.app.state.kube_slots
    slots.check()
    at = resumed_at(last, since, len(selections))
    await door.transport()  # without one this is a clear 503, and no stream that breaks off
    return StreamingResponse(follow(door, selections, at, slots), media_type="text/event-stream", headers=_HEADERS)


@router.get("/v1/events", response_model=EventList, responses=_STREAM)
async def events(
    request: Request,
    door: Kubernetes,
    caller: Caller,
    namespace: Namespace = None,
    limit: Limit = 200,
    since: Since = "",
    last_event_id: LastId = None,
) -> Response:
    """Events of all objects, newest first; with `Accept: text/event-stream` as they happen, resumable by id."""
    where = seen_namespace(caller, namespace)
    if wants_stream(request):
        return await stream(request, door, [Followed(EVENTS, _event, where)], last_event_id, since)
    found = await events_in(door, where)
    return answer({"items": [event_row(event) for event in reversed(found[-limit:])]})


@router.get(
    "/v1/changes",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def changes(
    request: Request,
    door: Kubernetes,
    caller: Caller,
    kind: Annotated[str, Query(pattern=r"^[a-z,]{0,60}$", description="Which, with commas; empty: all.")] = "",
    namespace: Namespace = None,
    label: Labels = "",
    since: Since = "",
    last_event_id: LastId = None,
) -> Response:
    """Objects as they change: what is there, `synced` per kind, then events `state` and `deleted`, resumable by id."""
    words = [word for word in kind.split(",") if word] or [known.word for known in KINDS]
    if not set(words) <= set(BY_WORD) or len(set(words)) != len(words):
        hint = f"There are {', '.join(BY_WORD)}."
        raise InvalidRequest("There is no such kind.", hint=hint, errors=[{"pointer": "/kind", "message": hint}])
    where = seen_namespace(caller, namespace)
    selections = [Followed(BY_WORD[word].resource, change_of(BY_WORD[word]), where, label) for word in words]
    return await stream(request, door, selections, last_event_id, since)


def _add(kind: Kind) -> None:
    async def events_of_object(
        request: Request,
        name: Name,
        door: Kubernetes,
        caller: Caller,
        namespace: Namespace = None,
        since: Since = "",
        last_event_id: LastId = None,
    ) -> Response:
        where = named_namespace(caller, namespace, kind.one, name)
        if wants_stream(request):
            by_name = f"metadata.name={object_name(kind.one, name)}"
            subject = f"{kind.resource.kind.lower()}/{name}"

            def mine(change: str, document: dict[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
                return _event(change, document) if happened(document).subject == subject else None

            selections = [
                Followed(kind.resource, change_of(kind), where, fields=by_name),
                Followed(EVENTS, mine, where),
            ]
            if resumed_at(last_event_id, since, 2) is None:
                await door.get(kind.resource, where, name)  # a new reader is told at once that it is not there
            return await stream(request, door, selections, last_event_id, since)
        document = await door.get(kind.resource, where, object_name(kind.one, name))
        found = about(await events_in(door, where), document)
        return answer({"items": [event_row(event) for event in reversed(found)]})

    router.add_api_route(
        f"/v1/{kind.word}/{{name}}/events",
        events_of_object,
        methods=["GET"],
        operation_id=f"events_{kind.word}",
        description=f"Events about a {kind.one}; with `Accept: text/event-stream` its states, too, as they happen.",
        response_model=EventList,
        responses=_STREAM,
    )


for _kind in KINDS:
    _add(_kind)


async def operations_of(door: Door, where: str) -> list[dict[str, Any]]:
    """Return what is under way in a namespace (empty: in all): rollouts, switchovers, changes, deletions."""
    found = []
    for kind in KINDS:
        for document in await door.all(kind.resource, where):
            operation = under_way(kind.word, document)
            owned = any(owner.get("controller") for owner in document["metadata"].get("ownerReferences") or ())
            # What a fleet's clusters go through is part of the fleet's rollout.
            if operation["state"] != "done" and not owned:
                found.append(operation)
    return found


@router.get("/v1/operations", response_model=OperationList)
async def operations(door: Kubernetes, caller: Caller, namespace: Namespace = None) -> Response:
    """What is under way: rollouts, switchovers, changes of clusters, deletions."""
    return answer({"items": await operations_of(door, seen_namespace(caller, namespace))})


@router.get("/v1/operations/{operation}", response_model=Operation)
async def operation(
    operation: Annotated[str, Path(description="The id of an operation, as in the list.")],
    door: Kubernetes,
    caller: Caller,
) -> Response:
    """How far an operation is: `running`, `waiting` (for somebody), `done`, `failed`."""
    asked = parse_operation(operation)
    if asked is None or asked.word not in BY_WORD or caller.tenant not in (None, asked.namespace):
        raise NotFound("There is no such operation.", code="operation-not-found")
    document = await door.find(BY_WORD[asked.word].resource, asked.namespace, asked.name)
    if asked.what == "delete":
        found = deletion(asked, document)
    elif document is None:
        raise NotFound("There is no such operation: the object is gone.", code="operation-not-found")
    else:
        found = under_way(asked.word, document)
    headers = {"Retry-After": "2"} if found["state"] == "running" else {}
    return answer(found, headers=headers)
