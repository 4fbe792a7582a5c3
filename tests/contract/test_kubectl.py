"""kubectl, unmodified, through a day's work against the embedded server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.contract.servers import Running, serving

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.sea.test}
spec:
  group: sea.test
  scope: Namespaced
  names: {plural: boats, kind: Boat, shortNames: [bt]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.crew, statusReplicasPath: .status.crew}}
    additionalPrinterColumns: [{name: Crew, type: integer, jsonPath: .spec.crew}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {crew: {type: integer, minimum: 0, description: How many sail.}, flag: {type: string}}
          status: {type: object, properties: {crew: {type: integer}}}
"""
BOAT = "apiVersion: sea.test/v1\nkind: Boat\nmetadata: {name: ann}\nspec: {crew: 2}\n"
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m, labels: {app: a}}\ndata: {k: v}\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("kube")) as running:
        yield running


def environment(server: Running) -> dict[str, str]:
    return {**os.environ, "KUBECONFIG": str(server.kubeconfig), "HOME": str(server.folder), "EDITOR": "true"}


def kubectl(server: Running, *words: str, given: str | None = None, code: int = 0) -> str:
    done = subprocess.run(
        ["kubectl", *words], env=environment(server), input=given, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + (done.stderr if code else "")


def test_a_days_work(server: Running) -> None:
    def k(*words: str, given: str | None = None, code: int = 0) -> str:
        return kubectl(server, *words, given=given, code=code)

    assert "customresourcedefinition.apiextensions.k8s.io/boats.sea.test created" in k(
        "apply", "-f", "-", given=DEFINITION
    )
    k("wait", "--for=condition=Established", "crd/boats.sea.test", "--timeout=20s")
    assert "boat.sea.test/ann created" in k("apply", "-f", "-", given=BOAT)
    assert "boat.sea.test/ann unchanged" in k("apply", "-f", "-", given=BOAT)
    assert "boat.sea.test/ann configured" in k("apply", "-f", "-", given=BOAT.replace("2", "3"))
    assert k("get", "bt", "ann", "-o", "jsonpath={.spec.crew}") == "3"
    assert "crew: 3" in k("diff", "-f", "-", given=BOAT.replace("2", "4"), code=1)
    assert "serverside-applied" in k("apply", "--server-side", "--force-conflicts", "-f", "-", given=BOAT)
    assert "conflict" in k(
        *("apply", "--server-side", "--field-manager=other", "-f", "-"), given=BOAT.replace("2", "9"), code=1
    )
    assert "scaled" in k("scale", "boat/ann", "--replicas=7")
    assert k("get", "boats").splitlines()[1].split()[:2] == ["ann", "7"]
    assert 'unknown field "spec.sails"' in k("apply", "-f", "-", given=BOAT.replace("crew: 2", "sails: 1"), code=1)
    assert "should be greater than or equal to 0" in k(
        "patch", "boat/ann", "--type=merge", "-p", '{"spec":{"crew":-1}}', code=1
    )
    assert "How many sail." in k("explain", "boat.spec.crew")
    assert "boats" in k("api-resources")

    k("apply", "-f", "-", given=MAP)
    k("label", "cm/m", "tier=web")
    k("annotate", "cm/m", "note=x")
    k("patch", "cm/m", "-p", '{"data":{"z":"1"}}')
    k("patch", "cm/m", "--type=json", "-p", '[{"op":"remove","path":"/data/z"}]')
    found = json.loads(k("get", "cm/m", "-o", "json"))
    assert found["data"] == {"k": "v"}
    assert found["metadata"]["labels"] == {"app": "a", "tier": "web"}
    assert "m" in k("get", "cm", "-l", "tier=web", "-o", "name")
    assert "Data" in k("describe", "cm", "m")
    assert k("auth", "can-i", "delete", "pods").strip() == "yes"
    assert "admin" in k("auth", "whoami")

    k("create", "namespace", "other")
    k("create", "secret", "generic", "s", "--from-literal=a=b", "-n", "other")
    k("delete", "namespace", "other", "--timeout=30s")
    assert "NotFound" in k("get", "secret", "s", "-n", "other", code=1)
    k("delete", "-f", "-", given=MAP)
    k("delete", "crd", "boats.sea.test", "--timeout=30s")
    assert "could not find the requested resource" in k("get", "boats.v1.sea.test", code=1)


@pytest.mark.parametrize("policy", ["background", "foreground", "orphan"])
def test_deletion_takes_what_is_owned_along_or_leaves_it(server: Running, policy: str) -> None:
    kubectl(server, "create", "configmap", f"owner-{policy}")
    uid = kubectl(server, "get", "cm", f"owner-{policy}", "-o", "jsonpath={.metadata.uid}")
    child = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"child-{policy}",
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "name": f"owner-{policy}",
                    "uid": uid,
                    "blockOwnerDeletion": True,
                }
            ],
        },
    }
    kubectl(server, "create", "-f", "-", given=json.dumps(child))
    kubectl(server, "delete", "cm", f"owner-{policy}", f"--cascade={policy}", "--timeout=20s")
    if policy == "orphan":
        found = json.loads(kubectl(server, "get", "cm", f"child-{policy}", "-o", "json"))
        assert "ownerReferences" not in found["metadata"]
    else:
        kubectl(server, "wait", "--for=delete", f"cm/child-{policy}", "--timeout=20s")


def test_what_it_makes_of_words_is_made(server: Running) -> None:
    kubectl(server, "create", "deployment", "web", "--image=nginx", "--replicas=2", "--port=80")
    kubectl(server, "scale", "deployment", "web", "--replicas=5")
    assert kubectl(server, "get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "5"
    kubectl(server, "create", "service", "clusterip", "web", "--tcp=80:8080")
    assert kubectl(server, "get", "svc", "web", "-o", "jsonpath={.spec.ports[0].targetPort}") == "8080"
    kubectl(server, "create", "job", "once", "--image=busybox", "--", "true")
    assert len(kubectl(server, "create", "token", "default", "--duration=10m").split(".")) == 3


def test_a_watch_shows_changes_as_they_happen(server: Running) -> None:
    watching = subprocess.Popen(
        ["kubectl", "get", "cm", "-w", "-l", "seen=yes", "--no-headers"],
        env=environment(server),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert watching.stdout is not None
        deadline = time.monotonic() + 20
        kubectl(server, "create", "configmap", "w")
        kubectl(server, "label", "cm", "w", "seen=yes")
        line = watching.stdout.readline()
        assert line.split()[0] == "w"
        kubectl(server, "patch", "cm", "w", "-p", '{"data":{"a":"1","b":"2"}}')
        assert watching.stdout.readline().split()[:2] == ["w", "2"]
        assert time.monotonic() < deadline
    finally:
        watching.terminate()
        watching.wait(10)


def test_a_list_of_several_kinds_is_applied_and_its_fields_are_checked(server: Running) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "listed"}}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "listed"}, "data": {"k": "v"}}
    whole = {"apiVersion": "v1", "kind": "List", "items": [account, settings]}
    said = kubectl(server, "apply", "-f", "-", given=json.dumps(whole))
    assert said.splitlines() == ["serviceaccount/listed created", "configmap/listed created"]
    wrong = {**whole, "items": [account, {**settings, "date": {}}]}
    assert 'unknown field "date"' in kubectl(server, "apply", "-f", "-", given=json.dumps(wrong), code=1)
