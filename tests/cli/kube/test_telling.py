"""`rayctl explain`, `describe`, `events`, `logs` and `cluster connect` against a real server."""

from __future__ import annotations

import base64
import stat
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from rayctl.cli.objects.cluster import endpoints
from rayctl.client.kube.connection import KubeConnection
from rayctl.kube.calls import Call
from rayctl.manifests import crd_documents
from tests.cli.kube.conftest import Run, documents

Put = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def ray_kinds(connection: KubeConnection) -> None:
    for definition in crd_documents("RayCluster"):
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition['metadata']['name']}"
        connection.request(Call.apply(path, definition, "test"))
    for _ in range(500):
        groups = connection.request(Call.get("/apis"))["groups"]
        if any(group["name"] == "ray.io" for group in groups):
            return
    raise AssertionError("the kind did not come")


@pytest.fixture
def cluster(ray_kinds: None, put: Put) -> dict[str, Any]:
    head = {"template": {"spec": {"containers": [{"name": "ray-head", "image": "ray"}]}}}
    group = {"groupName": "small", "replicas": 1, "minReplicas": 0, "maxReplicas": 3, **head}
    return put(
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayCluster",
            "metadata": {"name": "demo"},
            "spec": {"headGroupSpec": head, "workerGroupSpecs": [group]},
        }
    )


@pytest.fixture
def pod(put: Put) -> Callable[..., dict[str, Any]]:
    def make(owner: dict[str, Any], name: str, **status: Any) -> dict[str, Any]:
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": True}
        reference |= {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
        return put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "ownerReferences": [reference],
                    "labels": {"ray.io/cluster": "demo", "ray.io/node-type": "worker"},
                },
                "spec": {"containers": [{"name": "c", "image": "x"}]},
                "status": status,
            }
        )

    return make


def event(about: dict[str, Any], reason: str, note: str, kind: str = "Warning") -> dict[str, Any]:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    metadata = about["metadata"]
    regarding = {"apiVersion": about["apiVersion"], "kind": about["kind"], "uid": metadata["uid"]}
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{reason.lower()}"},
        "eventTime": now,
        "reportingController": "test",
        "reportingInstance": "t",
        "action": "Try",
        "type": kind,
        "reason": reason,
        "note": note,
        "regarding": {**regarding, "name": metadata["name"], "namespace": metadata["namespace"]},
    }


def test_the_chain_ends_at_the_pod(run: Run, cluster: dict[str, Any], pod: Any) -> None:
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    waiting = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    pod(cluster, "demo-w-0", phase="Pending", conditions=[waiting])
    lines = run("explain", "rc/demo").stdout.splitlines()
    assert lines[0] == "raycluster/demo is not ready"
    assert lines[1].startswith("  because  raycluster/demo: no controller has looked at the cluster yet")
    assert lines[2].strip() == f"because  pod demo-w-0 is Pending: {message}   [Unschedulable]"
    assert any("rayctl get nodes" in line for line in lines)
    assert any("raycluster-controller  led by nobody: it does not run" in line for line in lines)
    found = documents(run("explain", "rc/demo", "-o", "json"))
    assert [cause["object"] for cause in found["because"]] == ["raycluster/demo", "pod/demo-w-0"]


def test_describe_has_tree_conditions_and_events(run: Run, put: Put, cluster: dict[str, Any], pod: Any) -> None:
    pod(cluster, "demo-w-0", phase="Running", conditions=[{"type": "Ready", "status": "True", "reason": "Up"}])
    put(event(cluster, "Stuck", "it is stuck"))
    out = run("describe", "rc", "demo").stdout
    assert "  └─ ✔ pod/demo-w-0  Ready" in out
    assert "Stuck  it is stuck" in out
    assert documents(run("describe", "rc/demo", "-o", "json"))["children"][0]["ready"] is True


def test_secrets_are_not_described(run: Run, put: Put) -> None:
    data = base64.b64encode(b"canary").decode()
    put({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": data}})
    for form in ("table", "json"):
        out = run("describe", "secret/s", "-o", form).stdout
        assert data not in out
        assert "6 bytes" in out


def test_events(run: Run, put: Put, cluster: dict[str, Any], pod: Any) -> None:
    worker = pod(cluster, "demo-w-0")
    put(event(cluster, "Stuck", "it is stuck"))
    put(event(worker, "Pulled", "an image", "Normal"))
    lines = run("events").stdout.splitlines()
    assert [line.split()[2] for line in lines[1:]] == ["Stuck", "Pulled"]
    assert len(run("events", "rc/demo").stdout.splitlines()) == 2
    assert len(run("events", "rc/demo", "--tree").stdout.splitlines()) == 3
    assert "Pulled" not in run("events", "--type", "Warning").stdout
    watched = run("events", "po/demo-w-0", "-w", "--timeout", "300ms").stdout
    assert watched.rstrip().endswith("Normal  pod/demo-w-0 Pulled: an image")
    assert documents(run("events", "-o", "json"))["items"][0]["reason"] == "Stuck"


def test_scaling_a_group_is_one_field(run: Run, cluster: dict[str, Any]) -> None:
    assert run("scale", "rc/demo", "--replicas", "2").stdout == "raycluster.ray.io/demo scaled\n"
    after = documents(run("get", "rc/demo", "-o", "json"))
    cluster["spec"]["workerGroupSpecs"][0]["replicas"] = 2
    assert after["spec"] == cluster["spec"]
    assert "0 to 3" in run("scale", "rc/demo", "--replicas", "4", code=2).stderr
    assert "--group: small" in run("scale", "rc/demo", "--group", "big", "--replicas", "1", code=2).stderr


def test_logs_of_what_has_none(run: Run, cluster: dict[str, Any]) -> None:
    assert "has no pods" in run("logs", "rc/demo", code=3).stderr
    run("logs", "nobody", code=3)


class TestConnect:
    @pytest.fixture(autouse=True)
    def made(self, put: Put, cluster: dict[str, Any]) -> None:
        ports = [{"name": "client", "port": 10001}, {"name": "dashboard", "port": 8265}]
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "demo-head-svc"}}
        put({**service, "spec": {"ports": ports, "selector": {"a": "b"}}})
        token = base64.b64encode(b"canary-token").decode()
        put({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "demo"}, "data": {"auth_token": token}})

    def test_the_token_is_not_shown_unasked(self, run: Run, namespace: str) -> None:
        out = run("cluster", "connect", "demo").stdout
        assert f"export RAY_ADDRESS=ray://demo-head-svc.{namespace}.svc:10001\n" in out
        assert "export RAY_AUTH_MODE=token\n" in out
        assert "# Not ready: no controller has looked at the cluster yet\n" in out
        assert f"kubectl port-forward -n {namespace} svc/demo-head-svc 10001 8265" in out
        for form in ("table", "json", "yaml", "name"):
            assert "canary" not in run("cluster", "connect", "demo", "-o", form).stdout

    def test_it_is_when_asked_for(self, run: Run, tmp_path: Path) -> None:
        assert "export RAY_AUTH_TOKEN=canary-token\n" in run("cluster", "connect", "demo", "--show-token").stdout
        (tmp_path / "t").write_text("")
        (tmp_path / "t").chmod(0o644)
        out = run("cluster", "connect", "rc/demo", "--write-token", "t").stdout
        assert f"export RAY_AUTH_TOKEN_PATH={tmp_path / 't'}\n" in out
        assert "canary" not in out
        assert (tmp_path / "t").read_text() == "canary-token"
        assert stat.S_IMODE((tmp_path / "t").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("spec", "local", "client", "reachable"),
    [
        ({"clusterIP": "127.9.0.1"}, True, "ray://127.9.0.1:10001", True),
        ({"clusterIP": "None"}, True, "ray://127.8.0.2:10001", True),
        ({"clusterIP": "10.0.0.1"}, False, "ray://s.n.svc:10001", False),
        ({"ports": [{"name": "client", "port": 20001}]}, False, "ray://s.n.svc:20001", False),
    ],
)
def test_endpoints(spec: dict[str, Any], local: bool, client: str, reachable: bool) -> None:
    document = {"spec": {}, "status": {"head": {"podIP": "127.8.0.2"}}}
    found = endpoints(document, {"metadata": {"name": "s", "namespace": "n"}, "spec": spec}, local)
    assert (found["client"], found["reachable"]) == (client, reachable)


def test_moved_ports_are_at_the_loopback_interface_and_others_at_the_pod() -> None:
    document = {"metadata": {"name": "c"}, "spec": {}, "status": {"head": {"podIP": "127.128.0.7"}}}
    service = {"metadata": {"name": "s", "namespace": "n"}, "spec": {"clusterIP": "None"}}
    found = endpoints(document, service, True, {10001: 24003, 6379: 24001})
    assert found["client"] == "ray://127.0.0.1:24003"
    assert found["dashboard"] == "http://127.128.0.7:8265"
    assert found["reachable"]
