"""`rayctl install`, `doctor` and `uninstall` on a server of their own."""

from __future__ import annotations

import json
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
from rayctl.manifests import crd_documents
from rayctl.manifests.installation import Installation, documents
from tests.contract.servers import Running, serving

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("kube"), durability="memory") as running:
        yield running


@pytest.fixture
def own(own_server: Running) -> Run:
    def call(*args: str, code: int = 0) -> Result:
        words = [args[0], "--kubeconfig", str(own_server.kubeconfig), *args[1:]]
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        return result

    return call


def findings(result: Result) -> dict[str, dict[str, str]]:
    return {found["check"]: found for found in json.loads(result.stdout)}


def test_installed_checked_and_removed(own: Run, own_server: Running) -> None:
    before = findings(own("doctor", "-o", "json", code=4))
    assert before["server"]["state"] == before["clock"]["state"] == "ok"
    assert before["kind RayCluster"]["hint"] == "`rayctl install` installs it."
    assert before["access of fleet-controller"]["state"] == "fail"

    assert "would be installed" in own("install", "--dry-run").stdout
    own("get", "ns/rayctl-system", code=3)
    own("install")
    assert own("install").stdout.startswith("rayctl is installed in rayctl-system: 36 unchanged.")

    after = findings(own("doctor", "-o", "json", code=4))
    states = {check: found["state"] for check, found in after.items()}
    assert {state for check, state in states.items() if check.startswith(("access", "kind"))} == {"ok"}
    # The objects are there; no control plane runs, and that is said.
    assert {state for check, state in states.items() if check.startswith("leader")} == {"fail"}
    assert states["control plane"] == "fail"

    own("uninstall", code=2)
    own("uninstall", "--yes", "--dry-run")
    own("get", "sa/fleet-controller", "-n", "rayctl-system")
    own("uninstall", "--yes", "--timeout", "60s")
    own("get", "ns/rayctl-system", code=3)
    own("get", "clusterrole/rayctl-fleet-controller", code=3)
    own("get", "rc")
    own("uninstall", "--yes", "--purge", "--timeout", "60s")
    own("get", "rc", code=3)


def test_a_control_plane_of_actors(own: Run, own_server: Running) -> None:
    own("upgrade", "--no-wait", code=3)  # there is none
    own("install", "--actors", "--cpu", "1500m", "--access-mode", "ReadWriteMany")
    assert "50 unchanged" in own("install", "--actors", "--cpu", "1500m", "--access-mode", "ReadWriteMany").stdout
    config = json.loads(own("get", "cm/rayctl-installation", "-n", "rayctl-system", "-o", "json").stdout)
    assert config["data"]["numCpus"] == "1"
    states = {check: found["state"] for check, found in findings(own("doctor", "-o", "json", code=4)).items()}
    assert {state for check, state in states.items() if check.startswith("access")} == {"ok"}
    assert {states["standby"], states["control plane"]} == {"fail"}

    wish = json.loads(own("upgrade", "--no-wait", "--image", "x:2", "--deadline", "9m", "-o", "json").stdout)
    assert wish["to"] == "rayctl-system"  # nobody has begun with it
    kept = json.loads(own("get", "cm/rayctl-upgrade", "-n", "rayctl-system", "-o", "json").stdout)["data"]
    wanted = json.loads(kept["wish"])
    assert (wanted["target"], wanted["deadline_s"]) == ("rayctl-system-2", 540.0)
    assert json.loads(kept["changes"])["rayctl-system-2"]["image"] == "x:2"
    own("upgrade", "--no-wait", code=6)  # one is wanted already
    own("upgrade", "--rollback", "--image", "x:1", code=2)
    assert "is not wanted any more" in own("upgrade", "--rollback", "--timeout", "20s").stderr
    assert "has not moved yet" in own("upgrade", "--rollback", code=6).stderr

    own("uninstall", "--yes", "--keep-data", "--timeout", "60s")
    own("get", "pvc/rayctl-state", "-n", "rayctl-system")
    own("get", "secret/rayctl-token", "-n", "rayctl-system")
    own("get", "deploy/rayctl-standby", "-n", "rayctl-system", code=3)
    own("uninstall", "--yes", "--purge", "--timeout", "60s")
    own("get", "ns/rayctl-system", code=3)
    for kind in ("clusterroles", "clusterrolebindings"):
        left = own("get", kind, "-l", "app.kubernetes.io/part-of=rayctl", "-o", "name").stdout
        assert left == "", left


def test_definitions_of_others_are_kept(own: Run, own_server: Running) -> None:
    connection = KubeConnection(locate(Where(str(own_server.kubeconfig))))
    other = crd_documents("RayCluster")[0]
    other["metadata"]["labels"] = {"of": "helm"}
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{other['metadata']['name']}"
    connection.request(Call.apply(path, other, "helm"))
    connection.close()
    result = own("install", "-n", "mine")
    assert "rayclusters.ray.io is kept as helm made it." in result.stderr
    own("get", "sa/rayctl", "-n", "mine")
    own("uninstall", "-n", "mine", "--yes", "--timeout", "60s")
    own("get", "ns/mine")  # a namespace that somebody chose is not ours to delete


def test_rendering_asks_nobody(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["install", "--dry-run=client", "--image", "x/y:1"])
    assert result.exit_code == 0, result.stderr
    found: list[dict[str, Any]] = list(yaml.safe_load_all(result.stdout))
    assert found == [*crd_documents(), *documents(Installation(image="x/y:1"))]
