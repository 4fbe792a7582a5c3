"""What is served: the discovery documents in their old form and in the aggregated one, and the version."""

from __future__ import annotations

import hashlib
from typing import Any

from rayctl.embedded.apiserver.access.reviews import REVIEWS
from rayctl.embedded.apiserver.errors import ApiError, no_such_path
from rayctl.embedded.apiserver.presenting import ACCEPTED, parse_accept
from rayctl.embedded.apiserver.registry import Registry
from rayctl.embedded.apiserver.requests import Request, Response
from rayctl.embedded.apiserver.resources import Resource
from rayctl.embedded.apiserver.store import dumps

__all__ = ["VERSION", "discover"]

VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+rayctl.1",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "cpython",
    "platform": "any",
}
_SUBRESOURCES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "status": ("", "", "", ("get", "patch", "update")),
    "scale": ("autoscaling", "v1", "Scale", ("get", "patch", "update")),
    "finalize": ("", "", "", ("update",)),
    "binding": ("", "", "Binding", ("create",)),
    "eviction": ("policy", "v1", "Eviction", ("create",)),
    "log": ("", "", "", ("get",)),
    "token": ("authentication.k8s.io", "v1", "TokenRequest", ("create",)),
    "ephemeralcontainers": ("", "", "", ("get", "patch", "update")),
}


def discover(request: Request, registry: Registry) -> Response | None:
    """Answer a request for a discovery document; None if it is not for one.

    Raises:
        ApiError: 406. PlainText: 404.
    """
    parts = [part for part in request.path.split("/") if part]
    if parts == ["api"]:
        if _aggregated(request):
            return _aggregate(registry, [""])
        addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}]
        return _json({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses})
    if parts == ["apis"]:
        if _aggregated(request):
            return _aggregate(registry, sorted(registry.groups()))
        groups = [_group(name, versions) for name, versions in sorted(registry.groups().items())]
        return _json({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    if parts == ["api", "v1"]:
        return _json(_resource_list(registry, "", "v1"))
    if len(parts) == 2 and parts[0] == "apis":
        versions = registry.groups().get(parts[1])
        if versions is None:
            raise no_such_path()
        return _json({"kind": "APIGroup", "apiVersion": "v1", **_group(parts[1], versions)})
    if len(parts) == 3 and parts[0] == "apis":
        if parts[2] not in registry.groups().get(parts[1], ()):
            raise no_such_path()
        return _json(_resource_list(registry, parts[1], parts[2]))
    if parts == ["version"]:
        return _json(VERSION)
    if not parts:
        return _json(
            {
                "paths": [
                    "/api",
                    "/api/v1",
                    "/apis",
                    "/healthz",
                    "/livez",
                    "/openapi/v2",
                    "/openapi/v3",
                    "/readyz",
                    "/version",
                ]
            }
        )
    return None


def _json(document: Any) -> Response:
    return Response(200, dumps(document))


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    found = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": found, "preferredVersion": found[0]}


def _hash(text: str) -> str:
    import base64

    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _resource_list(registry: Registry, group: str, version: str) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    for resource in sorted(registry.served(group, version), key=lambda found: found.plural):
        entries.append(_entry(resource))
        entries.extend(_sub_entry(resource, name) for name in sorted(resource.subresources))
    if not group:
        binding = {"name": "bindings", "singularName": "binding", "namespaced": True, "kind": "Binding"}
        entries.append({**binding, "verbs": ["create"]})
    for (review_group, plural), (kind, namespaced) in REVIEWS.items():
        if review_group == group:
            singular = kind.lower()
            entry = {"name": plural, "singularName": singular, "namespaced": namespaced, "kind": kind}
            entries.append({**entry, "verbs": ["create"]})
    entries.sort(key=lambda entry: str(entry["name"]))
    name = f"{group}/{version}" if group else version
    head = {"kind": "APIResourceList"}
    if group:
        head["apiVersion"] = "v1"
    return {**head, "groupVersion": name, "resources": entries}


def _entry(resource: Resource) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    entry["storageVersionHash"] = _hash(f"{resource.group}/{resource.stored_version}/{resource.kind}")
    return entry


def _sub_entry(resource: Resource, name: str) -> dict[str, Any]:
    group, version, kind, verbs = _SUBRESOURCES[name]
    entry: dict[str, Any] = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": kind or resource.kind,
        "verbs": list(verbs),
    }
    if group:
        entry |= {"group": group, "version": version}
    return entry


# The aggregated form ------------------------------------------------------------------------------------


_AGGREGATED = ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2")


def _aggregated(request: Request) -> str:
    """Return the version of the aggregated form that is wanted; empty: the old form.

    Raises:
        ApiError: 406.
    """
    header = request.headers.get("accept", "")
    if "APIGroupDiscoveryList" not in header:
        return ""
    for wanted in parse_accept(header):
        if wanted.media not in ("application/json", "*/*"):
            continue
        if wanted.get("as") is None:
            return ""
        if (wanted.get("as"), wanted.get("g"), wanted.get("v")) == _AGGREGATED:
            return "v2"
    message = f"only the following media types are accepted: {', '.join(ACCEPTED)}"
    raise ApiError(406, "NotAcceptable", message)


def _aggregate(registry: Registry, groups: list[str]) -> Response:
    versions_of = registry.groups() | {"": ["v1"]}
    items = []
    for group in groups:
        versions = [
            {
                "version": version,
                "resources": _aggregated_resources(registry, group, version),
                "freshness": "Current",
            }
            for version in versions_of[group]
        ]
        items.append({"metadata": {"name": group}, "versions": versions})
    document = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}
    body = dumps(document)
    tag = hashlib.sha256(body).hexdigest().upper()
    media = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    return Response(200, body, media, [("ETag", f'"{tag}"'), ("Vary", "Accept")])


def _aggregated_resources(registry: Registry, group: str, version: str) -> list[dict[str, Any]]:
    found = []
    for resource in sorted(registry.served(group, version), key=lambda found: found.plural):
        entry: dict[str, Any] = {
            "resource": resource.plural,
            "responseKind": _kind(resource, resource.group, resource.version, resource.kind),
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "singularResource": resource.singular,
            "verbs": list(resource.verbs),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        subresources = []
        for name in resource.subresources if resource.custom else sorted(resource.subresources):
            sub_group, sub_version, kind, verbs = _SUBRESOURCES[name]
            target = (
                (sub_group, sub_version, kind)
                if sub_group
                else (resource.group, resource.version, kind or resource.kind)
            )
            subresources.append({"subresource": name, "responseKind": _kind(resource, *target), "verbs": list(verbs)})
        if subresources:
            entry["subresources"] = subresources
        found.append(entry)
    for (review_group, plural), (kind, namespaced) in REVIEWS.items():
        if review_group == group:
            found.append(
                {
                    "resource": plural,
                    "responseKind": {"group": "", "version": "", "kind": kind},
                    "scope": "Namespaced" if namespaced else "Cluster",
                    "singularResource": kind.lower(),
                    "verbs": ["create"],
                }
            )
    return found


def _kind(resource: Resource, group: str, version: str, kind: str) -> dict[str, str]:
    # Built-in kinds leave out what is their own group's.
    if not resource.custom and (group, version) == (resource.group, resource.version):
        return {"group": "", "version": "", "kind": kind}
    return {"group": group, "version": version, "kind": kind}
