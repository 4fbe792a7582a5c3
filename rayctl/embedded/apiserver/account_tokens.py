"""POST of ``serviceaccounts/NAME/token``: a token of an account, for a pod or for whoever may ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayctl.embedded.apiserver.access.accounts import AUDIENCE, AccountTokens, Bound
from rayctl.embedded.apiserver.api import Api
from rayctl.embedded.apiserver.bodies import parse
from rayctl.embedded.apiserver.errors import (
    ApiError,
    FieldError,
    bad_request,
    conflict,
    invalid,
    invalid_value,
    method_not_supported,
    not_found,
    not_supported,
)
from rayctl.embedded.apiserver.requests import Info, Request, Response
from rayctl.embedded.apiserver.resources import Resource, with_metadata
from rayctl.embedded.apiserver.schema.decode import TypeMismatch, coerce
from rayctl.embedded.apiserver.schema.formats import now_seconds
from rayctl.embedded.apiserver.schema.node import parse as parse_schema
from rayctl.embedded.apiserver.store import dumps

__all__ = ["LASTS_S", "request_token"]

KIND = "TokenRequest"
LASTS_S, LEAST_S, MOST_S = 3600, 600, 86_400
"""Seconds: unless told otherwise, at least (else refused), at most (more is cut, as a server may)."""
_TEXT = {"type": "string"}
_SPEC = {
    "type": "object",
    "properties": {
        "audiences": {"type": "array", "items": _TEXT},
        "expirationSeconds": {"type": "integer"},
        "boundObjectRef": {
            "type": "object",
            "properties": dict.fromkeys(("apiVersion", "kind", "name", "uid"), _TEXT),
        },
    },
}
_STATUS = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_NODE = with_metadata(parse_schema({"type": "object", "properties": {"spec": _SPEC, "status": _STATUS}}))


def request_token(api: Api, tokens: AccountTokens | None, request: Request, info: Info, resource: Resource) -> Response:
    """Answer a request for a token.

    Raises:
        ApiError: as the API has it.
    """
    if info.verb != "create":
        raise method_not_supported(info.verb, resource.group, resource.plural)
    account = api.store.newest(resource.storage, info.namespace, info.name)
    if account is None:
        raise not_found(resource.group, resource.plural, info.name)
    if tokens is None:
        raise ApiError(404, "NotFound", "the server could not find the requested resource", {})
    document = _decode(request)
    spec = document.get("spec") or {}
    lasts_s = spec.get("expirationSeconds", LASTS_S)
    errors = _check(lasts_s, spec.get("boundObjectRef"))
    if errors:
        raise invalid("authentication.k8s.io", KIND, info.name, errors)
    pod = _pod(api, info, spec.get("boundObjectRef"))
    audiences = [str(name) for name in spec.get("audiences") or ()] or [AUDIENCE]
    lasts_s = min(lasts_s, MOST_S)
    uid = account.object["metadata"]["uid"]
    token, ends_at = tokens.issue(info.namespace, info.name, uid, pod, lasts_s, audiences)
    answer = {
        "kind": KIND,
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": info.name,
            "namespace": info.namespace,
            "creationTimestamp": now_seconds(api.now()),
        },
        "spec": {**spec, "audiences": audiences, "expirationSeconds": lasts_s},
        "status": {"token": token, "expirationTimestamp": now_seconds(ends_at)},
    }
    return Response(201, dumps(answer))


def _decode(request: Request) -> dict[str, Any]:
    document, _ = parse(request, KIND)
    if not isinstance(document, dict) or document.get("kind", KIND) != KIND:
        raise bad_request(f"the object provided is no {KIND}")
    try:
        return dict(coerce(_NODE, document, KIND, "", []))
    except TypeMismatch as error:
        raise bad_request(f'{KIND} in version "v1" cannot be handled as a {KIND}: json: {error}') from None


def _check(lasts_s: int, bound: Mapping[str, Any] | None) -> list[FieldError]:
    errors: list[FieldError] = []
    if lasts_s < LEAST_S:
        text = "may not specify a duration less than 10 minutes"
        errors.append(invalid_value("spec.expirationSeconds", lasts_s, text))
    elif lasts_s > 1 << 32:
        text = "may not specify a duration larger than 2^32 seconds"
        errors.append(invalid_value("spec.expirationSeconds", lasts_s, text))
    if bound is not None and (bound.get("apiVersion"), bound.get("kind")) != ("v1", "Pod"):
        errors.append(not_supported("spec.boundObjectRef.kind", bound.get("kind", ""), ["Pod"]))
    return errors


def _pod(api: Api, info: Info, bound: Mapping[str, Any] | None) -> Bound | None:
    """Return the pod that the token is to be bound to: one of this account, with the uid that was asked for."""
    if bound is None:
        return None
    name = str(bound.get("name", ""))
    found = api.store.newest("pods", info.namespace, name)
    if found is None:
        raise not_found("", "pods", name)
    own = found.object["spec"].get("serviceAccountName") or "default"
    if own != info.name:
        text = f"cannot bind token for serviceaccount {info.name!r} to pod running with different serviceaccount name"
        raise bad_request(text)
    uid = found.object["metadata"]["uid"]
    if bound.get("uid") and bound["uid"] != uid:
        text = f"the UID in the bound object reference ({bound['uid']}) does not match the UID in record"
        raise conflict("", "pods", name, text)
    return Bound(name, uid)
