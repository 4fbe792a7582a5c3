"""Role-based access control, as Kubernetes has it: deny by default, and the union of what bindings give."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rayctl.embedded.apiserver.requests import Info, User
from rayctl.embedded.apiserver.store import Store

__all__ = ["Attributes", "Authorizer", "rules_cover"]

RBAC = "rbac.authorization.k8s.io"
Rule = Mapping[str, Any]
_PUBLIC = ("/healthz", "/livez", "/readyz", "/version", "/version/")
_DISCOVERY = ("/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz")
_SELF = (
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
)


@dataclass(frozen=True)
class Attributes:
    """What somebody wants to do. ``resource`` empty: to a path."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @staticmethod
    def of(info: Info) -> Attributes:
        """Return what a request wants."""
        if not info.is_resource:
            return Attributes(info.verb, path=info.path)
        return Attributes(info.verb, info.group, info.resource, info.subresource, info.namespace, info.name)

    @property
    def full_resource(self) -> str:
        """``resource`` or ``resource/subresource``."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Authorizer:
    """Reads roles and bindings from the store whenever it is asked; nothing is cached."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def allows(self, user: User, wanted: Attributes) -> bool:
        """Whether somebody may do something."""
        if "system:masters" in user.groups:
            return True
        if _is_for_all(wanted, user):
            return True
        return any(_allows(rule, wanted) for rule in self.rules(user, wanted.namespace))

    def rules(self, user: User, namespace: str) -> Iterator[Rule]:
        """Yield the rules that hold for somebody: those for the whole cluster, and those of one namespace."""
        for stored in self._store.items(f"clusterrolebindings.{RBAC}"):
            if _is_bound(stored.object, user, ""):
                yield from self.role_rules(stored.object["roleRef"], "")
        if namespace:
            for stored in self._store.items(f"rolebindings.{RBAC}", namespace):
                if _is_bound(stored.object, user, namespace):
                    for rule in self.role_rules(stored.object["roleRef"], namespace):
                        if not rule.get("nonResourceURLs"):
                            yield rule

    def role_rules(self, reference: Mapping[str, Any], namespace: str) -> list[Rule]:
        """Return the rules of a role; none if it is not there."""
        found = self.role(reference, namespace)
        return list((found or {}).get("rules") or [])

    def role(self, reference: Mapping[str, Any], namespace: str) -> Mapping[str, Any] | None:
        """Return a role that a binding names."""
        if reference.get("kind") == "ClusterRole":
            if reference.get("name") == "cluster-admin":
                return {"rules": EVERYTHING}
            stored = self._store.get(f"clusterroles.{RBAC}", "", reference.get("name", ""))
        else:
            stored = self._store.get(f"roles.{RBAC}", namespace, reference.get("name", ""))
        return None if stored is None else stored.object

    def missing(self, user: User, rules: Iterable[Rule], namespace: str) -> list[Rule]:
        """Return the parts of rules that somebody does not hold, one verb and resource each."""
        if "system:masters" in user.groups:
            return []
        held = list(self.rules(user, namespace))
        return [part for rule in rules for part in _parts(rule) if not rules_cover(held, part)]


EVERYTHING: list[Rule] = [
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
]


def _is_for_all(wanted: Attributes, user: User) -> bool:
    """Whether everybody may do this: read health and version, and once known, discovery and questions about oneself."""
    if wanted.resource:
        known = "system:authenticated" in user.groups
        return known and wanted.verb == "create" and (wanted.group, wanted.resource) in _SELF
    if wanted.verb not in ("get", "head"):
        return False
    if "system:authenticated" not in user.groups:
        return wanted.path in _PUBLIC
    return wanted.path == "/" or any(wanted.path == path or wanted.path.startswith(f"{path}/") for path in _DISCOVERY)


def _is_bound(binding: Mapping[str, Any], user: User, namespace: str) -> bool:
    for subject in binding.get("subjects") or []:
        kind, name = subject.get("kind"), subject.get("name")
        if kind == "User" and name == user.name:
            return True
        if kind == "Group" and name in user.groups:
            return True
        if kind == "ServiceAccount":
            home = subject.get("namespace") or namespace
            if user.name == f"system:serviceaccount:{home}:{name}":
                return True
    return False


def _allows(rule: Rule, wanted: Attributes) -> bool:
    verbs = rule.get("verbs") or []
    if "*" not in verbs and wanted.verb not in verbs:
        return False
    if not wanted.resource:
        return any(_path_matches(pattern, wanted.path) for pattern in rule.get("nonResourceURLs") or [])
    groups, names = rule.get("apiGroups") or [], rule.get("resourceNames") or []
    if "*" not in groups and wanted.group not in groups:
        return False
    if names and ((wanted.verb in ("create", "deletecollection") and not wanted.name) or wanted.name not in names):
        return False
    return _resource_matches(rule.get("resources") or [], wanted)


def _resource_matches(resources: Iterable[str], wanted: Attributes) -> bool:
    full = wanted.full_resource
    return any(
        pattern in ("*", full) or (wanted.subresource and pattern == f"*/{wanted.subresource}") for pattern in resources
    )


def _path_matches(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern[:-1]))


def _parts(rule: Rule) -> Iterator[Rule]:
    for verb in rule.get("verbs") or []:
        for path in rule.get("nonResourceURLs") or []:
            yield {"verbs": [verb], "nonResourceURLs": [path]}
        for group in rule.get("apiGroups") or []:
            for resource in rule.get("resources") or []:
                base = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
                for name in rule.get("resourceNames") or [None]:
                    yield base if name is None else {**base, "resourceNames": [name]}


def rules_cover(held: Iterable[Rule], part: Rule) -> bool:
    """Whether one verb on one resource (or path) is given by rules."""
    verb = part["verbs"][0]
    if "nonResourceURLs" in part:
        wanted = Attributes(verb, path=part["nonResourceURLs"][0])
        return any(_allows(rule, wanted) for rule in held)
    resource, _, subresource = part["resources"][0].partition("/")
    wanted = Attributes(verb, part["apiGroups"][0], resource, subresource)
    for name in part.get("resourceNames") or [""]:
        if not any(_allows(rule, replace(wanted, name=name)) for rule in held if not _narrower(rule, name)):
            return False
    return True


def _narrower(rule: Rule, name: str) -> bool:
    """Whether a rule speaks of some names only and the part of all."""
    return bool(rule.get("resourceNames")) and not name
