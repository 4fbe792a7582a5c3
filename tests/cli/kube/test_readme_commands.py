"""The README's commands about Kubernetes objects, typed as they stand there, against the embedded API server."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from rayctl.client.kube.connection import KubeConnection
from rayctl.kube.calls import Call
from rayctl.manifests import crd_documents
from tests.api.kube.conftest import cluster, fleet, service_document
from tests.cli.readme import ROOT, TYPED_ON_KUBERNETES, command_lines

from .conftest import Run

CODES = {"rayctl plan": 10, "rayctl diff": 10, "rayctl rollout status": 5, "rayctl service status": 5}
"""Exit codes other than 0: there is something to change; it is not done yet. No controller is at work here."""
SAYS = {
    "rayctl get": "small",
    "rayctl explain raycluster": "no controller has looked at the cluster yet",
    "rayctl delete": "small",
    "rayctl plan": "create",
    "rayctl diff": "spec",
    "rayctl rollout": "fleet",
    "rayctl service": "chat",
    "rayctl explain rayclusterfleet": "not observed yet",
    "rayctl migrate": "",
}


@pytest.fixture
def prepared(connection: KubeConnection, put: Any, namespace: str, tmp_path: Path) -> None:
    """What the reader has by then: the definitions, some objects, files in the folder."""
    for document in crd_documents():
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{document['metadata']['name']}"
        connection.request(Call.apply(path, document, "test"))
    put(yaml.safe_load((ROOT / "examples/kubernetes/raycluster.yaml").read_text()))
    put(service_document("chat"))
    wanted = {"apiVersion": "orchestration.aibrix.ai/v1alpha1", "kind": "RayClusterFleet", **fleet("f")}
    put(wanted)
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump({**wanted, "spec": fleet("f", image="ray:2")["spec"]}))
    old = cluster("old")
    old["metadata"]["annotations"] = {"ray.io/ft-enabled": "true"}
    container = old["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"}]
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(old))


def test_commands_of_the_readme(run: Run, prepared: None, tmp_path: Path) -> None:
    lines = [line for line in command_lines() if line.startswith(TYPED_ON_KUBERNETES)]
    assert len(lines) >= len(TYPED_ON_KUBERNETES)
    later = [line for line in lines if "delete" in line]
    for line in (*(line for line in lines if line not in later), *later):
        known = [start for start in CODES if line.startswith(start)]
        words = shlex.split(line.replace("NAME", "chat"))[1:]
        if "rollout" in words:
            words += ["--timeout", "0.1s"]  # nobody works on it here
        result = run(*words, code=CODES[known[0]] if known else 0)
        said = max((start for start in SAYS if line.startswith(start)), key=len)
        assert SAYS[said] in result.output, line
    assert "gcsFaultToleranceOptions" in (tmp_path / "cluster.yaml").read_text()
