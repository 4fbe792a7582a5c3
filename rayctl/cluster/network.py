"""NetworkPolicies of a cluster: traffic inside it is always allowed, everything else only as its rules say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayctl.cluster import keys, names
from rayctl.cluster.spec import ClusterSpec

__all__ = ["build_policies"]

Document = Mapping[str, Any]


def build_policies(spec: ClusterSpec) -> list[dict[str, Any]]:
    """Return one policy for the head and one per group of workers; none if ``networkPolicy`` is not set.

    Names are found (DNS) and, with the autoscaler on, the Kubernetes API is reached even if nothing else may leave:
    without them Ray could not start.
    """
    asked = spec.spec.get("networkPolicy")
    if asked is None:
        return []
    mode = asked.get("mode") or "DenyAll"
    head = {keys.NODE_TYPE: keys.HEAD}
    found = [_policy(spec, f"{spec.name}-head", head, mode, [asked.get("head") or {}], spec.autoscaling)]
    by_name = {item.get("groupName"): item for item in asked.get("workerGroups") or ()}
    for group in spec.groups:
        rules = [asked.get("worker") or {}, by_name.get(group.name) or {}]
        selected = {keys.NODE_TYPE: keys.WORKER, keys.GROUP: group.name}
        name = names.check_label(f"{spec.name}-workers-{group.name}".lower())
        found.append(_policy(spec, name, selected, mode, rules, False))
    return found


def _policy(
    spec: ClusterSpec, name: str, selected: dict[str, str], mode: str, rules: list[Document], calls_api: bool
) -> dict[str, Any]:
    peers = [{"podSelector": {"matchLabels": {keys.CLUSTER: spec.name}}}]
    wanted: dict[str, Any] = {
        "podSelector": {"matchLabels": {keys.CLUSTER: spec.name, **selected}},
        "policyTypes": [kind for kind in ("Ingress", "Egress") if mode in ("DenyAll", f"DenyAll{kind}")],
    }
    if "Ingress" in wanted["policyTypes"]:
        wanted["ingress"] = [{"from": peers}, *(rule for part in rules for rule in part.get("ingressRules") or ())]
    if "Egress" in wanted["policyTypes"]:
        names_found = {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}
        api = [{"ports": [{"protocol": "TCP", "port": 443}, {"protocol": "TCP", "port": 6443}]}] if calls_api else []
        own = [rule for part in rules for rule in part.get("egressRules") or ()]
        wanted["egress"] = [{"to": peers}, names_found, *api, *own]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": name,
            "namespace": spec.namespace,
            "labels": {keys.CLUSTER: spec.name},
            "ownerReferences": [spec.owner],
        },
        "spec": wanted,
    }
