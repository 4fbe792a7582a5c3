"""Services, access, storage, network rules (KubeRay's expectations 15 to 17)."""

from __future__ import annotations

from typing import Any

import pytest

from rayctl.cluster import keys
from rayctl.cluster.autoscaler import access_objects
from rayctl.cluster.gcs_ft.inject import claim
from rayctl.cluster.gcs_ft.options import fault_tolerance
from rayctl.cluster.network import build_policies
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.services import build_services, head_service, ingress
from tests.unit.cluster.sample import group, spec_of, template

OPTIONS = ClusterOptions()


def ports(service: dict[str, Any]) -> list[tuple[str, int]]:
    return [(port["name"], port["port"]) for port in service["spec"]["ports"]]


def test_the_heads_service() -> None:
    found = head_service(spec_of(), OPTIONS)
    assert found["metadata"]["name"] == "sample-head-svc"
    labels = {
        "ray.io/cluster": "sample",
        "ray.io/node-type": "head",
        "ray.io/identifier": "sample-head",
        "app.kubernetes.io/name": "kuberay",
        "app.kubernetes.io/created-by": "kuberay-operator",
    }
    assert found["spec"]["selector"] == found["metadata"]["labels"] == labels
    assert (found["spec"]["clusterIP"], found["spec"]["publishNotReadyAddresses"]) == ("None", True)
    assert ports(found) == [
        ("client", 10001),
        ("dashboard", 8265),
        ("gcs-server", 6379),
        ("metrics", 8080),
        ("serve", 8000),
    ]
    assert {port["appProtocol"] for port in found["spec"]["ports"]} == {"tcp"}


def test_ports_of_the_users_own() -> None:
    mine = [{"name": "gcs", "containerPort": 6380}, {"containerPort": 9000}]
    found = head_service(spec_of(head={"template": template(ports=mine)}), OPTIONS)
    assert ports(found) == [("9000-port", 9000), ("gcs", 6380), ("metrics", 8080)]


@pytest.mark.parametrize(
    ("kind", "options", "headless"),
    [
        ("", OPTIONS, True),
        ("ClusterIP", OPTIONS, True),
        ("LoadBalancer", OPTIONS, False),
        ("", ClusterOptions(head_cluster_ip=True), False),
    ],
)
def test_when_the_service_is_headless(kind: str, options: ClusterOptions, headless: bool) -> None:
    found = head_service(spec_of(head={"serviceType": kind}), options)
    assert (found["spec"].get("clusterIP") == "None") is headless
    assert found["spec"].get("type", "") == kind


def test_only_five_labels_get_into_the_selector() -> None:
    labels = {"app.kubernetes.io/name": "mine", "team": "a", "ray.io/cluster": "other"}
    selector = head_service(spec_of(head={"template": template({"labels": labels})}), OPTIONS)["spec"]["selector"]
    assert selector["app.kubernetes.io/name"] == "mine"
    assert selector["ray.io/cluster"] == "sample"
    assert "team" not in selector


def test_a_service_of_the_users_own() -> None:
    own = {
        "metadata": {"name": "mine", "labels": {"a": "b"}, "annotations": {"x": "old", "y": "2"}, "namespace": "else"},
        "spec": {
            "selector": {"no": "no"},
            "ports": [{"name": "dashboard", "port": 80, "targetPort": 8265}, {"name": "own", "port": 12345}],
        },
    }
    asked = {"headService": own, "serviceType": "NodePort"}
    found = head_service(spec_of(head=asked, headServiceAnnotations={"x": "new"}), OPTIONS)
    assert (found["metadata"]["name"], found["metadata"]["namespace"]) == ("mine", "default")
    assert found["metadata"]["annotations"] == {"x": "new", "y": "2"}
    assert found["metadata"]["labels"]["a"] == "b"
    assert "no" not in found["spec"]["selector"]
    assert found["spec"]["type"] == "NodePort"
    assert "clusterIP" not in found["spec"]
    assert ports(found)[:2] == [("dashboard", 80), ("own", 12345)]
    assert sorted(ports(found)[2:]) == [("client", 10001), ("gcs-server", 6379), ("metrics", 8080), ("serve", 8000)]
    spec = spec_of(head=asked)
    assert spec.head_host("cluster.local") == "mine.default.svc.cluster.local"


def test_services_for_several_hosts_and_for_serve() -> None:
    spec = spec_of(groups=[group(numOfHosts=2)], annotations={keys.ENABLE_SERVE_SERVICE: "true"})
    _, headless, serve = build_services(spec, OPTIONS)
    assert headless["metadata"]["name"] == "sample-headless"
    assert headless["spec"]["selector"] == {"ray.io/cluster": "sample", "ray.io/node-type": "worker"}
    assert "ports" not in headless["spec"]
    assert serve["metadata"]["name"] == "sample-serve-svc"
    assert serve["spec"]["selector"] == {"ray.io/cluster": "sample"}
    assert ports(serve) == [("serve", 8000)]


def test_serve_has_all_its_ports_or_no_service() -> None:
    mine = [{"name": "serve-grpc", "containerPort": 9000}, {"name": "serve", "containerPort": 8001}]
    annotations = {keys.ENABLE_SERVE_SERVICE: "true"}
    spec = spec_of(head={"template": template(ports=mine)}, annotations=annotations)
    assert ports(build_services(spec, OPTIONS)[1]) == [("serve", 8001), ("serve-grpc", 9000)]
    spec = spec_of(head={"template": template(ports=[{"name": "gcs", "containerPort": 6379}])}, annotations=annotations)
    assert len(build_services(spec, OPTIONS)) == 1


def test_what_the_autoscaler_may_do() -> None:
    account, role, binding = access_objects(spec_of(enableInTreeAutoscaling=True))
    assert (account["kind"], account["metadata"]["name"]) == ("ServiceAccount", "sample")
    rules = {rule["resources"][0]: rule for rule in role["rules"]}
    assert rules["pods"]["verbs"] == ["get", "list", "watch", "patch"]
    assert rules["rayclusters"] == {
        "apiGroups": ["ray.io"],
        "resources": ["rayclusters"],
        "resourceNames": ["sample"],
        "verbs": ["get", "patch"],
    }
    assert binding["subjects"][0]["name"] == "sample"
    assert access_objects(spec_of()) == []


def test_an_account_of_the_users_own_is_not_made() -> None:
    asked = {"template": template(pod={"serviceAccountName": "mine"})}
    kinds = [item["kind"] for item in access_objects(spec_of(enableInTreeAutoscaling=True, head=asked))]
    assert kinds == ["Role", "RoleBinding"]


@pytest.mark.parametrize(("policy", "owned"), [("DeleteWithCluster", True), ("Retain", False)])
def test_the_claim_of_the_embedded_store(policy: str, owned: bool) -> None:
    spec = spec_of(gcsFaultToleranceOptions={"backend": "rocksdb", "storage": {"deletionPolicy": policy}})
    found = claim(spec, fault_tolerance(spec))
    assert found is not None
    assert ("ownerReferences" in found["metadata"]) is owned
    assert found["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


def test_the_dashboards_ingress() -> None:
    annotations = {"kubernetes.io/ingress.class": "nginx", "nginx/rewrite": "/"}
    found = ingress(spec_of(head={"enableIngress": True}, annotations=annotations))
    assert found is not None
    assert found["spec"]["ingressClassName"] == "nginx"
    assert found["metadata"]["annotations"] == {"nginx/rewrite": "/"}
    backend = found["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": "sample-head-svc", "port": {"number": 8265}}
    assert ingress(spec_of()) is None


def test_network_rules_leave_the_cluster_able_to_start() -> None:
    head, workers = build_policies(spec_of(networkPolicy={}, enableInTreeAutoscaling=True))
    assert head["spec"]["policyTypes"] == ["Ingress", "Egress"]
    inside = {"podSelector": {"matchLabels": {"ray.io/cluster": "sample"}}}
    assert head["spec"]["ingress"][0]["from"] == [inside]
    allowed = {port["port"] for rule in head["spec"]["egress"] for port in rule.get("ports", ())}
    assert allowed == {53, 443, 6443}
    assert workers["spec"]["podSelector"]["matchLabels"]["ray.io/group"] == "small"
    assert {port["port"] for rule in workers["spec"]["egress"] for port in rule.get("ports", ())} == {53}
