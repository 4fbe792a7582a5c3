"""Questions about access: may I, may somebody, who am I, whose token is this, what may I do here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayctl.embedded.apiserver.access.rbac import Attributes, Authorizer
from rayctl.embedded.apiserver.access.tokens import AUTHENTICATED, Tokens
from rayctl.embedded.apiserver.errors import FieldError, bad_request, invalid, invalid_value
from rayctl.embedded.apiserver.requests import User
from rayctl.embedded.apiserver.resources import with_metadata
from rayctl.embedded.apiserver.schema.decode import TypeMismatch, coerce
from rayctl.embedded.apiserver.schema.node import parse

__all__ = ["REVIEWS", "review"]

REVIEWS: dict[tuple[str, str], tuple[str, bool]] = {
    ("authorization.k8s.io", "selfsubjectaccessreviews"): ("SelfSubjectAccessReview", False),
    ("authorization.k8s.io", "subjectaccessreviews"): ("SubjectAccessReview", False),
    ("authorization.k8s.io", "localsubjectaccessreviews"): ("LocalSubjectAccessReview", True),
    ("authorization.k8s.io", "selfsubjectrulesreviews"): ("SelfSubjectRulesReview", False),
    ("authentication.k8s.io", "selfsubjectreviews"): ("SelfSubjectReview", False),
    ("authentication.k8s.io", "tokenreviews"): ("TokenReview", False),
}
"""(group, plural) → (kind, namespaced)."""


_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_SELECTOR = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_WANTED = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("verb", "group", "version", "resource", "subresource", "namespace", "name"), _TEXT),
        "fieldSelector": _SELECTOR,
        "labelSelector": _SELECTOR,
    },
}
_SPEC = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("user", "uid", "token", "namespace"), _TEXT),
        **dict.fromkeys(("groups", "audiences"), _TEXTS),
        "extra": {"type": "object", "additionalProperties": _TEXTS},
        "resourceAttributes": _WANTED,
        "nonResourceAttributes": {"type": "object", "properties": {"path": _TEXT, "verb": _TEXT}},
    },
}
_NODE = with_metadata(parse({"type": "object", "properties": {"spec": _SPEC, "status": _SELECTOR}}))
"""What all reviews may have in them."""


def review(
    kind: str, document: Mapping[str, Any], user: User, authorizer: Authorizer, tokens: Tokens
) -> dict[str, Any]:
    """Return the answered review.

    Raises:
        ApiError: 400 for values of the wrong types, 422.
    """
    try:
        document = coerce(_NODE, document, kind, "", [])
    except TypeMismatch as error:
        raise bad_request(f'{kind} in version "v1" cannot be handled as a {kind}: json: {error}') from None
    spec = document.get("spec") or {}
    if kind == "SelfSubjectReview":
        status: dict[str, Any] = {"userInfo": _user_info(user)}
    elif kind == "TokenReview":
        status = _token_status(spec.get("token", ""), tokens)
    elif kind == "SelfSubjectRulesReview":
        status = _rules_status(user, spec.get("namespace", ""), authorizer)
    else:
        about = user
        if kind != "SelfSubjectAccessReview":
            about = User(spec.get("user", ""), spec.get("uid", ""), tuple(spec.get("groups") or ()))
        status = _access_status(kind, spec, about, authorizer)
    metadata = dict(document.get("metadata") or {})
    return {**document, "kind": kind, "metadata": metadata, "status": status}


def _user_info(user: User) -> dict[str, Any]:
    found: dict[str, Any] = {"username": user.name}
    if user.uid:
        found["uid"] = user.uid
    if user.groups:
        found["groups"] = list(user.groups)
    return found


def _token_status(token: str, tokens: Tokens) -> dict[str, Any]:
    user = tokens.user_of(token)
    if user is None:
        return {"user": {}, "error": "[invalid bearer token]"}
    return {"authenticated": True, "user": _user_info(user)}


def _rules_status(user: User, namespace: str, authorizer: Authorizer) -> dict[str, Any]:
    resources: list[dict[str, Any]] = []
    paths: list[dict[str, Any]] = []
    rules = list(authorizer.rules(user, namespace))
    if "system:masters" in user.groups:
        rules.append({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
    if AUTHENTICATED in user.groups:
        reviews = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]
        rules.append({"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": reviews})
    for rule in rules:
        if rule.get("nonResourceURLs"):
            paths.append({"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]})
        else:
            kept = ("verbs", "apiGroups", "resources", "resourceNames")
            resources.append({name: rule[name] for name in kept if rule.get(name)})
    return {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}


def _access_status(kind: str, spec: Mapping[str, Any], user: User, authorizer: Authorizer) -> dict[str, Any]:
    wanted, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    errors: list[FieldError] = []
    if wanted is not None and path is not None:
        text = "cannot be specified in combination with resourceAttributes"
        errors.append(invalid_value("spec.nonResourceAttributes", path, text))
    if wanted is None and path is None:
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        errors.append(invalid_value("spec.resourceAttributes", wanted, text))
    if kind != "SelfSubjectAccessReview" and not user.name and not user.groups:
        errors.append(invalid_value("spec.user", "", "at least one of user or group must be specified"))
    if errors:
        failure = invalid("authorization.k8s.io", "", "", errors)
        assert failure.details is not None
        del failure.details["kind"]
        raise failure
    if wanted is not None:
        about = Attributes(
            wanted.get("verb", ""),
            wanted.get("group", ""),
            wanted.get("resource", ""),
            wanted.get("subresource", ""),
            wanted.get("namespace", ""),
            wanted.get("name", ""),
        )
    else:
        about = Attributes((path or {}).get("verb", ""), path=(path or {}).get("path", ""))
    allowed = authorizer.allows(user, about)
    return {"allowed": True, "reason": "RBAC: allowed"} if allowed else {"allowed": False}
