"""A server with kubelet and controllers as a user starts it, and Ray clusters on it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from rayctl.kube.calls import Call
from rayctl.kube.http import HttpTransport, load_configuration
from rayctl.kube.kinds import PODS
from tests.ray.helpers import wait_until

RAYCTL = str(Path(sys.executable).parent / "rayctl")


def cluster(name: str, workers: int = 1, most: int = 1, **spec: Any) -> dict[str, Any]:
    """A cluster whose head takes no tasks, with one group of workers."""
    head = {"rayStartParams": {"num-cpus": "0"}, "template": _template("ray-head")}
    replicas = {"replicas": workers, "minReplicas": workers, "maxReplicas": most}
    worker = {"groupName": "w", "rayStartParams": {}, "template": _template("ray-worker"), **replicas}
    groups = {"headGroupSpec": head, "workerGroupSpecs": [worker], **spec}
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": name}, "spec": groups}


def _template(name: str) -> dict[str, Any]:
    resources = {"limits": {"cpu": "1", "memory": "2Gi"}}
    container = {"name": name, "image": "rayproject/ray:2.60.0", "resources": resources}
    return {"spec": {"terminationGracePeriodSeconds": 5, "containers": [container]}}


def ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))


class Machine:
    """The server, and the command line that talks to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        env = {key: value for key, value in os.environ.items() if not key.startswith("RAY")}
        self.env = env | {
            "RAYCTL_HOME": str(folder / "home"),
            "KUBECONFIG": str(folder / "kubeconfig"),
            "NO_COLOR": "1",
        }
        words = ["kube", "serve", "--port", "0", "--kubelet", "--controllers", "--network", "netns"]
        words += ["--capacity", "cpu=8,memory=16Gi", "--data-dir", str(folder / "d")]
        words += ["--write-kubeconfig", str(folder / "kubeconfig")]
        self.server = subprocess.Popen([RAYCTL, *words], env=self.env, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout is not None
        assert any(line.startswith("Controllers run") for line in self.server.stdout)

    def end(self) -> None:
        self.server.send_signal(signal.SIGTERM)
        self.server.wait(60)

    def rayctl(self, *words: str) -> str:
        done = subprocess.run([RAYCTL, *words], env=self.env, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    def pods(self) -> dict[str, Any]:
        """Pods by name. Asked of the server itself: a command line per look would take a core from what is awaited."""

        async def ask() -> Any:
            transport = HttpTransport(await load_configuration(str(self.folder / "kubeconfig")))
            try:
                return await transport.request(Call.get(PODS.path("default")))
            finally:
                await transport.close()

        return {pod["metadata"]["name"]: pod for pod in asyncio.run(ask())["items"]}

    def apply(self, *documents: dict[str, Any]) -> None:
        manifest = self.folder / "all.json"
        manifest.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
        self.rayctl("apply", "-f", str(manifest), "--wait", "--timeout", "3m")

    def run(self, name: str, program: str) -> str:
        """Run a program, in a process of its own, with a cluster's address; return what it prints."""
        said = self.rayctl("cluster", "connect", name, "--write-token", str(self.folder / "token"))
        exports = [line.removeprefix("export ") for line in said.splitlines() if line.startswith("export ")]
        env = self.env | dict(line.split("=", 1) for line in exports)
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=150, cwd=self.folder)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def lose_the_head(self, name: str) -> None:
        """Delete a cluster's head's pod, and wait for the next one."""
        old = self.pods()[f"{name}-head"]["metadata"]["uid"]
        self.rayctl("delete", "pod", f"{name}-head")

        def healed() -> bool:
            head = self.pods().get(f"{name}-head")
            return head is not None and head["metadata"]["uid"] != old and ready(head)

        wait_until(healed, 150)
