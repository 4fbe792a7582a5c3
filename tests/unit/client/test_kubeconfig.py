"""Where commands go: kubeconfigs and their order, credentials and the programs that may be run for them."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from rayctl.client.kube.credentials import obtain
from rayctl.client.kube.kubeconfig import Destination, Identity, destination, merged, read_kubeconfig
from rayctl.client.kube.locate import Where, locate
from rayctl.errors import InvalidRequest, NotAuthenticated, RayctlError, ServerUnreachable


def config(name: str, user: dict[str, Any] | None = None, **cluster: Any) -> dict[str, Any]:
    return {
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.test", **cluster}}],
        "users": [{"name": name, "user": user or {"token": f"{name}-token"}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": f"{name}-ns"}}],
        "current-context": name,
    }


def write(path: Path, *documents: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(documents[0]))
    return path


class TestOrder:
    """The first of these that is there counts."""

    @pytest.fixture
    def environ(self, tmp_path: Path) -> dict[str, str]:
        write(tmp_path / "home" / "kubeconfig", config("embedded"))
        write(tmp_path / ".kube" / "config", config("usual"))
        write(tmp_path / "named", config("named"))
        pod = tmp_path / "pod"
        pod.mkdir()
        (pod / "token").write_text("pod-token\n")
        (pod / "namespace").write_text("pod-ns")
        (pod / "ca.crt").write_text("ca")
        return {
            "RAYCTL_HOME": str(tmp_path / "home"),
            "HOME": str(tmp_path),
            "KUBECONFIG": str(tmp_path / "named"),
            "KUBERNETES_SERVICE_HOST": "fd00::1",
        }

    def found(self, environ: dict[str, str], tmp_path: Path, **asked: str) -> Destination:
        return locate(Where(**asked), environ, tmp_path / "pod")

    def test_each_in_turn(self, environ: dict[str, str], tmp_path: Path) -> None:
        other = write(tmp_path / "other", config("other"))
        assert self.found(environ, tmp_path, kubeconfig=str(other)).server == "https://other.test"
        assert self.found(environ, tmp_path).server == "https://named.test"
        del environ["KUBECONFIG"]
        embedded = self.found(environ, tmp_path)
        assert (embedded.server, embedded.embedded) == ("https://embedded.test", True)
        (tmp_path / "home" / "kubeconfig").unlink()
        pod = self.found(environ, tmp_path)
        assert (pod.server, pod.namespace) == ("https://[fd00::1]:443", "pod-ns")
        assert dict(obtain(pod).headers) == {"Authorization": "Bearer pod-token"}
        del environ["KUBERNETES_SERVICE_HOST"]
        assert self.found(environ, tmp_path).server == "https://usual.test"
        (tmp_path / ".kube" / "config").unlink()
        with pytest.raises(ServerUnreachable, match="No Kubernetes API is known"):
            self.found(environ, tmp_path)

    def test_a_named_context_is_never_the_embedded_servers(self, environ: dict[str, str], tmp_path: Path) -> None:
        del environ["KUBECONFIG"]
        assert self.found(environ, tmp_path, context="usual").embedded is False
        with pytest.raises(InvalidRequest, match="no context 'embedded'"):
            self.found(environ, tmp_path, context="embedded")

    def test_the_namespace_of_the_command_line_wins(self, environ: dict[str, str], tmp_path: Path) -> None:
        assert self.found(environ, tmp_path).namespace == "named-ns"
        assert self.found(environ, tmp_path, namespace="mine").namespace == "mine"

    def test_several_files_are_one(self, environ: dict[str, str], tmp_path: Path) -> None:
        write(tmp_path / "second", config("second"))
        environ["KUBECONFIG"] = os.pathsep.join(
            [str(tmp_path / "missing"), str(tmp_path / "named"), str(tmp_path / "second")]
        )
        assert self.found(environ, tmp_path).server == "https://named.test"
        assert self.found(environ, tmp_path, context="second").server == "https://second.test"


def test_paths_are_relative_to_their_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("the authority")
    path = write(tmp_path / "c", config("a", **{"certificate-authority": "ca.pem"}))
    assert destination(merged([read_kubeconfig(path)]), None, "c").authority == b"the authority"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"current-context": ""}, "no current context"),
        ({"current-context": "x"}, "no context 'x'"),
        ({"clusters": []}, "names cluster 'a', which is not there"),
        ({"users": []}, "names user 'a', which is not there"),
        ({"clusters": [{"name": "a", "cluster": {}}]}, "names no server"),
        ({"clusters": "what"}, "is not a kubeconfig"),
        ({"users": [{"name": "a", "user": {"auth-provider": {"name": "gcp"}}}]}, "auth-provider"),
        ({"users": [{"name": "a", "user": {"exec": {"args": []}}}]}, "without a command"),
        (
            {"clusters": [{"name": "a", "cluster": {"server": "https://a", "certificate-authority-data": "%"}}]},
            "not base64",
        ),
        (
            {"clusters": [{"name": "a", "cluster": {"server": "https://a", "certificate-authority": "no"}}]},
            "cannot be read: No such file",
        ),
    ],
)
def test_damaged_files_are_told_of(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = write(tmp_path / "c", {**config("a"), **change})
    with pytest.raises(InvalidRequest, match=says):
        locate(Where(str(path)), {})


@pytest.mark.parametrize("text", ["[", "just words", "- a", "!!python/object/apply:os.system [true]"])
def test_what_is_no_kubeconfig(tmp_path: Path, text: str) -> None:
    (tmp_path / "c").write_text(text)
    with pytest.raises(InvalidRequest):
        locate(Where(str(tmp_path / "c")), {})


def test_impersonation_is_kept() -> None:
    user = {"token": "t", "as": "jane", "as-groups": ["a", "b"], "as-user-extra": {"scope": ["s"]}}
    found = destination(merged([config("a", user)]), None, "c")
    assert obtain(found).headers == (
        ("Impersonate-User", "jane"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-scope", "s"),
        ("Authorization", "Bearer t"),
    )


@pytest.mark.security("S7")
def test_secrets_are_not_in_what_is_printed() -> None:
    user = {"token": "canary-1", "password": "canary-2", "client-key-data": base64.b64encode(b"canary-3").decode()}
    found = destination(merged([config("a", user)]), None, "c")
    assert "canary" not in repr(found) + str(found) + repr(obtain(found))


def test_basic_credentials_and_plain_http() -> None:
    identity = Identity(username="u", password="p")  # noqa: S106
    assert obtain(Destination("http://127.0.0.1:1", identity=identity)).headers == (("Authorization", "Basic dTpw"),)
    with pytest.raises(InvalidRequest, match="unencrypted"):
        obtain(Destination("http://far.test", identity=identity))


class TestPlugins:
    """Programs named in a kubeconfig."""

    def target(self, command: str, **more: Any) -> Destination:
        user = {"exec": {"command": command, "apiVersion": "client.authentication.k8s.io/v1", **more}}
        return destination(merged([config("a", user)]), None, "the file")

    def program(self, folder: Path, name: str, text: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    @pytest.mark.parametrize("command", ["evil", "./aws", "/opt/aws", "bin/gke-gcloud-auth-plugin"])
    @pytest.mark.security("S20")
    def test_only_known_names_are_run(self, tmp_path: Path, command: str) -> None:
        with pytest.raises(InvalidRequest, match="wants to run the program") as caught:
            obtain(self.target(command))
        assert "--allow-exec" in str(caught.value.hint)

    def test_a_known_one_is_run(self, tmp_path: Path) -> None:
        answer = {"status": {"token": "fresh", "expirationTimestamp": "2030-01-01T00:00:00Z"}}
        text = f'test "$REGION" = there && echo "$KUBERNETES_EXEC_INFO" >&2 && echo \'{json.dumps(answer)}\''
        self.program(tmp_path, "aws", text)
        found = obtain(self.target("aws", env=[{"name": "REGION", "value": "there"}]), environ={"PATH": str(tmp_path)})
        assert found.headers == (("Authorization", "Bearer fresh"),)
        assert (found.is_over(1893455980.0), found.is_over(1893455995.0)) == (False, True)

    def test_another_one_if_it_is_allowed(self, tmp_path: Path) -> None:
        path = self.program(tmp_path, "mine", 'echo "{\\"status\\": {\\"token\\": \\"t\\"}}"')
        assert obtain(self.target(str(path)), allow_exec=True).headers == (("Authorization", "Bearer t"),)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("exit 3", "exit code 3"),
            ("echo zebra", "is no credential"),
            ("echo '{\"status\": {}}'", "without a credential"),
        ],
    )
    def test_failures(self, tmp_path: Path, text: str, says: str) -> None:
        path = self.program(tmp_path, "mine", text)
        with pytest.raises(NotAuthenticated, match=says) as caught:
            obtain(self.target(str(path)), allow_exec=True)
        assert "zebra" not in str(caught.value).replace(str(path), "")

    def test_not_installed(self, tmp_path: Path) -> None:
        with pytest.raises(NotAuthenticated) as caught:
            obtain(self.target("aws", installHint="get it there"), environ={"PATH": str(tmp_path)})
        assert caught.value.hint == "get it there"


def test_every_error_has_an_exit_code() -> None:
    from rayctl.kube import errors

    codes = {
        name: getattr(errors, name).exit_code
        for name in errors.__all__
        if isinstance(getattr(errors, name), type) and issubclass(getattr(errors, name), RayctlError)
    }
    assert codes == {
        "KubernetesError": 1,
        "AlreadyExists": 6,
        "Denied": 7,
        "Expired": 1,
        "LeaseLost": 1,
        "NoAnswer": 8,
        "ObjectNotFound": 3,
        "Overloaded": 8,
        "Rejected": 2,
        "ServerTrouble": 8,
        "WriteConflict": 6,
    }
