"""The job beside the head that makes the control plane's actors: how it is rendered, and what it is told."""

from __future__ import annotations

from typing import Any

from rayctl.cluster import auth
from rayctl.manifests.installation import NAME, Installation, documents
from rayctl.selfhost.bootstrap import actor_options


def containers(chosen: Installation) -> list[dict[str, Any]]:
    [cluster] = [found for found in documents(chosen) if found["kind"] == "RayCluster"]
    return list(cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"])


def test_it_is_there_only_when_asked_for() -> None:
    assert [found["name"] for found in containers(Installation())] == ["ray-head"]
    assert [found["name"] for found in containers(Installation(actors=True))] == ["ray-head", "bootstrap"]


def test_it_finds_the_clusters_token_where_the_pods_have_it() -> None:
    found = containers(Installation(actors=True))[1]
    assert found["volumeMounts"] == [{"name": auth.VOLUME, "mountPath": auth.FOLDER, "readOnly": True}]
    env = {item["name"]: item["value"] for item in found["env"]}
    assert env["RAY_AUTH_TOKEN_PATH"] == f"{auth.FOLDER}/{auth.FILE}"


def test_each_actor_acts_under_its_own_account() -> None:
    found = containers(Installation(namespace="system", watch_namespace="team", actors=True))[1]
    options = actor_options({item["name"]: item["value"] for item in found["env"]})
    assert (options.lease_namespace, options.accounts_namespace, options.watch_namespace) == (
        "system",
        "system",
        "team",
    )
    assert options.kubeconfig is None  # the pod's own account asks for the tokens
    assert actor_options({}).accounts_namespace == NAME
