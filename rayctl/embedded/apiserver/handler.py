"""From a request to an answer: who asks, what about, whether that is allowed, and which verb does it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

from rayctl.embedded.apiserver import pods_extra
from rayctl.embedded.apiserver.access.escalation import ASKING, Escalation
from rayctl.embedded.apiserver.access.rbac import Attributes, Authorizer
from rayctl.embedded.apiserver.access.reviews import REVIEWS, review
from rayctl.embedded.apiserver.access.tokens import AUTHENTICATED, Tokens
from rayctl.embedded.apiserver.account_tokens import request_token
from rayctl.embedded.apiserver.api import Answer, Api
from rayctl.embedded.apiserver.audit import Audit
from rayctl.embedded.apiserver.bodies import parse
from rayctl.embedded.apiserver.creating import create
from rayctl.embedded.apiserver.deleting import delete, delete_collection
from rayctl.embedded.apiserver.discovery import discover
from rayctl.embedded.apiserver.errors import (
    ApiError,
    PlainText,
    bad_request,
    forbidden,
    internal,
    method_not_supported,
    no_such_path,
    not_found,
    unauthorized,
)
from rayctl.embedded.apiserver.fairness import Fairness, Limits, seats_of
from rayctl.embedded.apiserver.measures import CONTENT_TYPE, Measures, Series, exposition
from rayctl.embedded.apiserver.openapi import OpenApi
from rayctl.embedded.apiserver.patching import is_apply, patch
from rayctl.embedded.apiserver.presenting import Presenter, negotiate
from rayctl.embedded.apiserver.reading import get, list_page
from rayctl.embedded.apiserver.requests import Info, Request, Response, Stream, User, parse_info
from rayctl.embedded.apiserver.resources import Resource
from rayctl.embedded.apiserver.scaling import read_scale, write_scale
from rayctl.embedded.apiserver.store import Stored, dumps
from rayctl.embedded.apiserver.updating import replace as replace_object
from rayctl.embedded.apiserver.watching import Hub, open_watch

__all__ = ["Handler"]

log = logging.getLogger(__name__)

INTO_PODS = ("exec", "attach", "portforward")
HEALTH = ("/healthz", "/livez", "/readyz")
Verb = Callable[[Api, Request, Info, Resource], Awaitable[Answer]]
_WRITES: dict[str, Verb] = {
    "create": create,
    "update": replace_object,
    "patch": patch,
    "delete": delete,
    "deletecollection": delete_collection,
}


class Handler:
    """Answers requests. The same for a socket, for callers in this process, and for simulations.

    Args:
        api: State and kinds.
        tokens: Who is known.
        authorizer: What they may do.
        audit: Where changes are noted; None: nowhere.
        limits: How much users may ask for at once.
    """

    def __init__(
        self,
        api: Api,
        tokens: Tokens,
        authorizer: Authorizer,
        audit: Audit | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._api = api
        self._tokens = tokens
        self._authorizer = authorizer
        self._audit = audit
        self._openapi = OpenApi(api.registry)
        api.gates.append(Escalation(authorizer))
        self.hub = Hub(api)
        self.fairness = Fairness(limits)
        self._measures = Measures()

    async def handle(self, request: Request) -> Response | Stream:
        """Answer a request. Never raises for what a client did."""
        began = self._api.now()
        user: User | None = None
        info = parse_info(request)
        lane, seats, entered = self.fairness.lane(info), self._seats(request, info), False
        try:
            known = self._tokens.authenticate(request.headers.get("authorization", ""))
            flow = self.fairness.flow("" if known is None else known.name, info)
            if lane is not None:
                if not lane.enter(flow, seats):
                    await lane.wait(flow, seats)
                entered = True
            if known is None:
                raise unauthorized()
            user = self._impersonate(request, known, info)
            self._authorize(user, info)
            answer = await self._dispatch(request, info, user, flow)
        except ApiError as error:
            answer = self._failure(request, error)
        except PlainText as error:
            answer = Response(error.code, error.text.encode(), error.content_type)
        except RecursionError:
            answer = self._failure(request, bad_request("the document is nested too deeply"))
        except Exception as error:
            log.exception("%s %s failed", request.method, request.path)
            answer = self._failure(request, internal(f"{type(error).__name__}"))
        finally:
            if entered and lane is not None:
                lane.leave()
        code, ended = answer.code if isinstance(answer, Response) else 200, self._api.now()
        kind = self._api.registry.find(info.group, info.version, info.resource)
        self._measures.note(info, kind, code, max(0.0, ended - began))
        if self._audit is not None:
            self._audit.note(request, info, user, code, began, ended)
        return answer

    def _seats(self, request: Request, info: Info) -> int:
        """Return what a request is worth among others."""
        looks = info.verb == "list" or (info.verb == "watch" and (request.first("resourceVersion") or "0") == "0")
        resource = self._api.registry.find(info.group, info.version, info.resource) if looks else None
        return seats_of(info, 0 if resource is None else self._api.store.count(resource.storage))

    def _failure(self, request: Request, error: ApiError) -> Response:
        media = "application/json"
        body = dumps(error.document())
        headers: list[tuple[str, str]] = []
        retry = (error.details or {}).get("retryAfterSeconds")
        if retry:
            headers.append(("Retry-After", str(retry)))
        if error.code == 401:
            headers.append(("WWW-Authenticate", 'Basic realm="kubernetes-master"'))
        if "yaml" in request.headers.get("accept", ""):
            import json

            import yaml

            media, body = "application/yaml", yaml.safe_dump(json.loads(body), sort_keys=False).encode()
        headers += [("Warning", f'299 - "{text}"') for text in getattr(error, "warnings", ())]
        return Response(error.code, body, media, headers)

    # Who and whether ----------------------------------------------------------------------------------

    def _impersonate(self, request: Request, user: User, info: Info) -> User:
        name = request.headers.get("impersonate-user")
        groups = request.groups or tuple(
            value for value in [request.headers.get("impersonate-group")] if value is not None
        )
        if not name and not groups:
            return user
        if not name:
            raise bad_request("requested impersonation of groups without impersonating a user")
        wanted = [Attributes("impersonate", "", "users", name=name)]
        if name.startswith("system:serviceaccount:"):
            _, _, namespace, account = [*name.split(":", 3), "", ""][:4]
            wanted = [Attributes("impersonate", "", "serviceaccounts", "", namespace, account)]
            groups = groups or ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        wanted += [Attributes("impersonate", "", "groups", name=group) for group in groups]
        for each in wanted:
            if not self._authorizer.allows(user, each):
                raise self._refusal(user, replace(info, verb=f"impersonate-on:user-info:{info.verb}"))
        return User(name, request.headers.get("impersonate-uid", ""), tuple(dict.fromkeys((*groups, AUTHENTICATED))))

    def _authorize(self, user: User, info: Info) -> None:
        if not self._authorizer.allows(user, Attributes.of(info)):
            raise self._refusal(user, info)

    @staticmethod
    def _refusal(user: User, info: Info) -> ApiError:
        if not info.is_resource:
            text = f'forbidden: User "{user.name}" cannot {info.verb} path "{info.path}"'
            return ApiError(403, "Forbidden", text, {})
        full = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
        where = f'in the namespace "{info.namespace}"' if info.namespace else "at the cluster scope"
        text = f'User "{user.name}" cannot {info.verb} resource "{full}" in API group "{info.group}" {where}'
        return forbidden(info.group, info.resource, info.name, text)

    # Which verb ---------------------------------------------------------------------------------------

    async def _dispatch(self, request: Request, info: Info, user: User, flow: str) -> Response | Stream:
        if not info.is_resource:
            return self._no_resource(request)
        found = REVIEWS.get((info.group, info.resource))
        if found is not None and info.version == "v1":
            return self._review(request, info, user, found[0])
        resource = self._api.registry.find(info.group, info.version, info.resource)
        if resource is None:
            raise self._unknown(info)
        self._check_path(info, resource)
        if not info.verb:
            raise method_not_supported(request.method.lower(), resource.group, resource.plural)
        custom = resource.custom
        form = negotiate(request, custom)
        presenter = Presenter(form, request, self._api.now)
        if info.verb == "watch":
            return self._watch(request, info, resource, user, presenter, flow)
        if info.subresource and info.subresource not in ("status", "finalize"):
            return await self._subresource(request, info, resource, presenter)
        if info.verb == "list":
            return await self._list(request, info, resource, presenter, flow)
        if info.verb == "get":
            stored = await get(self._api, request, info, resource)
            return presenter.answer(Answer(200, stored.object, resource, stored, _deprecated(resource)))
        if info.verb == "patch" and is_apply(request):
            self._check_may_create(user, info, resource)
        if info.verb == "create" and self._api.registry.is_terminating(resource):
            name = _name_in(request)
            text = "create not allowed while custom resource definition is terminating"
            raise forbidden(resource.group, resource.plural, name, text)
        ASKING.set(user)
        answer = await _WRITES[info.verb](self._api, request, info, resource)
        answer.warnings = _deprecated(resource) + answer.warnings
        return presenter.answer(answer)

    def _check_may_create(self, user: User, info: Info, resource: Resource) -> None:
        namespace = info.namespace if resource.namespaced else ""
        if self._api.store.newest(resource.storage, namespace, info.name) is None:
            self._authorize(user, replace(info, verb="create"))

    def _no_resource(self, request: Request) -> Response:
        if request.path.rstrip("/") in HEALTH or request.path.startswith(tuple(f"{path}/" for path in HEALTH)):
            return self._health(request.path)
        if request.path == "/metrics":
            return Response(200, exposition(self._series()).encode(), CONTENT_TYPE)
        answer = discover(request, self._api.registry) or self._openapi.answer(request)
        if answer is None:
            raise no_such_path()
        return answer

    def _health(self, path: str) -> Response:
        """Alive is a server that answers; ready is one whose last write did not fail."""
        trouble = "" if path.startswith("/livez") else self._api.trouble
        status, text = (500, f"[-]store failed: {trouble}\n") if trouble else (200, "ok")
        return Response(status, text.encode(), "text/plain; charset=utf-8", [("X-Content-Type-Options", "nosniff")])

    def _series(self) -> Iterator[Series]:
        yield from self._measures.series()
        yield from self.fairness.series()
        yield from self.hub.series()
        store = self._api.store
        stored = (({"resource": name}, float(store.count(name))) for name in sorted(store.resources()))
        yield "apiserver_storage_objects", "gauge", "Objects that are stored.", stored

    def _unknown(self, info: Info) -> Exception:
        if not info.group:
            return ApiError(404, "NotFound", "the server could not find the requested resource", {})
        return no_such_path()

    @staticmethod
    def _check_path(info: Info, resource: Resource) -> None:
        """A kind is served where it belongs: cluster-scoped ones not in namespaces, nothing is created outside."""
        misplaced = not resource.namespaced and info.namespace and resource.storage != "namespaces"
        everywhere = resource.namespaced and not info.namespace
        if misplaced or (everywhere and info.verb not in ("list", "watch")):
            raise no_such_path()
        if resource.custom:
            if info.verb in ("update", "patch") and not info.name:
                raise bad_request("name must be provided")
            if info.subresource and info.subresource not in resource.subresources:
                raise not_found(resource.group, resource.plural, info.name)
            if info.subresource and info.verb in ("create", "delete"):
                text = f'{info.verb} is not supported on resources of kind "{resource.plural}.{resource.group}"'
                details = {"group": resource.group, "kind": resource.plural}
                raise ApiError(405, "MethodNotAllowed", text, details)
            return
        if info.subresource and info.subresource not in resource.subresources:
            if resource.storage == "pods" and info.subresource in INTO_PODS:
                text = f"{info.subresource} is not offered by this API server: its pods can be read (logs), not entered"
                raise ApiError(501, "NotImplemented", text, {"kind": "pods", "name": info.name})
            raise ApiError(404, "NotFound", "the server could not find the requested resource", {})
        if info.verb in ("update", "patch") and not info.name:
            raise method_not_supported(info.verb, resource.group, resource.plural)
        if info.verb == "create" and info.name and not info.subresource:
            raise method_not_supported(info.verb, resource.group, resource.plural)
        if not info.subresource and info.verb not in resource.verbs:
            raise method_not_supported(info.verb, resource.group, resource.plural)

    async def _list(
        self, request: Request, info: Info, resource: Resource, presenter: Presenter, flow: str
    ) -> Response | Stream:
        pause = self.fairness.pause(flow)
        return presenter.page(await list_page(self._api, request, info, resource, pause), resource, pause)

    def _watch(
        self, request: Request, info: Info, resource: Resource, user: User, presenter: Presenter, flow: str
    ) -> Stream:
        def paint(kind: str, stored: Stored) -> bytes:
            return presenter.line(kind, resource, stored)

        def bookmark(revision: int, annotations: dict[str, str] | None) -> bytes:
            return presenter.bookmark(resource, revision, annotations)

        form, pause = presenter.shared_form, self.fairness.pause(flow)
        return Stream(open_watch(self._api, self.hub, request, info, resource, user, paint, bookmark, form, pause))

    async def _subresource(
        self, request: Request, info: Info, resource: Resource, presenter: Presenter
    ) -> Response | Stream:
        if info.subresource == "scale":
            if info.verb == "get":
                return presenter.answer(read_scale(self._api, info, resource))
            return presenter.answer(await write_scale(self._api, request, info, resource))
        if info.subresource == "token":
            return request_token(self._api, self._tokens.accounts, request, info, resource)
        return await pods_extra.answer(self._api, request, info, resource, presenter)

    def _review(self, request: Request, info: Info, user: User, kind: str) -> Response:
        if info.verb != "create":
            raise method_not_supported(info.verb, info.group, info.resource)
        document, _ = parse(request, kind)
        if not isinstance(document, dict):
            raise bad_request("the body is no object")
        return Response(201, dumps(review(kind, document, user, self._authorizer, self._tokens)))


def _deprecated(resource: Resource) -> list[str]:
    return [resource.deprecation] if resource.deprecation else []


def _name_in(request: Request) -> str:
    import json

    try:
        document = json.loads(request.body)
        return str(document["metadata"]["name"])
    except (ValueError, KeyError, TypeError):
        return ""
