"""Sizes of objects: scale, suspend, resume; and what a fleet's change would lead to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from rayctl.api.bodies import media_type
from rayctl.api.deps import Settings
from rayctl.api.documents import answer
from rayctl.api.kube.changes import created_or_applied
from rayctl.api.kube.deps import At, Kubernetes
from rayctl.api.kube.documents import ObjectDocument, PlanDocument, Scale
from rayctl.api.kube.door import MANAGER
from rayctl.api.kube.gathering import fleet_parts
from rayctl.api.kube.kinds import BY_WORD, KINDS, Kind
from rayctl.api.kube.routes.writing import BODY, body_of, body_schema, document_of, placed
from rayctl.api.kube.wish import Wished
from rayctl.cluster.scaling import group_patch
from rayctl.core.steering import Steered
from rayctl.errors import Conflict, InvalidRequest
from rayctl.kube.calls import Call
from rayctl.kube.kinds import CONFIG_MAPS, RAY_CLUSTERS, SERVICES

__all__ = ["router"]

router = APIRouter(tags=["clusters"])


def _add_suspend(kind: Kind, verb: str, wanted: bool) -> None:
    async def set_suspend(
        wish: Wished,
    ) -> Response:
        word = "suspended" if wanted else "resumed"
        return await wish.steer(wish.target(kind), lambda: Steered(word, {"spec": {"suspend": wanted}}))

    text = "Take its pods away and keep its specification." if wanted else "Bring back what suspending took away."
    router.add_api_route(
        f"/v1/{kind.word}/{{name}}:{verb}",
        set_suspend,
        methods=["POST"],
        status_code=202,
        operation_id=f"{verb}_{kind.word}",
        description=text,
        response_model=ObjectDocument,
    )


def _add_scale(kind: Kind) -> None:
    async def scale_object(
        wish: Wished,
        settings: Settings,
    ) -> Response:
        asked: Scale = await body_of(wish.request, settings, Scale)
        target = wish.target(kind)

        async def decide() -> Steered:
            return _scaled(kind, await target.get(), asked)

        return await wish.steer(target, decide, asked.model_dump())

    router.add_api_route(
        f"/v1/{kind.word}/{{name}}:scale",
        scale_object,
        methods=["POST"],
        status_code=202,
        operation_id=f"scale_{kind.word}",
        description="Set the number of workers of a group."
        if kind.word == "clusters"
        else "Set the number of clusters.",
        openapi_extra=body_schema(Scale),
        response_model=ObjectDocument,
    )


def _scaled(kind: Kind, document: Mapping[str, Any], asked: Scale) -> Steered:
    if kind.word == "clusters":
        return Steered("scaled", None, group_patch(dict(document), asked.group, asked.replicas, asked.current))
    if asked.group is not None:
        raise InvalidRequest("Only clusters have groups.", errors=[{"pointer": "/group", "message": "leave it out"}])
    have = (document.get("spec") or {}).get("replicas")
    have = 1 if have is None else int(have)
    if asked.current is not None and have != asked.current:
        raise Conflict(f"It has {have} replicas, not {asked.current}.", code="other-replicas")
    return Steered("scaled", {"spec": {"replicas": asked.replicas}})


for _kind in KINDS:
    if _kind.suspends:
        _add_suspend(_kind, "suspend", True)
        _add_suspend(_kind, "resume", False)
    if _kind.word != "services":
        _add_scale(_kind)


@router.post(
    "/v1/fleets/{name}:plan",
    response_model=PlanDocument,
    openapi_extra={"requestBody": {**BODY["requestBody"], "required": False}},
)
async def plan_fleet(wish: Wished, door: Kubernetes, settings: Settings, at: At) -> Response:
    """What the controllers would do next, step by step, and what it would take; with a body: if it were applied.

    Nothing is written. The steps come from the planners that the controllers run.
    """
    from rayctl.fleet.preview import preview
    from rayctl.fleet.wanted import as_wanted

    kind = BY_WORD["fleets"]
    wanted = await document_of(wish.request, settings, kind, wish.caller) if media_type(wish.request) else None
    inside = wanted["metadata"].get("namespace") if wanted is not None else None
    target = wish.target(kind, inside, dry_run=True)
    if wanted is not None:
        wanted = placed(wanted, target.namespace, target.name)
        if not isinstance(wanted.get("spec"), dict):
            raise InvalidRequest("The fleet has no specification.", errors=[{"pointer": "/spec", "message": "missing"}])
    live = await (door.find if wanted is not None else door.get)(kind.resource, target.namespace, target.name)
    document = as_wanted(live, wanted, target.namespace)
    try:
        # In a thread: the way of a large fleet takes seconds to imagine, and others must not wait for it.
        found = await asyncio.to_thread(preview, document, *await fleet_parts(door, target.namespace), at)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if wanted is None:
            raise
        # What nobody has checked yet may be of any shape; the API server says where it is wrong.
        await created_or_applied(target, wanted, force=True)
        raise InvalidRequest(f"This fleet cannot be planned: {error}.", code="not-plannable") from error
    return answer({"namespace": target.namespace, "name": target.name, **found.document()})


@router.post("/v1/services/{name}:plan", openapi_extra=BODY)
async def plan_service(wish: Wished, door: Kubernetes, settings: Settings) -> Response:
    """What applying a service would lead to: nothing new, a change in place, or a switch; its steps and resources."""
    from rayctl.service.children import Owner
    from rayctl.service.history import SERVICE
    from rayctl.service.preview import preview
    from rayctl.service.problems import cluster_problems

    kind = BY_WORD["services"]
    wanted = await document_of(wish.request, settings, kind, wish.caller)
    target = wish.target(kind, wanted["metadata"].get("namespace"), dry_run=True)
    where = target.namespace
    wanted = placed(wanted, where, target.name)
    live = await door.find(kind.resource, where, target.name)
    # The server checks it, and fills in defaults, which must not look like changes.
    service = await target.send(Call.apply(target.path, wanted, MANAGER))
    if live is None:
        found: dict[str, Any] = {"service": service}
    else:
        found = {
            "service": live,
            "clusters": [item for item in await door.all(RAY_CLUSTERS, where) if Owner(live).owns(item)],
            "services": await door.all(SERVICES, where),
            "revisions": await door.all(CONFIG_MAPS, where, labels=f"{SERVICE}={target.name}"),
        }
    return answer({"namespace": where, "name": target.name, **preview(found, service, cluster_problems).document()})
