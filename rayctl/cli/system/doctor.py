"""``rayctl doctor``: whether rayctl can do its work on a Kubernetes cluster, and what is in its way."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import click

from rayctl.cli.kubernetes import Kube, kubernetes_command
from rayctl.cli.output import clean, emit_document, emit_table, say
from rayctl.errors import NotFound, RayctlError
from rayctl.kube.calls import Call
from rayctl.kube.errors import Denied, KubernetesError, ObjectNotFound
from rayctl.kube.kinds import (
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    LEASES,
    RAY_CLUSTERS,
    SERVICE_ACCOUNTS,
)
from rayctl.views.health import (
    Finding,
    check_access,
    check_clock,
    check_cluster,
    check_definition,
    check_kuberay,
    check_lease,
    check_server,
    check_standby,
)

__all__ = ["NotWell", "doctor"]

_KUBERAY = "app.kubernetes.io/name in (kuberay,kuberay-operator)"
_MARKS = {"ok": "✔", "warn": "!", "fail": "✖", "unknown": "?"}
_INSTALLING = (
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("", "namespaces"),
)


class NotWell(RayctlError):
    """Something was found that keeps rayctl from working."""

    code = "not-well"
    title = "The installation does not work"
    http_status = 503
    exit_code = 4


@click.command()
@kubernetes_command()
def doctor(kube: Kube) -> None:
    """Check server, clock, kinds, rights, leaders and the control plane; exit code 4 if something does not work."""
    from rayctl.manifests.installation import NAME

    found = list(_findings(kube, kube.asked_namespace or NAME))
    failed = [finding for finding in found if finding.state == "fail"]
    if kube.settings.output in ("json", "yaml"):
        emit_document(kube.settings, [finding.document() for finding in found])
    elif kube.settings.output == "name":
        for finding in failed:
            say(clean(finding.check))
    else:
        rows = [[_MARKS[finding.state], finding.check, finding.message] for finding in found]
        emit_table(kube.settings, ["", "CHECK", "FOUND"], rows)
        for hint in dict.fromkeys(finding.hint for finding in found if finding.hint):
            say(f"you can  {clean(hint)}")
    if failed:
        raise NotWell(f"{len(failed)} of {len(found)} checks failed.")


def _findings(kube: Kube, system: str) -> Iterator[Finding]:
    from rayctl.manifests import crd_documents

    before_at = time.time()
    server_at = kube.connection.server_time()
    after_at = time.time()
    began = time.monotonic()
    version = kube.request(Call.get("/version"))
    yield check_server(version, time.monotonic() - began)
    yield check_clock(server_at, before_at, after_at)
    operators = _operators(kube)
    yield check_kuberay(operators)
    for wanted in crd_documents():
        try:
            live = kube.find(CUSTOM_RESOURCE_DEFINITIONS, wanted["metadata"]["name"])
        except Denied:
            yield Finding(f"kind {wanted['spec']['names']['kind']}", "unknown", "definitions may not be seen")
            continue
        yield check_definition(wanted, live, bool(operators))
    yield _own_access(kube)
    controllers = list(_controllers(kube, system))
    yield from controllers
    led = all(finding.state == "ok" for finding in controllers if finding.check.startswith("leader"))
    status = _status(kube, system)
    if status is not None:
        yield from _actors(kube, system, status)
    yield _control_plane(kube, system, led, status or {})


def _status(kube: Kube, system: str) -> dict[str, str] | None:
    """Return what the standby of a control plane of actors says; None: there is none."""
    from rayctl.manifests.access import STATUS

    try:
        found = kube.find(CONFIG_MAPS, STATUS, system)
    except Denied:
        return None
    return None if found is None else dict(found.get("data") or {})


def _actors(kube: Kube, system: str, status: dict[str, str]) -> Iterator[Finding]:
    from rayctl.manifests.access import gateway_rules, standby_rules, state_rules, token_rules
    from rayctl.manifests.installation import PODS_ACCOUNT, STANDBY

    deployment = kube.find(DEPLOYMENTS, STANDBY, system)
    yield check_standby(deployment, status)
    accounts = {PODS_ACCOUNT: [*state_rules(), *token_rules()], STANDBY: [*standby_rules(), *token_rules()]}
    for name, rules in accounts.items():
        user = f"system:serviceaccount:{system}:{name}"
        try:
            missing, asked = _may(kube, rules, system, user)
            if name == PODS_ACCOUNT:
                more, count = _may(kube, gateway_rules(), "", user)
                more = more and _may(kube, gateway_rules(), kube.namespace, user)[0]
                missing, asked = [*missing, *more], asked + count
            yield check_access(name, missing, asked)
        except Denied:
            yield Finding(f"access of {name}", "unknown", "you may not ask what others may do")


def _operators(kube: Kube) -> list[dict[str, Any]] | None:
    try:
        return kube.list(DEPLOYMENTS, "", _KUBERAY)
    except KubernetesError:
        return None


def _may(kube: Kube, rules: Iterable[dict[str, Any]], namespace: str, user: str = "") -> tuple[list[str], int]:
    """Ask the server for each right; return those that are missing, and how many were asked for."""
    missing, asked = [], 0
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    plural, _, sub = resource.partition("/")
                    attributes = {"group": group, "resource": plural, "subresource": sub, "verb": verb}
                    names = rule.get("resourceNames") or ("",)
                    for name in names:
                        asked += 1
                        place = {**attributes, "namespace": namespace, "name": name}
                        if not _allowed(kube, place, user):
                            missing.append(f"{verb} {resource}{f' {name}' if name else ''}")
    return missing, asked


def _allowed(kube: Kube, attributes: dict[str, str], user: str) -> bool:
    kind = "SubjectAccessReview" if user else "SelfSubjectAccessReview"
    spec: dict[str, Any] = {"resourceAttributes": {key: value for key, value in attributes.items() if value}}
    if user:
        namespace = user.split(":")[2]
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
        spec |= {"user": user, "groups": groups}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
    path = f"/apis/authorization.k8s.io/v1/{kind.lower()}s"
    return bool((kube.request(Call("POST", path, body=body)).get("status") or {}).get("allowed"))


def _own_access(kube: Kube) -> Finding:
    rules = [
        {"apiGroups": [group], "resources": [plural], "verbs": ["create", "patch"]} for group, plural in _INSTALLING
    ]
    return check_access("you", *_may(kube, rules, ""))


def _controllers(kube: Kube, system: str) -> Iterator[Finding]:
    from rayctl.manifests.access import CONTROLLERS, lease_rules, rules_of

    for name in CONTROLLERS:
        user = f"system:serviceaccount:{system}:{name}"
        leader = _leader(kube, name, system)
        elsewhere = leader.state == "ok" and not _has_account(kube, name, system)
        try:
            missing, asked = _may(kube, rules_of(name), "", user)
            if missing:  # perhaps it looks after one namespace only
                here = _may(kube, rules_of(name), kube.namespace, user)[0]
                missing = here and [f"{right} in {kube.namespace}" for right in here]
            leases, more = _may(kube, lease_rules(name), system, user)
            yield check_access(name, [*missing, *leases], asked + more, elsewhere)
        except Denied:
            yield Finding(f"access of {name}", "unknown", "you may not ask what others may do")
        yield leader


def _leader(kube: Kube, name: str, system: str) -> Finding:
    try:
        return check_lease(name, kube.find(LEASES, name, system), time.time())
    except Denied:
        return Finding(f"leader of {name}", "unknown", "leases may not be seen")


def _has_account(kube: Kube, name: str, system: str) -> bool:
    try:
        return kube.find(SERVICE_ACCOUNTS, name, system) is not None
    except Denied:
        return True


def _control_plane(kube: Kube, system: str, led: bool, status: dict[str, str]) -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    from rayctl.manifests.installation import NAME

    try:
        ray = version("ray")
    except PackageNotFoundError:
        ray = ""
    try:
        return check_cluster(kube.find(RAY_CLUSTERS, status.get("cluster") or NAME, system), ray, led)
    except (NotFound, ObjectNotFound):
        return check_cluster(None, ray, led)
    except Denied:
        return Finding("control plane", "unknown", "RayClusters may not be seen")
