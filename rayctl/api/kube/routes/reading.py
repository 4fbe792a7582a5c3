"""Looking at objects: list, get, explain, tree, and what a rollout or a switchover does."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from rayctl.api.deps import Caller
from rayctl.api.documents import answer
from rayctl.api.kube.deps import At, Cursor, Kubernetes, Labels, Limit, Namespace
from rayctl.api.kube.documents import ExplanationDocument, ObjectDocument, ObjectPage, object_answer
from rayctl.api.kube.gathering import explained, fleet_parts, gather
from rayctl.api.kube.kinds import BY_WORD, KINDS, Kind
from rayctl.api.kube.scope import named_namespace, object_name, seen_namespace
from rayctl.api.kube.wish import Name
from rayctl.kube.kinds import CONFIG_MAPS, RAY_CLUSTERS, SERVICES
from rayctl.views.family import Node
from rayctl.views.summary import summary

__all__ = ["router", "tree_document"]

router = APIRouter(tags=["clusters"])


def _add(kind: Kind) -> None:
    word, one, resource = kind.word, kind.one, kind.resource

    async def list_objects(
        door: Kubernetes,
        caller: Caller,
        namespace: Namespace = None,
        label: Labels = "",
        limit: Limit = 50,
        cursor: Cursor = "",
    ) -> Response:
        where = seen_namespace(caller, namespace)
        items, following, revision = await door.page(resource, where, label, limit=limit, cursor=cursor)
        headers = {"X-Resource-Version": revision}
        return answer({"items": [summary(item) for item in items], "next": following or None}, headers=headers)

    async def get_object(
        request: Request, name: Name, door: Kubernetes, caller: Caller, namespace: Namespace = None
    ) -> Response:
        where = named_namespace(caller, namespace, one, name)
        return object_answer(await door.get(resource, where, object_name(one, name)), request=request)

    async def explain_object(
        name: Name, door: Kubernetes, caller: Caller, at: At, namespace: Namespace = None
    ) -> Response:
        where = named_namespace(caller, namespace, one, name)
        document = await door.get(resource, where, object_name(one, name))
        return answer((await explained(door, document, at)).document())

    async def tree_of_object(name: Name, door: Kubernetes, caller: Caller, namespace: Namespace = None) -> Response:
        where = named_namespace(caller, namespace, one, name)
        return answer(tree_document(await gather(door, await door.get(resource, where, object_name(one, name)))))

    def add(path: str, work: Any, text: str, verb: str, model: Any) -> None:
        router.add_api_route(
            path,
            work,
            methods=["GET"],
            summary=text,
            description=text,
            operation_id=f"{verb}_{word}",
            response_model=model,
            responses={304: {"description": "Not changed."}} if verb == "get" else None,
        )

    base = f"/v1/{word}"
    add(base, list_objects, f"List {word}.", "list", ObjectPage)
    add(f"{base}/{{name}}", get_object, f"Look at one {one}; its ETag is the version to change.", "get", ObjectDocument)
    text = f"Why a {one} is not as it should be, since when, what it waits for, what can be done."
    add(f"{base}/{{name}}/explain", explain_object, text, "explain", ExplanationDocument)
    add(f"{base}/{{name}}/tree", tree_of_object, f"A {one} and all that it owns, down to the pods.", "tree", None)


def tree_document(node: Node) -> dict[str, Any]:
    """Return an object and all below it, each as its summary."""
    return {**summary(node.document), "children": [tree_document(child) for child in node.children]}


for _kind in KINDS:
    _add(_kind)


@router.get("/v1/fleets/{name}/rollout")
async def rollout_of_fleet(
    name: Name, door: Kubernetes, caller: Caller, at: At, namespace: Namespace = None
) -> Response:
    """The revisions of a fleet with their clusters, the step, and a verdict: complete, progressing, paused, failed."""
    from rayctl.fleet.view import fleet_view

    kind = BY_WORD["fleets"]
    where = named_namespace(caller, namespace, kind.one, name)
    fleet = await door.get(kind.resource, where, object_name(kind.one, name))
    sets, clusters = await fleet_parts(door, where)
    return answer(fleet_view(fleet, sets, clusters, at))


@router.get("/v1/fleets/{name}/history")
async def history_of_fleet(name: Name, door: Kubernetes, caller: Caller, namespace: Namespace = None) -> Response:
    """The revisions of a fleet, newest first."""
    from rayctl.fleet.view import history

    kind = BY_WORD["fleets"]
    where = named_namespace(caller, namespace, kind.one, name)
    fleet = await door.get(kind.resource, where, object_name(kind.one, name))
    return answer({"items": history(fleet, (await fleet_parts(door, where))[0])})


@router.get("/v1/services/{name}/switchover")
async def switchover_of_service(
    name: Name, door: Kubernetes, caller: Caller, at: At, namespace: Namespace = None
) -> Response:
    """Both sides of a service, its traffic, the present switch with its steps, and a verdict."""
    from rayctl.service.view import service_view

    kind = BY_WORD["services"]
    where = named_namespace(caller, namespace, kind.one, name)
    service = await door.get(kind.resource, where, object_name(kind.one, name))
    clusters, services = await door.all(RAY_CLUSTERS, where), await door.all(SERVICES, where)
    return answer(service_view(service, clusters, services, at))


@router.get("/v1/services/{name}/history")
async def history_of_service(name: Name, door: Kubernetes, caller: Caller, namespace: Namespace = None) -> Response:
    """The revisions of a service that can be returned to, newest first, and the last switches."""
    from rayctl.service.history import SERVICE
    from rayctl.service.view import history_rows, switch_rows

    kind = BY_WORD["services"]
    where = named_namespace(caller, namespace, kind.one, name)
    service = await door.get(kind.resource, where, object_name(kind.one, name))
    kept = await door.all(CONFIG_MAPS, where, labels=f"{SERVICE}={name}")
    rows = [{key: value for key, value in row.items() if key != "spec"} for row in history_rows(service, kept)]
    return answer({"items": rows, "switches": switch_rows(service)})
