"""What pods can be asked beside the usual: binding, eviction, logs."""

from __future__ import annotations

from typing import Any

from rayctl.embedded.apiserver.api import Api
from rayctl.embedded.apiserver.bodies import parse
from rayctl.embedded.apiserver.deleting import DeleteOptions, delete_stored
from rayctl.embedded.apiserver.documents import copied
from rayctl.embedded.apiserver.errors import (
    ApiError,
    bad_request,
    conflict,
    method_not_supported,
    not_found,
    success,
)
from rayctl.embedded.apiserver.pod_logs import pod_log
from rayctl.embedded.apiserver.presenting import Presenter
from rayctl.embedded.apiserver.requests import Info, Request, Response, Stream
from rayctl.embedded.apiserver.resources import Resource
from rayctl.embedded.apiserver.schema.formats import now_seconds
from rayctl.embedded.apiserver.store import Change, Stored, dumps

__all__ = ["answer"]


async def answer(api: Api, request: Request, info: Info, resource: Resource, presenter: Presenter) -> Response | Stream:
    """Answer a request for a subresource other than status and scale.

    Raises:
        ApiError: as the API has it.
    """
    stored = api.store.newest(resource.storage, info.namespace, info.name)
    if stored is None:
        raise not_found(resource.group, resource.plural, info.name)
    if info.subresource == "log":
        if info.verb != "get":
            raise method_not_supported(info.verb, resource.group, resource.plural)
        return await pod_log(api, request, info, stored)
    if info.verb != "create":
        raise method_not_supported(info.verb, resource.group, resource.plural)
    if info.subresource == "binding":
        await _bind(api, request, info, stored)
    elif info.subresource == "eviction":
        await _evict(api, info, resource, stored)
    else:
        raise method_not_supported(info.verb, resource.group, resource.plural)
    return Response(201, dumps({**success(), "code": 201}))


async def _bind(api: Api, request: Request, info: Info, stored: Stored) -> None:
    document, _ = parse(request, "Binding")
    target = document.get("target") if isinstance(document, dict) else None
    node = target.get("name") if isinstance(target, dict) else None
    if not node:
        raise bad_request("Binding: target.name is required")
    spec = stored.object["spec"]
    if spec.get("nodeName"):
        text = f'pod {info.name} is already assigned to node "{spec["nodeName"]}"'
        raise conflict("", "pods/binding", info.name, text)
    new: dict[str, Any] = copied(stored.object)
    new["spec"]["nodeName"] = node
    conditions = new.setdefault("status", {}).setdefault("conditions", [])
    at = now_seconds(api.now())
    conditions.append({"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": at})
    await api.write(Change(stored.key, new))


async def _evict(api: Api, info: Info, resource: Resource, stored: Stored) -> None:
    labels = stored.object["metadata"].get("labels") or {}
    for budget in api.store.items("poddisruptionbudgets.policy", info.namespace):
        wanted = (budget.object.get("spec", {}).get("selector") or {}).get("matchLabels") or {}
        if not wanted or any(labels.get(key) != value for key, value in wanted.items()):
            continue
        if budget.object.get("status", {}).get("disruptionsAllowed", 0) <= 0:
            text = "Cannot evict pod as it would violate the pod's disruption budget."
            cause = {
                "reason": "DisruptionBudget",
                "message": f"The disruption budget {budget.name} does not allow it now",
            }
            raise ApiError(429, "TooManyRequests", text, {"causes": [cause], "retryAfterSeconds": 10})
    await delete_stored(api, resource, stored, DeleteOptions())
