"""Removing a cluster's keys from a real Redis; skipped where there is none (Debian: redis-server)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from rayctl.cluster.gcs_ft import sweep
from rayctl.cluster.gcs_ft.cleanup import cleanup_pod
from rayctl.cluster.gcs_ft.options import fault_tolerance
from rayctl.cluster.options import ClusterOptions
from tests.unit.cluster.sample import env_of, spec_of

SERVER = shutil.which("redis-server") or "/usr/bin/redis-server"
pytestmark = pytest.mark.skipif(not Path(SERVER).exists(), reason="there is no redis-server")
PASSWORD = "a b'c\"$"  # noqa: S105 (of a server that lives for one test)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    folder = tmp_path_factory.mktemp("redis")
    config = folder / "redis.conf"
    quoted = PASSWORD.replace('"', '\\"')
    config.write_text(f'bind 127.0.0.1\nport {number}\nsave ""\ndir {folder}\nrequirepass "{quoted}"\n')
    process = subprocess.Popen([SERVER, str(config)], stdout=subprocess.DEVNULL)
    try:
        yield number
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def redis(port: int) -> Iterator[sweep.Redis]:
    connection = sweep.connect(f"127.0.0.1:{port}", "", PASSWORD, 50, 0.1)
    connection.call("FLUSHALL")
    yield connection
    connection.close()


def fill(redis: sweep.Redis, *namespaces: str) -> None:
    for namespace in namespaces:
        for number in range(600):
            redis.call("HSET", f"RAY{namespace}@TABLE{number}", "k", "v")


def names(redis: sweep.Redis) -> set[str]:
    found = set()
    for key in redis.call("KEYS", "*"):
        found.add(key.decode().partition("@")[0])
    return found


@pytest.mark.parametrize("namespace", ["uid-1", "a*b?[c]", "with space"])
def test_one_clusters_keys_go_and_all_others_stay(redis: sweep.Redis, namespace: str) -> None:
    others = [namespace + "0", "0" + namespace, "a-and-b-x-c", namespace[:-1]]
    fill(redis, namespace, *others)
    redis.call("SET", "mine", "1")
    assert sweep.sweep(redis, namespace) == (600, 0)
    assert names(redis) == {"mine", *(f"RAY{other}" for other in others)}
    assert sweep.sweep(redis, namespace) == (0, 0)


def test_the_pods_command_does_it_with_what_the_pod_is_told(redis: sweep.Redis, port: int) -> None:
    options = {"redisAddress": f"redis://127.0.0.1:{port}", "redisPassword": {"value": PASSWORD}}
    spec = spec_of(gcsFaultToleranceOptions=options)
    fill(redis, "uid-sample", "other")
    pod = cleanup_pod(spec, fault_tolerance(spec), ClusterOptions(), 300)
    command = [*pod["spec"]["containers"][0]["command"], *pod["spec"]["containers"][0]["args"]]
    assert PASSWORD not in " ".join(command)
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **env_of(pod)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "600 keys removed, none is left\n"), done.stderr
    assert names(redis) == {"RAYother"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"REDIS_PASSWORD": "wrong"}, "WRONGPASS"),
        ({"RAY_external_storage_namespace": ""}, "whose keys"),
        ({"RAY_REDIS_ADDRESS": "127.0.0.1:1", "RAY_redis_db_connect_retries": "1"}, "refused"),
    ],
)
def test_what_goes_wrong_is_told_and_is_no_success(
    port: int, change: dict[str, str], text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    env = {"RAY_REDIS_ADDRESS": f"127.0.0.1:{port}", "REDIS_PASSWORD": PASSWORD, "RAY_external_storage_namespace": "n"}
    for name, value in {**env, **change}.items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    assert sweep.main() == 1
    assert text in capsys.readouterr().out
    assert time.monotonic() - began < 10


def test_the_keys_of_a_real_gcs_are_found(redis: sweep.Redis, port: int, tmp_path: Path) -> None:
    """Ray's own server names its keys; a Ray that names them otherwise must not be swept in vain and called clean."""
    place = find_spec("ray")
    assert place is not None
    assert place.origin is not None
    binary = Path(place.origin).parent / "core/src/ray/gcs/gcs_server"
    command = [str(binary), "--redis_address=127.0.0.1", f"--redis_port={port}", f"--redis_password={PASSWORD}"]
    command += ["--node-ip-address=127.0.0.1", "--gcs_server_port=0", f"--log_dir={tmp_path}", "--session-name=s"]
    command += [f"--session-dir={tmp_path}", "--config_list=e30="]
    env = {**os.environ, "RAY_external_storage_namespace": "uid[1]*", "RAY_AUTH_MODE": "disabled"}
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ends = time.monotonic() + 60
        while not redis.call("DBSIZE") and time.monotonic() < ends:
            time.sleep(0.05)  # between two looks at another process; the condition decides
    finally:
        process.kill()
        process.wait(10)
    assert redis.call("DBSIZE") > 0
    assert sweep.sweep(redis, "uid[1]") == (0, 0)
    gone, left = sweep.sweep(redis, "uid[1]*")
    assert gone > 0
    assert left == redis.call("DBSIZE") == 0
