"""The API server without a socket, for tests: requests go straight to its handler."""

from __future__ import annotations

import json
import random
from typing import Any

from rayctl.embedded.apiserver.access.rbac import Authorizer
from rayctl.embedded.apiserver.access.tokens import ADMIN, Tokens
from rayctl.embedded.apiserver.api import Api
from rayctl.embedded.apiserver.handler import Handler
from rayctl.embedded.apiserver.registry import CRDS, Registry
from rayctl.embedded.apiserver.requests import Request, Response, Stream
from rayctl.embedded.apiserver.server import make_namespaces
from rayctl.embedded.apiserver.store import Change, Store

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"

WIDGETS: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.test.io"},
    "spec": {
        "group": "test.io",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "replicas": {"type": "integer", "minimum": 0, "default": 1},
                                    "color": {"type": "string"},
                                    "tags": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "set",
                                        "items": {"type": "string"},
                                    },
                                    "limits": {"type": "object", "additionalProperties": {"type": "string"}},
                                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                    "ports": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["number"],
                                        "items": {
                                            "type": "object",
                                            "required": ["number"],
                                            "properties": {"number": {"type": "integer"}, "name": {"type": "string"}},
                                        },
                                    },
                                },
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


class Local:
    """A server in this process, with a clock that stands still until it is moved."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 1_700_000_000.0
        self.store = Store(None, lambda: self.now)
        registry = Registry()
        registry.follow(self.store)
        self.api = Api(self.store, registry, lambda: self.now, random.Random(seed))
        self.handler = Handler(self.api, Tokens([("t", ADMIN)]), Authorizer(self.store))

    async def start(self) -> Local:
        """Make the namespaces, and the kind `Widget`."""
        await make_namespaces(self.api)
        assert (await self.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", WIDGETS))[0] == 201
        await self.establish("widgets.test.io")
        return self

    async def establish(self, name: str) -> None:
        """Do with a definition what its controller would do."""
        stored = self.store.newest(CRDS, "", name)
        assert stored is not None
        names = stored.object["spec"]["names"]
        status = {"acceptedNames": names, "conditions": [{"type": "Established", "status": "True"}]}
        await self.api.write(Change(stored.key, {**stored.object, "status": {**stored.object["status"], **status}}))

    async def send(self, method: str, target: str, body: bytes = b"", **headers: str) -> Response | Stream:
        """Send bytes; underscores in header names become hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.handler.handle(Request.make(method, target, {"authorization": "Bearer t", **named}, body))

    async def call(self, method: str, target: str, body: Any = None, kind: str = "application/json") -> tuple[int, Any]:
        """Send a document, return (code, document)."""
        raw = b"" if body is None else json.dumps(body).encode()
        answer = await self.send(method, target, raw, content_type=kind, user_agent="test/1")
        assert isinstance(answer, Response)
        found = json.loads(answer.body) if answer.content_type.startswith("application/json") else answer.body.decode()
        return answer.code, found

    async def apply(self, manager: str, name: str, spec: dict[str, Any], force: bool = False) -> tuple[int, Any]:
        """Server-side apply of a widget."""
        target = f"/apis/test.io/v1/namespaces/default/widgets/{name}?fieldManager={manager}"
        document = {"apiVersion": "test.io/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}
        return await self.call("PATCH", target + ("&force=true" if force else ""), document, APPLY)
