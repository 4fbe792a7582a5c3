"""`rayctl kube serve --kubelet` as its users run it: one command, its end, its sudden death."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kubelet.node import MODES, is_ready, marked, status_of, until_true

pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
]


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from rayctl.cli.main import main; main()", "kube", "serve", "--kubelet"]
    command += ["--data-dir", str(folder / "data"), "--port", "0", "--write-kubeconfig", str(folder / "kubeconfig")]
    process = subprocess.Popen([*command, "--network", "ports", *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Kubernetes API ready")
    return process


def kubectl(folder: Path, *words: str, given: str | None = None) -> str:
    env = {**os.environ, "KUBECONFIG": str(folder / "kubeconfig"), "HOME": str(folder)}
    done = subprocess.run(["kubectl", *words], env=env, input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pod(folder: Path) -> dict[str, Any]:
    return dict(json.loads(kubectl(folder, "get", "pod", "p", "-o", "json")))


POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p"},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": "i", "command": ["sh", "-c", "echo hello; sleep 1000"]}],
    },
}


async def test_serve_end_and_sudden_death(tmp_path: Path) -> None:
    serving = start(tmp_path, "--keep-pods")
    kubectl(tmp_path, "apply", "-f", "-", given=json.dumps(POD))
    await until_true(lambda: is_ready(pod(tmp_path)), 60)
    uid = pod(tmp_path)["metadata"]["uid"]
    await until_true(lambda: kubectl(tmp_path, "logs", "p") == "hello\n")
    before = marked(uid)
    assert "ports" in kubectl(tmp_path, "get", "node", "rayctl", "-o", "jsonpath={.metadata.labels}")

    # The whole command dies at once: kubelet and proxy with it, pods not.
    serving.kill()
    serving.wait()
    assert before
    assert marked(uid) == before
    serving = start(tmp_path, "--keep-pods")
    await until_true(lambda: _beaten(tmp_path), 60)
    assert status_of(pod(tmp_path))["restartCount"] == 0
    assert marked(uid) == before

    # With --keep-pods they outlive its end; without, they do not.
    serving.send_signal(signal.SIGTERM)
    assert serving.wait(60) == 0
    assert marked(uid) == before
    serving = start(tmp_path)
    await until_true(lambda: _beaten(tmp_path), 60)
    assert is_ready(pod(tmp_path))
    serving.send_signal(signal.SIGINT)
    assert serving.wait(60) == 0
    assert marked(uid) == []
    assert not (tmp_path / "data" / "node" / "short").exists()


def _beaten(folder: Path) -> bool:
    """Tell whether the kubelet of this server is at work: it has opened its socket."""
    short = folder / "data" / "node" / "short"
    socket = Path(short.read_text()) / "kubelet.sock" if short.exists() else None
    if socket is None or not socket.exists():
        return False
    asked = ["curl", "-sf", "--unix-socket", str(socket), "http://kubelet/healthz"]
    return subprocess.run(asked, capture_output=True).stdout == b"ok"


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from rayctl.cli.main import main; main()", "kube", "serve", "--kubelet"]
    command += ["--data-dir", str(tmp_path), "--port", "0"]
    for option, value, words in (
        ("--capacity", "cpu=x", "capacity"),
        ("--image", "a=/no/such/folder", "not a Python environment"),
    ):
        done = subprocess.run([*command, option, value], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert words in done.stderr


@pytest.mark.skipif("netns" not in MODES, reason="needs root and iproute2")
@pytest.mark.parametrize("beside", [(), ("--controllers",)], ids=["alone", "controllers"])
async def test_the_end_leaves_no_namespace(tmp_path: Path, beside: tuple[str, ...]) -> None:
    """Also where something else beside the server ends sooner than stubborn pods do."""
    serving = start(tmp_path, "--network", "netns", *beside)
    stubborn = "trap '' TERM; while :; do sleep 0.1; done"
    container = {**POD["spec"]["containers"][0], "command": ["sh", "-c", stubborn]}  # type: ignore[index]
    names = ["p", "q", "r"]
    for name in names:
        document = {**POD, "metadata": {"name": name}, "spec": {"containers": [container]}}
        kubectl(tmp_path, "apply", "-f", "-", given=json.dumps(document))
    await until_true(lambda: is_ready(pod(tmp_path)), 60)
    uids = json.loads(kubectl(tmp_path, "get", "pods", "-o", "json"))["items"]
    serving.send_signal(signal.SIGTERM)
    assert serving.wait(60) == 0
    left = " ".join(os.listdir("/run/netns"))
    for item in uids:
        assert item["metadata"]["uid"] not in left
        assert marked(item["metadata"]["uid"]) == []
    assert not (tmp_path / "data" / "node" / "short").exists()


def test_two_nodes_have_different_addresses(tmp_path: Path) -> None:
    first, second = start(tmp_path / "a"), start(tmp_path / "b")
    try:
        slots = [(tmp_path / name / "data" / "node" / "slot").read_text() for name in "ab"]
        assert slots[0] != slots[1]
    finally:
        for process in (first, second):
            process.terminate()
            assert process.wait(60) == 0
