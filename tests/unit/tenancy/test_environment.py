"""Environments: the same for the same wishes, cautious about what may be wished for; secrets where they belong."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ray.exceptions import RuntimeEnvSetupError

from rayctl.errors import Forbidden, InvalidRequest, NotFound
from rayctl.tenancy import cluster
from rayctl.tenancy.codec import parse
from rayctl.tenancy.environment import Facts, digest, merged, overlay_name, runtime_env
from rayctl.tenancy.isolation import _images
from rayctl.tenancy.model import EnvironmentSpec, TenantConfig
from rayctl.tenancy.policy import NEVER, Policy, check, normal_requirement, normal_requirements
from rayctl.tenancy.secrets import SECRETS_FOLDER_VARIABLE, resolve

PLAIN = Facts(python="3.11.7", ray="2.60.0", rayctl="0.1.0")
VENV = Facts(python="3.11.7", ray="2.60.0", rayctl="0.1.0", venv="/home/a/.venv", overlays="/overlays")


def spec(**fields: Any) -> EnvironmentSpec:
    return EnvironmentSpec.model_validate(fields)


def test_nothing_wished_for_is_plain_ray() -> None:
    assert spec().is_plain
    assert runtime_env(spec(), PLAIN) is None
    assert runtime_env(spec(setup_timeout_s=5), VENV) is None


def test_the_same_packages_in_any_order_and_spelling_are_the_same_environment() -> None:
    lines = ["Six==1.16.0", "toolz >= 1, <2", "Typing_Extensions[b,A]"]
    other = ["typing-extensions[a,b]", "six==1.16.0", "toolz<2,>=1"]
    found = {str(runtime_env(spec(packages=list(order)), PLAIN)) for order in itertools.permutations(lines)}
    assert found == {str(runtime_env(spec(packages=other), PLAIN))}
    assert digest(spec(packages=lines)) == digest(spec(packages=other))
    assert digest(spec(packages=lines)) != digest(spec(packages=other[:2]))
    assert digest(spec(packages=lines)) == digest(spec(packages=other, setup_timeout_s=7))


def test_packages_are_installed_by_ray_or_lie_on_top_of_a_virtual_environment() -> None:
    wanted = spec(packages=["six==1.16.0"], variables={"B": "2", "A": "1"}, setup_timeout_s=120)
    assert runtime_env(wanted, PLAIN) == {
        "env_vars": {"A": "1", "B": "2"},
        "uv": {"packages": ["six==1.16.0"]},
        "config": {"setup_timeout_seconds": 120},
    }
    assert runtime_env(spec(packages=["six"], installer="pip"), PLAIN) == {
        "pip": {"packages": ["six"]},
        "config": {"setup_timeout_seconds": 300},
    }
    on_top = runtime_env(wanted, VENV)
    assert on_top is not None
    assert on_top["py_executable"] == f"/overlays/{overlay_name(wanted, VENV)}/bin/python"
    assert "uv" not in on_top
    assert overlay_name(wanted, VENV) == overlay_name(spec(packages=["SIX==1.16.0"]), VENV), "variables do not matter"
    assert overlay_name(wanted, VENV) != overlay_name(wanted, Facts("3.12.1", "2.60.0", venv=VENV.venv))
    elsewhere = replace(VENV, venv="/home/b/.venv")
    assert overlay_name(wanted, VENV) != overlay_name(wanted, elsewhere), "the one under it may go before the other"


def test_an_image_stands_beside_variables_alone_because_ray_allows_nothing_else() -> None:
    wanted = spec(image="registry.example/app:1", variables={"B": "2", "A": 'it is "x" $HOME'}, setup_timeout_s=60)
    for facts in (PLAIN, VENV, Facts(python="3.11.7", ray="2.60.0")):
        assert runtime_env(wanted, facts) == {
            "image_uri": "registry.example/app:1",
            "env_vars": {"A": 'it is "x" $HOME', "B": "2"},
            "config": {"setup_timeout_seconds": 60},
        }
    assert digest(wanted) != digest(spec(image="registry.example/app:2", variables=wanted.variables))


@pytest.mark.parametrize(
    "image", ["app", "team/app:1.2", "host.example:5000/team/app:1@sha256:" + "a" * 64, "host/a@sha256:" + "0" * 64]
)
def test_names_of_images(image: str) -> None:
    assert parse({"tenant": "a", "environment": {"image": image}}).environment.isolation == "image"


@pytest.mark.parametrize(
    "image", ["--privileged", "app; rm -rf /", "app $(id)", "a b", "app'", "", "/app", "app@sha256:12"]
)
@pytest.mark.security("S12")
def test_what_a_shell_would_take_for_something_else_is_no_image(image: str) -> None:
    with pytest.raises(InvalidRequest):
        parse({"tenant": "a", "environment": {"isolation": "image", "image": image}})


@pytest.mark.parametrize("value", ["it's", "'; touch /tmp/x; '", "a\nb", "\x00", "tab\there"])
def test_variables_that_would_leave_the_quotes_of_a_containers_command_are_refused(value: str) -> None:
    with pytest.raises(InvalidRequest, match="the value of A may have no quote"):
        parse({"tenant": "a", "environment": {"image": "app", "variables": {"A": value}}})
    parse({"tenant": "a", "environment": {"variables": {"A": value}}})


def test_an_image_is_refused_where_a_node_cannot_start_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = parse({"tenant": "a", "environment": {"image": "app:1"}})
    monkeypatch.setattr(cluster, "container_runtimes", lambda: {"n1": "/usr/bin/podman", "n2": None})
    for facts in (PLAIN, Facts(python="3.11.7", ray="2.60.0", missing=("msgpack",))):
        with pytest.raises(InvalidRequest, match="1 of the cluster's nodes have no podman: n2") as caught:
            cluster.prepare(wanted, facts)
        assert caught.value.code == "no-container-runtime"
    monkeypatch.setattr(cluster, "container_runtimes", lambda: {"n1": "/usr/bin/podman"})
    assert cluster.prepare(wanted, PLAIN) == runtime_env(wanted.environment, PLAIN)


def test_an_environment_that_ray_cannot_build_is_the_tenants_mistake() -> None:
    class Refused:
        def submit(self, function: Any) -> None:
            return None

        def get(self, reference: Any) -> None:
            raise RuntimeEnvSetupError("no-such==1: not found")

    with pytest.raises(InvalidRequest, match="no-such==1: not found") as caught:
        cluster.start_process(Refused())  # type: ignore[arg-type]
    assert caught.value.code == "environment-error"


def test_whether_images_could_run_is_said_and_never_claimed() -> None:
    lacking = _images({"n1": None, "n2": "/usr/bin/podman"})
    assert lacking.passed is None
    assert "1 of 2 nodes have no podman" in lacking.detail
    assert _images({"n1": "/usr/bin/podman"}).passed is None


@pytest.mark.parametrize(
    "fields",
    [
        {"isolation": "process", "packages": ["six"]},
        {"isolation": "venv", "image": "x"},
        {"isolation": "image"},
        {"isolation": "image", "image": "x", "packages": ["six"]},
        {"variables": {"A B": "1"}},
        {"variables": {"1A": "1"}},
        {"variables": {"A": 1}},
        {"setup_timeout_s": 0},
    ],
)
def test_environments_that_cannot_be(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        parse({"tenant": "a", "environment": fields})


def test_what_a_call_wants_lies_on_top_of_the_tenants() -> None:
    own = {"env_vars": {"A": "1", "B": "1"}, "uv": {"packages": ["six"]}, "config": {"setup_timeout_seconds": 3}}
    assert merged(own, None) == own
    assert merged(None, {"env_vars": {"C": "1"}}) == {"env_vars": {"C": "1"}}
    assert merged(None, None) is None
    found = merged(own, {"env_vars": {"B": "2"}, "pip": ["toolz"]})
    assert found == {"env_vars": {"A": "1", "B": "2"}, "pip": ["toolz"], "config": {"setup_timeout_seconds": 3}}
    assert merged({"py_executable": "/x/python"}, {"uv": ["toolz"]}) == {"uv": ["toolz"]}
    assert merged({"py_executable": "/x/python"}, {"image_uri": "app:1"}) == {"image_uri": "app:1"}
    assert merged({"uv": ["six"]}, {"py_executable": "/y/python"}) == {"py_executable": "/y/python"}
    image = {"image_uri": "app:1", "env_vars": {"A": "1"}}
    assert merged(image, {"env_vars": {"A": "2"}}) == {"image_uri": "app:1", "env_vars": {"A": "2"}}
    for more in ({"pip": ["six"]}, {"working_dir": "gcs://x.zip"}, {"py_executable": "python"}):
        with pytest.raises(InvalidRequest) as caught:
            merged(image, more)
        assert caught.value.code == "environment-conflict"


# Policy ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "six --index-url http://evil",
        "--extra-index-url=http://evil six",
        "-r other.txt",
        "-e .",
        "six\n--index-url http://evil",
        "six -i http://evil",
        "six; --hash=sha256:0",
        "",
        "six==",
        "../six",
        "six==1.0 # comment",
    ],
)
@pytest.mark.security("S12")
def test_lines_that_are_no_plain_requirements(line: str) -> None:
    with pytest.raises(ValueError):
        normal_requirement(line)


def test_a_url_with_a_password_is_not_shown() -> None:
    with pytest.raises(ValueError) as caught:
        normal_requirement("six @ https://user:hunter2@host/six.whl --no-deps")
    assert "hunter2" not in str(caught.value)


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=40) | st.text("ab0_-.[],<>=!~;@ ", max_size=20))
@example("0_")
@example("a [b_] >= 1")
@example("a==1.0; python_version < '3'")
@example("a @ https://host/a.whl ; python_version < '3'")
def test_normal_forms_are_stable(line: str) -> None:
    try:
        once = normal_requirement(line)
    except ValueError:
        return
    assert normal_requirement(once) == once


def test_requirements_are_sorted_and_each_once() -> None:
    assert normal_requirements(["b", "A", "a"]) == ("a", "b")


def config(**environment: Any) -> TenantConfig:
    return parse({"tenant": "a", "environment": environment})


def refused(found: TenantConfig, policy: Policy) -> list[str]:
    with pytest.raises(Forbidden) as caught:
        check(found, policy)
    assert caught.value.code == "tenant-policy"
    return [item["pointer"] for item in caught.value.errors]


@pytest.mark.parametrize(
    "name",
    ["LD_PRELOAD", "ld_preload", "PYTHONPATH", "PATH", "RAY_ADDRESS", "RAYCTL_HOME", "PIP_INDEX_URL", "UV_X", "HOME"],
)
@pytest.mark.security("S12")
def test_variables_that_belong_to_the_system(name: str) -> None:
    generous = Policy(variables=("*",))
    assert refused(config(variables={name: "x"}), generous) == [f"/environment/variables/{name}"]


def test_variables_that_look_like_secrets() -> None:
    found = config(variables={"DB_PASSWORD": "x", "API_KEY": "x", "TOKENIZER": "fine", "MODE": "fine"})
    assert refused(found, Policy()) == ["/environment/variables/DB_PASSWORD", "/environment/variables/API_KEY"]


@pytest.mark.security("S12")
def test_the_operator_decides_about_packages_urls_and_images() -> None:
    check(config(packages=["six", "toolz"]), Policy(packages=("six", "tool*")))
    assert refused(config(packages=["six", "evil"]), Policy(packages=("six",))) == ["/environment/packages/1"]
    assert refused(config(packages=["ray==2.0", "Ray-x"]), Policy()) == [f"/environment/packages/{n}" for n in (0, 1)]
    url = config(packages=["six @ file:///six.whl"])
    assert refused(url, Policy()) == ["/environment/packages/0"]
    check(url, Policy(urls=True))
    assert refused(config(image="x/y:1"), Policy()) == ["/environment/image"]
    check(config(image="x/y:1"), Policy(images=("x/*",)))
    assert refused(config(variables={"A": "1"}), Policy(variables=("B",))) == ["/environment/variables/A"]
    assert len(NEVER) == len(set(NEVER))


# Secrets --------------------------------------------------------------------------------------------------


def with_secrets(**secrets: str) -> TenantConfig:
    return parse({"tenant": "pricing", "secrets": secrets})


def test_secrets_are_read_where_they_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain").write_text("from-file\n")
    (tmp_path / "pricing").mkdir()
    (tmp_path / "pricing" / "api-key").write_text("own")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "api-key").write_text("theirs")
    monkeypatch.setenv("PRICING_DB", "from-env")
    monkeypatch.setenv(SECRETS_FOLDER_VARIABLE, str(tmp_path))
    found = with_secrets(a="env:PRICING_DB", b=f"file:{tmp_path / 'plain'}", c="tenant:api-key")
    values = {name: resolve(found, name) for name in ("a", "b", "c")}
    assert {name: value.get_secret_value() for name, value in values.items()} == {
        "a": "from-env",
        "b": "from-file",
        "c": "own",
    }
    assert "from" not in repr(values)
    assert "own" not in f"{values}"


def test_secrets_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOPE", raising=False)
    monkeypatch.delenv(SECRETS_FOLDER_VARIABLE, raising=False)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    files = [f"file:{tmp_path / name}" for name in ("none", "pipe", "binary", "")]
    found = with_secrets(a="env:NOPE", b="tenant:x", **{f"f{number}": text for number, text in enumerate(files)})
    for name in found.secrets:
        with pytest.raises(NotFound) as caught:
            resolve(found, name)
        assert caught.value.code == "secret-missing"
    with pytest.raises(NotFound) as caught:
        resolve(found, "unknown")
    assert caught.value.code == "no-such-secret"


@pytest.mark.parametrize(
    "text", ["tenant:../other/api-key", "tenant:.hidden", "tenant:a/b", "file:relative", "env:A B", "vault:x", "x"]
)
def test_references_that_reach_further_than_they_may(text: str) -> None:
    with pytest.raises(InvalidRequest):
        with_secrets(a=text)
