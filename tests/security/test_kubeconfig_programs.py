"""Controllers, gateway and kubelet run a kubeconfig's programs only if they are the providers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rayctl.errors import InvalidRequest
from rayctl.kube.http import load_configuration
from rayctl.kube.plugins import ALLOW_EXEC

ANSWER = '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "fresh"}}'


def kubeconfig(path: Path, user: dict[str, Any], current: str = "a") -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://server.test"}}],
        "users": [{"name": "u", "user": user}, {"name": "plain", "user": {"token": "t"}}],
        "contexts": [
            {"name": "a", "context": {"cluster": "c", "user": "u"}},
            {"name": "b", "context": {"cluster": "c", "user": "plain"}},
        ],
        "current-context": current,
    }
    path.write_text(yaml.safe_dump(document))
    return path


def program(folder: Path, name: str) -> tuple[Path, Path]:
    """Return a program that gives a token, and the file by which one sees that it ran."""
    path, ran = folder / name, folder / "ran"
    path.write_text(f"#!/bin/sh\ntouch {ran}\necho '{ANSWER}'\n")
    path.chmod(0o700)
    return path, ran


def asking(command: Path | str) -> dict[str, Any]:
    return {"exec": {"command": str(command), "apiVersion": "client.authentication.k8s.io/v1"}}


@pytest.mark.security("S20")
async def test_an_unknown_program_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOW_EXEC, raising=False)
    command, ran = program(tmp_path, "aws")  # by a path: anybody's
    path = kubeconfig(tmp_path / "config", asking(command))
    for context in (None, "a"):
        with pytest.raises(InvalidRequest, match="wants to run the program") as caught:
            await load_configuration(str(path), context)
        assert caught.value.code == "exec-plugin-refused"
        assert ALLOW_EXEC in str(caught.value.hint)
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'none'}:{path}")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(InvalidRequest, match="wants to run the program"):
        await load_configuration()
    assert not ran.exists()
    assert (await load_configuration(str(path), "b")).host == "https://server.test", (
        "another context does not ask for it"
    )


@pytest.mark.security("S20")
async def test_the_user_may_allow_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW_EXEC, "1")
    command, ran = program(tmp_path, "mine")
    found = await load_configuration(str(kubeconfig(tmp_path / "config", asking(command))))
    assert ran.exists()
    assert (await found.auth_settings())["BearerToken"]["value"] == "Bearer fresh"


@pytest.mark.security("S20")
async def test_a_providers_own_is_found_on_the_path_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOW_EXEC, raising=False)
    _, ran = program(tmp_path, "gke-gcloud-auth-plugin")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    await load_configuration(str(kubeconfig(tmp_path / "config", asking("gke-gcloud-auth-plugin"))))
    assert ran.exists()


@pytest.mark.security("S20")
async def test_old_ways_that_run_programs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOW_EXEC, raising=False)
    command, ran = program(tmp_path, "mine")
    user = {"auth-provider": {"name": "gcp", "config": {"cmd-path": str(command), "access-token": "old"}}}
    with pytest.raises(InvalidRequest) as caught:
        await load_configuration(str(kubeconfig(tmp_path / "config", user)))
    assert caught.value.code == "auth-provider"
    assert not ran.exists()
