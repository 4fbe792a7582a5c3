"""Nobody gives what he has not: roles and bindings may grant only rights that their author holds."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from rayctl.embedded.apiserver.access.rbac import RBAC, Attributes, Authorizer, Rule
from rayctl.embedded.apiserver.access.tokens import ADMIN
from rayctl.embedded.apiserver.errors import forbidden, not_found
from rayctl.embedded.apiserver.requests import User
from rayctl.embedded.apiserver.resources import Resource

__all__ = ["ASKING", "Escalation"]

ASKING: ContextVar[User] = ContextVar("asking", default=ADMIN)
"""Who asks, in the task that answers. Controllers next to the server are the administrator."""


class Escalation:
    """The check before a role or a binding is stored."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def __call__(self, resource: Resource, new: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
        """Refuse what would give more than its author has.

        Raises:
            ApiError: 403, or 404 for a role that is not there.
        """
        if resource.group != RBAC:
            return
        user = ASKING.get()
        namespace = new["metadata"].get("namespace", "")
        name = new["metadata"]["name"]
        if resource.plural in ("roles", "clusterroles"):
            if old is not None and old.get("rules") == new.get("rules"):
                return
            if self._authorizer.allows(user, Attributes("escalate", RBAC, resource.plural, "", namespace, name)):
                return
            rules = new.get("rules") or []
        else:
            if old is not None and (old.get("roleRef"), old.get("subjects")) == (
                new.get("roleRef"),
                new.get("subjects"),
            ):
                return
            rules = self._granted(user, resource, new, namespace)
        missing = self._authorizer.missing(user, rules, namespace)
        if missing:
            groups = " ".join(f'"{group}"' for group in user.groups)
            shown = "\n".join(_shown(rule) for rule in missing)
            text = (
                f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n'
            )
            raise forbidden(resource.group, resource.plural, name, text + shown)

    def _granted(self, user: User, resource: Resource, new: Mapping[str, Any], namespace: str) -> list[Rule]:
        reference = new.get("roleRef") or {}
        plural = "clusterroles" if reference.get("kind") == "ClusterRole" else "roles"
        wanted = Attributes("bind", RBAC, plural, "", namespace, reference.get("name", ""))
        if self._authorizer.allows(user, wanted):
            return []
        if self._authorizer.role(reference, namespace) is None:
            raise not_found(resource.group, resource.plural, reference.get("name", ""))
        return self._authorizer.role_rules(reference, namespace)


def _shown(rule: Rule) -> str:
    parts = []
    for name, label in (
        ("apiGroups", "APIGroups"),
        ("resources", "Resources"),
        ("resourceNames", "ResourceNames"),
        ("nonResourceURLs", "NonResourceURLs"),
        ("verbs", "Verbs"),
    ):
        if rule.get(name):
            values = " ".join(f'"{value}"' for value in rule[name])
            parts.append(f"{label}:[{values}]")
    return "{" + ", ".join(parts) + "}"
