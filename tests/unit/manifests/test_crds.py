"""The definitions of kinds: up to date, accepted by a server, and they keep and check what they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rayctl.manifests import crd_documents, generate
from tests.unit.embedded.local import Local

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CLUSTERS = "/apis/ray.io/v1/namespaces/default/rayclusters"


@pytest.mark.parametrize("name", sorted(generate.DEFINITIONS))
def test_the_files_are_what_the_source_says(name: str) -> None:
    written = (Path(generate.__file__).parent / "crds" / name).read_text(encoding="utf-8")
    assert written == generate.render(generate.DEFINITIONS[name]()), "run python -m rayctl.manifests.generate"


async def server() -> Local:
    local = await Local().start()
    for document in crd_documents():
        code, answer = await local.call("POST", CRDS, document)
        assert code == 201, answer
        await local.establish(document["metadata"]["name"])
    return local


def document(**spec: Any) -> dict[str, Any]:
    template = {
        "spec": {"containers": [{"name": "ray", "image": "ray", "lifecycle": {"preStop": {}}}], "hostIPC": True}
    }
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "c"},
        "spec": {"headGroupSpec": {"template": template}, **spec},
    }


async def test_defaults_and_free_parts_of_a_cluster() -> None:
    local = await server()
    group = {"groupName": "g", "template": {"spec": {"containers": [{"name": "w", "ports": [{"containerPort": 1}]}]}}}
    code, made = await local.call(
        "POST", CLUSTERS, document(workerGroupSpecs=[group], gcsFaultTolerance={"enabled": True})
    )
    assert code == 201, made
    stored = made["spec"]["workerGroupSpecs"][0]
    assert {name: stored[name] for name in ("replicas", "minReplicas", "maxReplicas", "numOfHosts")} == {
        "replicas": 0,
        "minReplicas": 0,
        "maxReplicas": 2147483647,
        "numOfHosts": 1,
    }
    assert stored["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 1, "protocol": "TCP"}]
    head = made["spec"]["headGroupSpec"]["template"]["spec"]
    assert head["hostIPC"] is True
    assert head["containers"][0]["lifecycle"] == {"preStop": {}}
    assert "gcsFaultTolerance" not in made["spec"], "a key that the API does not have is pruned"


@pytest.mark.parametrize(
    "spec",
    [
        {"upgradeStrategy": {"type": "Sometimes"}},
        {"gcsFaultToleranceOptions": {"backend": "etcd"}},
        {"authOptions": {"mode": "password"}},
        {"workerGroupSpecs": [{"groupName": "g"}]},
        {"autoscalerOptions": {"upscalingMode": "Wild"}},
    ],
)
async def test_what_the_schema_refuses(spec: dict[str, Any]) -> None:
    local = await server()
    code, answer = await local.call("POST", CLUSTERS, document(**spec))
    assert code == 422, answer


def test_rules_that_only_a_real_server_checks_are_written_down() -> None:
    """The embedded server does not evaluate expressions."""
    spec = crd_documents("RayCluster")[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    rules = [rule["rule"] for rule in spec["properties"]["managedBy"]["x-kubernetes-validations"]]
    assert rules[0] == "self == oldSelf"
    assert "kueue.x-k8s.io/multikueue" in rules[1]
    backend = spec["properties"]["gcsFaultToleranceOptions"]["properties"]["backend"]
    assert [rule["rule"] for rule in backend["x-kubernetes-validations"]] == ["self == oldSelf"]


def test_columns_are_those_of_kuberay() -> None:
    columns = crd_documents("RayCluster")[0]["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [column["name"] for column in columns if not column.get("priority")] == [
        "desired workers",
        "available workers",
        "cpus",
        "memory",
        "gpus",
        "status",
        "age",
    ]
