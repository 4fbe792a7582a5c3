"""Steering rollouts of fleets and switchovers of services."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from rayctl.api.deps import Settings
from rayctl.api.kube.changes import Target
from rayctl.api.kube.deps import At
from rayctl.api.kube.documents import ObjectDocument, Promotion, Rollback, Undo, Weight
from rayctl.api.kube.kinds import BY_WORD
from rayctl.api.kube.routes.writing import body_of, body_schema
from rayctl.api.kube.wish import Wished
from rayctl.core.steering import Steered
from rayctl.errors import InvalidRequest
from rayctl.fleet import steer as fleets
from rayctl.kube.kinds import CONFIG_MAPS, REPLICA_SETS
from rayctl.service import steer as services
from rayctl.service.history import SERVICE

__all__ = ["VERBS", "decide", "router"]

router = APIRouter(tags=["clusters"])
Decide = Callable[[Target, Any, float], Awaitable[Steered]]


class Nothing(BaseModel):
    """No options."""

    model_config = ConfigDict(extra="forbid")


async def _pause(target: Target, asked: Any, now: float) -> Steered:
    return fleets.pause()


async def _resume(target: Target, asked: Any, now: float) -> Steered:
    return fleets.resume()


async def _restart(target: Target, asked: Any, now: float) -> Steered:
    return fleets.restart(now)


async def _undo(target: Target, asked: Undo, now: float) -> Steered:
    sets = await target.door.all(REPLICA_SETS, target.namespace)
    return fleets.undo(await target.get(), sets, asked.to_revision)


async def _promote_fleet(target: Target, asked: Promotion, now: float) -> Steered:
    if asked.retry:
        raise InvalidRequest("Only services try again.", errors=[{"pointer": "/retry", "message": "leave it out"}])
    return fleets.promote(await target.get(), asked.full)


async def _abort_fleet(target: Target, asked: Any, now: float) -> Steered:
    return fleets.abort(await target.get())


async def _promote_service(target: Target, asked: Promotion, now: float) -> Steered:
    if asked.full:
        raise InvalidRequest("Services have no steps.", errors=[{"pointer": "/full", "message": "leave it out"}])
    document = await target.get()
    return services.retry(document) if asked.retry else services.promote(document)


async def _abort_service(target: Target, asked: Any, now: float) -> Steered:
    return services.abort(await target.get())


async def _weight(target: Target, asked: Weight, now: float) -> Steered:
    return services.weight(await target.get(), asked.percent)


async def _rollback(target: Target, asked: Rollback, now: float) -> Steered:
    kept = await target.door.all(CONFIG_MAPS, target.namespace, labels=f"{SERVICE}={target.name}")
    return services.rollback(await target.get(), kept, asked.to_revision)


VERBS: dict[tuple[str, str], tuple[Decide, type[BaseModel], str]] = {
    ("fleets", "pause"): (_pause, Nothing, "Let changes of the template wait; the fleet can still be scaled."),
    ("fleets", "resume"): (_resume, Nothing, "Go on with what has waited since `:pause`."),
    ("fleets", "undo"): (_undo, Undo, "Give the fleet the template of an earlier revision."),
    ("fleets", "restart"): (_restart, Nothing, "Replace all clusters by new ones, as the strategy allows."),
    ("fleets", "promote"): (_promote_fleet, Promotion, "Let the step pass at which a rollout waits."),
    ("fleets", "abort"): (_abort_fleet, Nothing, "Give the newest revision up; the last good one takes its place."),
    ("services", "promote"): (_promote_service, Promotion, "Move the traffic as soon as the new side is ready."),
    ("services", "abort"): (_abort_service, Nothing, "Give the switch up and keep the side that serves."),
    ("services", "weight"): (_weight, Weight, "Give the new side a share of the traffic and no more."),
    ("services", "rollback"): (_rollback, Rollback, "Return to an earlier specification."),
}
"""(kind, verb) → what decides on the change, its options, what it does."""


async def decide(target: Target, verb: str, asked: dict[str, Any], now: float) -> Steered:
    """Return the change that a verb comes to now. Raises KeyError for an unknown verb."""
    work, model, _ = VERBS[target.kind.word, verb]
    return await work(target, model.model_validate(asked), now)


def _add(word: str, verb: str) -> None:
    work, model, text = VERBS[word, verb]

    async def steer(wish: Wished, settings: Settings, at: At) -> Response:
        asked = await body_of(wish.request, settings, model)
        target = wish.target(BY_WORD[word])
        return await wish.steer(target, lambda: work(target, asked, at), asked.model_dump())

    router.add_api_route(
        f"/v1/{word}/{{name}}:{verb}",
        steer,
        methods=["POST"],
        status_code=202,
        operation_id=f"{verb}_{word}",
        description=text,
        openapi_extra=body_schema(model, required=model is Weight) if model is not Nothing else None,
        response_model=ObjectDocument,
    )


for _word, _verb in VERBS:
    _add(_word, _verb)
