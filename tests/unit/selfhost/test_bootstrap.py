"""The job in the head that makes the control plane's actors: how it is rendered, and what it is told."""

from __future__ import annotations

from typing import Any

from rayctl.manifests.installation import (
    NAME,
    SHARED_FOLDER,
    STATE_CLAIM,
    STATE_FOLDER,
    Installation,
    cluster,
    documents,
)
from rayctl.selfhost.bootstrap import actor_options


def head(chosen: Installation) -> dict[str, Any]:
    template: dict[str, Any] = cluster(chosen)["spec"]["headGroupSpec"]["template"]["spec"]
    return template


def env_of(chosen: Installation) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in head(chosen)["containers"][0]["env"]}


def test_it_runs_in_the_head_only_when_asked_for() -> None:
    assert "command" not in head(Installation())["containers"][0]
    [container] = head(Installation(actors=True))["containers"]
    assert "rayctl.selfhost.bootstrap" in container["command"][0]
    # Ray's own command comes after it, so it must neither stay in the foreground nor look like it.
    assert container["command"][0].endswith("&)")
    assert "ray start" not in container["command"][0]


def test_the_state_is_on_a_claim_or_in_folders_of_the_node() -> None:
    claims = [found["metadata"]["name"] for found in documents(Installation(actors=True)) if "Claim" in found["kind"]]
    assert claims == [STATE_CLAIM]
    mounted = head(Installation(actors=True))["containers"][0]["volumeMounts"]
    assert [item["mountPath"] for item in mounted] == [STATE_FOLDER, SHARED_FOLDER]
    here = Installation(actors=True, home="/home/me/.rayctl", folders=(("/home/me/.rayctl/state", "Directory"),))
    assert not [found for found in documents(here) if "Claim" in found["kind"]]
    assert head(here)["volumes"] == [
        {"name": "state-0", "hostPath": {"path": "/home/me/.rayctl/state", "type": "Directory"}}
    ]
    assert head(here)["containers"][0]["volumeMounts"] == [{"name": "state-0", "mountPath": "/home/me/.rayctl/state"}]
    assert env_of(here)["RAYCTL_HOME"] == "/home/me/.rayctl"


def test_each_actor_acts_under_its_own_account_and_says_which_side_it_is_on() -> None:
    env = env_of(Installation(namespace="system", watch_namespace="team", cluster="blue", actors=True))
    options = actor_options(env)
    assert (options.lease_namespace, options.accounts_namespace, options.watch_namespace) == (
        "system",
        "system",
        "team",
    )
    assert options.kubeconfig is None  # the pod's own account asks for the tokens
    assert options.host_settings().identity.startswith("blue_")
    assert actor_options({}).accounts_namespace == NAME
