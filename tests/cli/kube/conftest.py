"""One embedded API server for all tests of the commands for Kubernetes objects; each test has its own namespace."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from rayctl.cli.main import cli
from rayctl.client.kube.connection import KubeConnection
from rayctl.client.kube.locate import Where, locate
from rayctl.kube.calls import Call
from tests.contract.servers import Running, serving

USERS = 'watcher-token,watcher,7,"people"\n'
BOATS: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "boats.sea.test"},
    "spec": {
        "group": "sea.test",
        "scope": "Namespaced",
        "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "shortNames": ["bt"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
                "additionalPrinterColumns": [
                    {"name": "Crew", "type": "integer", "jsonPath": ".spec.replicas"},
                    {"name": "Flag", "type": "string", "jsonPath": ".spec.flag", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "replicas": {"type": "integer", "minimum": 0},
                                    "flag": {"type": "string"},
                                },
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}
_count = itertools.count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("kube")
    users = folder / "users.csv"
    users.write_text(USERS)
    with serving(folder, users, durability="memory") as running:
        yield running


@pytest.fixture(scope="session")
def connection(server: Running) -> Iterator[KubeConnection]:
    opened = KubeConnection(locate(Where(str(server.kubeconfig))))
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/boats.sea.test"
    opened.request(Call.apply(path, BOATS, "test"))
    for _ in range(200):
        conditions = opened.request(Call.get(path)).get("status", {}).get("conditions", [])
        if any(found["type"] == "Established" and found["status"] == "True" for found in conditions):
            break
    yield opened
    opened.close()


@pytest.fixture
def namespace(connection: KubeConnection) -> str:
    name = f"n{next(_count)}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    connection.request(Call("POST", "/api/v1/namespaces", body=body))
    return name


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("RAYCTL_", "RAY_", "KUBE"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAYCTL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


Run = Callable[..., Result]


@pytest.fixture
def run(server: Running, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line in this process, in the test's namespace."""
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
    monkeypatch.setenv("RAYCTL_NAMESPACE", namespace)

    def call(*args: str, input: str | None = None, code: int | None = 0) -> Result:
        result = CliRunner().invoke(cli, list(args), input=input)
        if code is not None:
            assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        return result

    return call


@pytest.fixture
def put(connection: KubeConnection, namespace: str) -> Callable[..., dict[str, Any]]:
    """Create an object as somebody else; its status too, if it has one."""

    def call(document: dict[str, Any] | str) -> dict[str, Any]:
        from rayctl.client.kube.discovery import discover

        found: dict[str, Any] = yaml.safe_load(document) if isinstance(document, str) else document
        found["metadata"].setdefault("namespace", namespace)
        served = discover(connection).of(found["apiVersion"], found["kind"])
        where = (found["metadata"]["namespace"], found["metadata"]["name"])
        if found["kind"] == "Event":
            return dict(connection.request(Call("POST", served.resource.path(where[0]), body=found)))
        made = connection.request(Call.apply(served.resource.path(*where), found, "somebody"))
        if "status" in found:
            body = {"status": found["status"]}
            kind = "application/merge-patch+json"
            path = served.resource.path(*where, "status")
            made = connection.request(Call("PATCH", path, body=body, content_type=kind))
        return dict(made)

    return call


def documents(result: Result) -> Any:
    return json.loads(result.stdout)
