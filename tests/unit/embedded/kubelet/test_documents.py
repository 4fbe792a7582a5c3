"""What pods say: environment, probes, volumes, what is refused; and what of it is rewritten."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from rayctl.embedded.kubelet.containers import shim_command
from rayctl.embedded.kubelet.environment import Facts, Missing, expand, resolve_command, resolve_environment
from rayctl.embedded.kubelet.probing import ProbeState, next_at, seen
from rayctl.embedded.kubelet.rewriting import (
    local_ports,
    paths,
    ray_ports,
    serve_port,
    service_names,
    services_named,
)
from rayctl.embedded.kubelet.scheduling import lacking, parse_capacity, requests_of, used_by
from rayctl.embedded.kubelet.shim.raystart import rewrite
from rayctl.embedded.kubelet.spec import ProbeSpec, parse_pod, refusal, safe_name
from rayctl.embedded.kubelet.volumes import files_of, write_files
from tests.unit.embedded.kubelet.pods import container, parsed, pod

FACTS = Facts(pod(container("a")), "127.1.2.3", node_name="n", allocatable={"cpu": "4", "memory": "1Gi"})
MAPS = {"m": {"k": "v", "bad key": "x", "ray.io": "y"}}
SECRETS = {"s": {"t": "secret"}}


def environment(**document: Any) -> dict[str, str]:
    return resolve_environment(container("a", **document), FACTS, MAPS.get, SECRETS.get)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("$(A)", "1"), ("x$(A)y$(B)", "x1y$(B)"), ("$$(A)", "$(A)"), ("$A", "$A"), ("$(A", "$(A"), ("$$$$", "$$")],
)
def test_expand(text: str, wanted: str) -> None:
    assert expand(text, {"A": "1"}) == wanted


def ref(path: str) -> dict[str, Any]:
    return {"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}


@pytest.mark.parametrize(
    ("variable", "wanted"),
    [
        (ref("status.podIP"), "127.1.2.3"),
        (ref("metadata.name"), "p"),
        (ref("metadata.uid"), "u-1"),
        (ref("metadata.labels['app']"), "a"),
        (ref("metadata.labels"), 'app="a"'),
        (ref("spec.nodeName"), "n"),
        ({"name": "X", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}, "v"),
        ({"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "t"}}}, "secret"),
        ({"name": "X", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}, "4"),
        ({"name": "X", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}}, "1024"),
        ({"name": "X", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}}, "0"),
    ],
)
def test_references(variable: dict[str, Any], wanted: str) -> None:
    assert environment(env=[variable]) == {"X": wanted}


@pytest.mark.parametrize(
    "variable",
    [
        {"name": "X", "valueFrom": {"secretKeyRef": {"name": "none", "key": "t"}}},
        {"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "none"}}},
        ref("status.nothing"),
    ],
)
def test_references_to_nothing(variable: dict[str, Any]) -> None:
    with pytest.raises(Missing):
        environment(env=[variable])


def test_optional_references_to_nothing_are_left_out() -> None:
    source = {"secretKeyRef": {"name": "none", "key": "t", "optional": True}}
    assert environment(env=[{"name": "X", "valueFrom": source}]) == {}


def test_whole_maps_then_single_variables_and_later_ones_win() -> None:
    found = environment(
        envFrom=[{"configMapRef": {"name": "m"}}, {"prefix": "S_", "secretRef": {"name": "s"}}],
        env=[{"name": "k", "value": "own"}, {"name": "B", "value": "$(k) $(S_t)"}],
    )
    assert found == {"k": "own", "ray.io": "y", "S_t": "secret", "B": "own secret"}
    assert resolve_command(container("a", command=["x", "$(B)"], args=["$(no)"]), found) == ("x", "own secret", "$(no)")


PROBE = ProbeSpec("tcp", {}, delay_s=5, period_s=10, successes=2, failures=3)


def test_verdicts_need_as_many_results_as_the_probe_says() -> None:
    state = ProbeState()
    assert next_at(state, PROBE, 100.0) == 105.0
    verdicts = []
    for index, ok in enumerate([True, True, False, False, True, False, False, False, True, True]):
        state = seen(state, PROBE, ok, "", 105.0 + index)
        verdicts.append(state.verdict)
    assert verdicts == [None, True, True, True, True, True, True, False, False, True]
    assert next_at(state, PROBE, 100.0) == 124.0


@pytest.mark.parametrize("name", ["..", "a/b", "a\n", "$(x)", "", "A", "a..b", "a" * 254, "-a", "a\0"])
@pytest.mark.security("S13")
def test_names_that_cannot_be_paths(name: str) -> None:
    assert not safe_name(name)
    document = pod(container("a"))
    document["metadata"]["name"] = name
    with pytest.raises(ValueError, match="name of a file"):
        parse_pod(document)


@given(some.text(max_size=300))
@pytest.mark.security("S13")
def test_no_name_leads_out(name: str) -> None:
    if safe_name(name):
        assert Path("/base", name).resolve().parent == Path("/base")
        assert len(name) <= 253


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "hostPath"),
        ({"volumes": [{"name": "v", "nfs": {}}]}, "nfs"),
        ({"hostNetwork": True}, "hostNetwork"),
        ({"hostPID": True}, "hostPID"),
    ],
)
@pytest.mark.security("S19")
def test_refused(spec: dict[str, Any], word: str) -> None:
    assert word in str(refusal(parsed(container("a"), **spec)))
    assert refusal(parsed(container("a"))) is None


@pytest.mark.security("S19")
def test_privileged_is_refused() -> None:
    assert "privileged" in str(refusal(parsed(container("a", securityContext={"privileged": True}))))


VOLUME = {"name": "v", "secret": {"secretName": "s", "defaultMode": 0o777}}


@pytest.mark.security("S2")
def test_secret_files_are_the_owners_alone_and_change_at_once(tmp_path: Path) -> None:
    place = tmp_path / "v"
    assert write_files(place, files_of(VOLUME, FACTS, lambda _: None, lambda _: {"t": b"1", "u": b"2"}))
    assert (place / "t").read_text() == "1"
    assert (place / "t").stat().st_mode & 0o777 == 0o700
    assert place.stat().st_mode & 0o777 == 0o700
    first = (place / "..data").readlink()
    assert not write_files(place, files_of(VOLUME, FACTS, lambda _: None, lambda _: {"t": b"1", "u": b"2"}))
    assert write_files(place, files_of(VOLUME, FACTS, lambda _: None, lambda _: {"t": b"3"}))
    assert (place / "..data").readlink() != first
    assert [path.name for path in place.iterdir() if not path.name.startswith(".")] == ["t"]
    assert (place / "t").read_text() == "3"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "..data", ""])
@pytest.mark.security("S13")
def test_paths_out_of_a_volume(path: str) -> None:
    volume = {"configMap": {"name": "m", "items": [{"key": "k", "path": path}]}}
    with pytest.raises(Missing, match="leads out"):
        files_of(volume, FACTS, lambda _: {"k": b""}, lambda _: None)


def asks(cpu: str, **more: str) -> dict[str, Any]:
    return container(
        "a", resources={"requests": {"cpu": cpu, **{name.replace("_", "."): v for name, v in more.items()}}}
    )


def test_requests_are_sums_or_the_peak_of_init_containers() -> None:
    found = requests_of(pod(asks("1"), asks("500m"), first=(asks("3"),)))
    assert str(found["cpu"]) == "3"
    sidecar = {**asks("1"), "restartPolicy": "Always"}
    assert str(requests_of(pod(asks("1"), first=(sidecar, asks("3"))))["cpu"]) == "4"


def test_the_schedulers_sentences() -> None:
    room = {"cpu": "2", "memory": "1Gi", "pods": "2"}
    used = used_by([pod(asks("1"))])
    assert lacking(pod(asks("1")), room, used, {}) == ""
    assert lacking(pod(asks("1500m")), room, used, {}) == "0/1 nodes are available: 1 Insufficient cpu."
    found = lacking(pod(asks("2", memory="2Gi")), room, used, {})
    assert found == "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."
    assert "Too many pods" in lacking(pod(asks("0")), {**room, "pods": "1"}, used, {})
    assert "selector" in lacking(pod(asks("0"), nodeSelector={"a": "b"}), room, used, {})
    assert parse_capacity("cpu=2500m,memory=16Gi") == {"cpu": "2500m", "memory": "16Gi"}
    for text in ("cpu", "cpu=x", "=1", "cpu=-1"):
        with pytest.raises(ValueError):
            parse_capacity(text)


SERVICES = {("default", "c-head-svc"): "127.9.9.9"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("c-head-svc.default.svc.cluster.local:6379", "127.9.9.9:6379"),
        ("ray start --address=c-head-svc.default.svc:6379 --block", "ray start --address=127.9.9.9:6379 --block"),
        ("other.default.svc.cluster.local", "other.default.svc.cluster.local"),
        ("c-head-svc.default.svc.example.com", "c-head-svc.default.svc.example.com"),
        ("x.c-head-svc.default.svc", "x.c-head-svc.default.svc"),
    ],
)
def test_names_of_services(text: str, wanted: str) -> None:
    assert service_names(text, lambda namespace, name: SERVICES.get((namespace, name))) == wanted


def test_which_services_and_ports_are_named() -> None:
    assert services_named(["a.b.svc:1 c.d.svc.cluster.local", "x"]) == {("b", "a"), ("d", "c")}
    assert ray_ports(["sleep 1"]) == ()
    assert ray_ports(["ulimit; ray start --head --port=6400"]) == (6379, 6400, 8080, 10001, 52365)
    assert local_ports("127.0.0.1:6379 localhost:52365 localhost:80 1127.0.0.1:6379", {6379: 1, 52365: 2}) == (
        "127.0.0.1:1 127.0.0.1:2 localhost:80 1127.0.0.1:6379"
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("/etc/x", "/real/x"),
        ("/etc/x/y.txt", "/real/x/y.txt"),
        ("cat '/etc/x' /etc/xy /my/etc/x", "cat '/real/x' /etc/xy /my/etc/x"),
        ("--file=/etc/x/a:/etc/x/b", "--file=/real/x/a:/real/x/b"),
        ("/etc/x.bak", "/etc/x.bak"),
    ],
)
def test_mount_paths(text: str, wanted: str) -> None:
    assert paths(text, {"/etc/x": "/real/x"}) == wanted


PORTS = {
    "mode": "ports",
    "ip": "127.1.1.1",
    "temp_dir": "/tmp/r",  # noqa: S108
    "object_store_memory": 9,
    "ports": {"6379": 1, "10001": 2, "52365": 3, "8080": 4},
}


def test_a_head_on_a_shared_network() -> None:
    found = rewrite(["start", "--head", "--block", "--dashboard-host=0.0.0.0", "--metrics-export-port", "8080"], PORTS)
    assert sorted(found[1:]) == sorted(
        [
            "--head",
            "--block",
            "--dashboard-host=127.1.1.1",
            "--metrics-export-port=4",
            "--node-ip-address=127.0.0.1",
            "--object-store-memory=9",
            "--port=1",
            "--ray-client-server-port=2",
            "--dashboard-agent-listen-port=3",
            "--min-worker-port=0",
            "--max-worker-port=0",
            "--temp-dir=/tmp/r",
            "--disable-usage-stats",
        ]
    )


def test_a_worker_binds_no_head_ports_and_keeps_what_it_says() -> None:
    found = rewrite(["start", "--address=1.2.3.4:6379", "--temp-dir=/x", "--num-cpus", "1"], PORTS)
    assert not any(word.startswith(("--port", "--ray-client", "--dashboard-host")) for word in found)
    assert {"--address=1.2.3.4:6379", "--temp-dir=/x", "--num-cpus=1"} <= set(found)


def test_a_node_in_a_namespace_keeps_its_ports() -> None:
    found = rewrite(["start", "--head"], {"mode": "netns", "ip": "10.1.1.1", "object_store_memory": None})
    assert found == ["start", "--head", "--node-ip-address=10.1.1.1", "--disable-usage-stats"]


@pytest.mark.parametrize("words", [["status"], ["health-check", "--address", "x:1"], [], ["start", "--help"]])
def test_other_commands_stay(words: list[str]) -> None:
    assert rewrite(words, PORTS) == words


@pytest.mark.parametrize(
    ("words", "own", "found"),
    [
        (["start", "--head"], {}, "0"),
        (["start", "--head"], {"GRPC_ENABLE_FORK_SUPPORT": "1"}, "1"),
        (["start"], {}, ""),
    ],
    ids=["head", "pod's own", "worker"],
)
def test_a_heads_client_servers_are_not_aborted_by_grpc(
    tmp_path: Path, words: list[str], own: dict[str, str], found: str
) -> None:
    ray = tmp_path / "ray"
    ray.write_text('#!/bin/sh\nprintf %s "$GRPC_ENABLE_FORK_SUPPORT"\n')
    ray.chmod(0o755)
    facts = {"mode": "netns", "ip": "10.1.1.1", "object_store_memory": None}
    env = {"RAYCTL_RAY": str(ray), "RAYCTL_RAY_START": json.dumps(facts), "PATH": os.environ["PATH"], **own}
    done = subprocess.run([*shim_command("raystart"), *words], env=env, capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == (found, "")


@pytest.mark.parametrize(
    ("words", "facts", "program"),
    [
        (["start", "--address=x:1"], PORTS, "python -c"),
        (["start", "--address=x:1"], {"mode": "netns", "ip": "10.1.1.1", "object_store_memory": None}, "ray start"),
        (["start", "--head"], PORTS, "ray start"),
        (["health-check"], PORTS, "ray health-check"),
    ],
    ids=["worker", "worker in a namespace", "head", "other commands"],
)
def test_workers_that_share_the_machines_network_are_started_on_loopback(
    tmp_path: Path, words: list[str], facts: dict[str, Any], program: str
) -> None:
    for name in ("ray", "python"):
        (tmp_path / name).write_text('#!/bin/sh\necho $(basename $0) $1 "[$RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER]"\n')
        (tmp_path / name).chmod(0o755)
    env = {"RAYCTL_RAY": str(tmp_path / "ray"), "RAYCTL_RAY_START": json.dumps(facts), "PATH": os.environ["PATH"]}
    env |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if facts["mode"] == "ports" else {}
    done = subprocess.run([*shim_command("raystart"), *words], env=env, capture_output=True, text=True, timeout=20)
    shown = "[0]" if facts["mode"] == "ports" and "--address=x:1" not in words else "[]"
    assert (done.stdout, done.stderr) == (f"{program} {shown}\n", "")


def test_the_serve_port_is_moved_for_pods_of_a_ray_service_alone() -> None:
    ports = [{"name": "gcs-server", "containerPort": 6379}, {"name": "serve", "containerPort": 8100}]
    containers = [{"ports": ports}, {}]
    assert serve_port({"metadata": {"labels": {"ray.io/serve": "false"}}, "spec": {"containers": containers}}) == 8100
    assert serve_port({"metadata": {"labels": {"ray.io/serve": "true"}}, "spec": {"containers": [{}]}}) == 8000
    assert serve_port({"metadata": {"labels": {"ray.io/cluster": "a"}}, "spec": {"containers": containers}}) is None
    assert serve_port({"metadata": {}, "spec": {"containers": containers}}) is None
