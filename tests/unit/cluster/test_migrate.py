"""From the deprecated annotation to the options: in one step, the state stays where it is, comments stay in files."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rayctl.cli.main import cli
from rayctl.cluster.gcs_ft.migrate import migrate
from rayctl.cluster.gcs_ft.options import fault_tolerance
from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.pods import head_pod
from rayctl.cluster.revision import head_revision
from rayctl.cluster.spec import parse_cluster
from rayctl.cluster.validate import check_cluster
from tests.unit.cluster.sample import cluster, env_of, line_of, template

ON = {"ray.io/ft-enabled": "true"}
SECRET = {"secretKeyRef": {"name": "redis", "key": "password"}}


def old(annotations: dict[str, str] | None = None, params: dict[str, str] | None = None, **env: Any) -> dict[str, Any]:
    values = {"RAY_REDIS_ADDRESS": "redis:6379", **env}
    listed = [
        {"name": name, **({"valueFrom": value} if isinstance(value, dict) else {"value": value})}
        for name, value in values.items()
        if value is not None
    ]
    head = {"template": template(env=listed), "rayStartParams": params or {}}
    return cluster(annotations={**ON, **(annotations or {})}, head=head)


@pytest.mark.parametrize(
    ("document", "options"),
    [
        (old(), {"redisAddress": "redis:6379"}),
        (
            old(params={"redis-password": "$REDIS_PASSWORD"}, REDIS_PASSWORD=SECRET),
            {"redisAddress": "redis:6379", "redisPassword": {"valueFrom": SECRET}},
        ),
        (
            old(params={"redis-password": "${OTHER}"}, OTHER=SECRET),
            {"redisAddress": "redis:6379", "redisPassword": {"valueFrom": SECRET}},
        ),
        (
            old(params={"redis-password": "plain"}),
            {"redisAddress": "redis:6379", "redisPassword": {"value": "plain"}},
        ),
        (
            old({"ray.io/external-storage-namespace": "mine"}),
            {"redisAddress": "redis:6379", "externalStorageNamespace": "mine"},
        ),
        (
            old(RAY_external_storage_namespace="mine"),
            {"redisAddress": "redis:6379", "externalStorageNamespace": "mine"},
        ),
    ],
)
def test_what_moves_where(document: dict[str, Any], options: dict[str, Any]) -> None:
    before = copy.deepcopy(document)
    found = migrate(document)
    assert found.refused == []
    assert len(found.notes) == len(set(found.notes)), "nothing is said twice"
    assert document["spec"]["gcsFaultToleranceOptions"] == options
    spec = parse_cluster(document)
    assert check_cluster(spec, ClusterOptions()) == []
    assert "ray.io/ft-enabled" not in document["metadata"].get("annotations", {})
    was, now = fault_tolerance(parse_cluster(before)), fault_tolerance(spec)
    assert (was.address, was.namespace, was.pinned) == (now.address, now.namespace, now.pinned)
    assert migrate(document).done == [], "a second time there is nothing to do"


def test_the_next_head_is_the_same_as_before() -> None:
    document = old(params={"redis-password": "$REDIS_PASSWORD"}, REDIS_PASSWORD=SECRET, MINE="1")
    before = parse_cluster(copy.deepcopy(document))
    migrate(document)
    after = parse_cluster(document)
    first, second = head_pod(before, ClusterOptions()), head_pod(after, ClusterOptions())
    assert env_of(first) == env_of(second)
    assert line_of(first) == line_of(second)
    assert first["metadata"]["annotations"] == second["metadata"]["annotations"]
    assert head_revision(before) == head_revision(after), "not even Recreate replaces pods"


def test_what_is_kept() -> None:
    document = old({"ray.io/gcs-ft-deletion-timeout": "60"}, RAY_gcs_rpc_server_reconnect_timeout_s="120")
    migrate(document)
    assert document["metadata"]["annotations"] == {"ray.io/gcs-ft-deletion-timeout": "60"}
    env = document["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]
    assert [item["name"] for item in env] == ["RAY_gcs_rpc_server_reconnect_timeout_s"]


def test_an_annotation_that_says_false_goes_and_nothing_comes() -> None:
    document = cluster(annotations={"ray.io/ft-enabled": "false"})
    assert migrate(document).done
    assert "gcsFaultToleranceOptions" not in document["spec"]


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (old(RAY_REDIS_ADDRESS={"configMapKeyRef": {}}), "comes from a reference"),
        (old(RAY_REDIS_ADDRESS=None), "not among the head's variables"),
        (old(params={"redis-password": "$NOBODY"}), "does not have"),
        ({**old(), "spec": {**old()["spec"], "gcsFaultToleranceOptions": {"redisAddress": "x:1"}}}, "something else"),
        (
            {"kind": "RayService", "metadata": {"name": "s", "annotations": ON}, "spec": {}},
            "starts a switchover",
        ),
        (
            {
                "kind": "RayService",
                "metadata": {"name": "s", "annotations": {**ON, "ray.io/external-storage-namespace": "n"}},
            },
            "read the state of the running one",
        ),
        ({**cluster(), "spec": {**cluster()["spec"], "gcsFaultTolerance": {"enabled": True}}}, "Helm chart"),
    ],
)
def test_what_is_refused_stays_as_it_is(document: dict[str, Any], text: str) -> None:
    before = copy.deepcopy(document)
    found = migrate(document)
    assert text in " ".join(found.refused)
    assert document == before


def test_an_object_that_belongs_to_another_is_not_changed_live() -> None:
    document = old()
    document["metadata"]["ownerReferences"] = [{"kind": "RayService", "name": "s", "controller": True}]
    assert "change RayService s instead" in " ".join(migrate(copy.deepcopy(document), live=True).refused)
    assert migrate(document).refused == []


def test_the_helm_charts_spelling_is_recognised() -> None:
    document = cluster(gcsFaultTolerance={"enabled": True, "redisAddress": "redis:6379"})
    found = migrate(document)
    assert document["spec"]["gcsFaultToleranceOptions"] == {"redisAddress": "redis:6379"}
    assert "gcsFaultTolerance" not in document["spec"]
    assert "fault tolerance was off until now" in " ".join(found.notes)
    values = {"gcsFaultTolerance": {"enabled": True}}
    assert "values of KubeRay's chart" in migrate(values).notes[0]
    assert values == {"gcsFaultTolerance": {"enabled": True}}


MANIFEST = """\
# Our cluster.
apiVersion: ray.io/v1
kind: RayCluster
metadata:
  name: demo  # the name
  annotations:
    ray.io/ft-enabled: "true"
    team: blue
spec:
  rayVersion: "2.60.0"
  headGroupSpec:
    rayStartParams:
      num-cpus: "0"  # no tasks on the head
      redis-password: $REDIS_PASSWORD
    # The head.
    template:
      spec:
        containers:
        - name: ray-head
          image: 'rayproject/ray:2.60.0'
          env:
          - name: RAY_REDIS_ADDRESS
            value: redis:6379
          - name: MINE  # keep me
            value: "1"
          - name: REDIS_PASSWORD
            valueFrom: {secretKeyRef: {name: redis, key: password}}
          ports: [{containerPort: 6379, name: gcs}]
---
kind: Secret
apiVersion: v1
metadata: {name: redis}
"""


def test_a_file_keeps_its_comments_and_its_order(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(MANIFEST)
    shown = CliRunner().invoke(cli, ["migrate", "gcs-ft", str(path)])
    assert shown.exit_code == 10, shown.output
    assert "+  gcsFaultToleranceOptions:" in shown.output
    assert path.read_text() == MANIFEST, "without --write nothing is written"
    done = CliRunner().invoke(cli, ["migrate", "gcs-ft", str(path), "--write"])
    assert done.exit_code == 0, done.output
    text = path.read_text()
    for kept in ("# Our cluster.", "# the name", "# no tasks on the head", "# The head.", "# keep me", "team: blue"):
        assert kept in text
    assert "'rayproject/ray:2.60.0'" in text
    assert "{name: redis}" in text
    gone = {line.strip() for line in MANIFEST.splitlines()} - {line.strip() for line in text.splitlines()}
    assert gone == {
        'ray.io/ft-enabled: "true"',
        "redis-password: $REDIS_PASSWORD",
        "- name: RAY_REDIS_ADDRESS",
        "value: redis:6379",
        "- name: REDIS_PASSWORD",
        "valueFrom: {secretKeyRef: {name: redis, key: password}}",  # moved, and written in several lines
    }
    again = CliRunner().invoke(cli, ["migrate", "gcs-ft", str(path), "--write"])
    assert (again.exit_code, again.output.strip()) == (0, "Nothing to migrate.")


def test_a_refusal_says_why_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "service.yaml"
    path.write_text("kind: RayService\nmetadata: {name: s, annotations: {ray.io/ft-enabled: 'true'}}\nspec: {}\n")
    before = path.read_text()
    refused = CliRunner().invoke(cli, ["migrate", "gcs-ft", str(path), "--write"])
    assert refused.exit_code == 2
    assert "switchover" in refused.output
    assert path.read_text() == before
