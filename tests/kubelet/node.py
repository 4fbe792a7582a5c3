"""A node under test: the embedded API server in this process, the kubelet as a process of its own."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rayctl.embedded.apiserver.access.tokens import ADMIN
from rayctl.embedded.apiserver.certificates import Authority
from rayctl.embedded.apiserver.kubeconfig import write_kubeconfig
from rayctl.embedded.apiserver.serve import server_names
from rayctl.embedded.apiserver.server import Options, Server
from rayctl.embedded.kubelet.main import KubeletOptions, claim
from rayctl.embedded.kubelet.network.namespaces import why_not
from rayctl.embedded.kubelet.network.plan import SLOTS, service_network
from rayctl.kube.calls import MERGE, Call, Resource
from rayctl.kube.errors import ObjectNotFound
from rayctl.kube.http import HttpTransport, load_configuration
from rayctl.kube.kinds import PODS, SERVICES

FAST = {"back_off_first_s": 0.4, "back_off_most_s": 1.6, "retry_s": 0.3, "kill_wait_s": 5.0, "heartbeat_s": 1.0}
MODES = ["ports", "netns"] if not why_not() else ["ports"]


class Node:
    """The node; `kubelet` may be killed and started again."""

    def __init__(self, options: KubeletOptions, server: Server, transport: HttpTransport) -> None:
        self.options, self.server, self.transport = options, server, transport
        self.process: subprocess.Popen[bytes] | None = None
        self.proxy: subprocess.Popen[bytes] | None = None

    def start(self, **changes: Any) -> None:
        """Start the kubelet."""
        options = replace(self.options, **changes)
        command = [sys.executable, "-m", "rayctl.embedded.kubelet.main", options.text()]
        self.process = subprocess.Popen(command, start_new_session=True)

    def start_proxy(self) -> None:
        """Start the proxy."""
        command = [sys.executable, "-m", "rayctl.embedded.proxy.main", self.options.kubeconfig]
        self.proxy = subprocess.Popen(command, start_new_session=True)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the kubelet."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)
        self.process = None

    async def create(self, resource: Resource, document: Mapping[str, Any]) -> dict[str, Any]:
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **document}
        return dict(await self.transport.request(Call("POST", resource.path("default"), body=body)))

    async def pod(self, name: str, script: str = "sleep 1000", **changes: Any) -> dict[str, Any]:
        """Create a pod with one container that runs a script of sh."""
        container = {"name": "main", "image": "any", "command": ["sh", "-c", script], **changes.pop("container", {})}
        spec = {"containers": [container], "terminationGracePeriodSeconds": 5, **changes.pop("spec", {})}
        return await self.create(PODS, {"metadata": {"name": name, **changes}, "spec": spec})

    async def get(self, name: str, resource: Resource = PODS) -> dict[str, Any] | None:
        try:
            return dict(await self.transport.request(Call.get(resource.path("default", name))))
        except ObjectNotFound:
            return None

    async def until(self, name: str, what: Callable[[dict[str, Any]], Any], timeout_s: float = 30) -> dict[str, Any]:
        """Look until something holds for a pod; return the pod."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = await self.get(name)
            if found is not None and what(found):
                return found
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.05)

    async def delete(self, name: str, grace_s: int | None = None, gone_s: float = 30) -> None:
        """Delete a pod and wait until it has gone."""
        body = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        await self.transport.request(Call("DELETE", PODS.path("default", name), body=body))
        await self.until_gone(name, gone_s)

    async def until_gone(self, name: str, timeout_s: float = 30, resource: Resource = PODS) -> None:
        """Look until the API has no such object."""
        deadline = time.monotonic() + timeout_s
        while await self.get(name, resource) is not None:
            assert time.monotonic() < deadline, await self.get(name, resource)
            await asyncio.sleep(0.05)

    async def patch(self, resource: Resource, name: str, body: Mapping[str, Any]) -> None:
        await self.transport.request(Call("PATCH", resource.path("default", name), body=body, content_type=MERGE))

    async def log(self, name: str, **query: Any) -> str:
        return str(await self.transport.request(Call.get(PODS.path("default", name, "log")).asking(**query)) or "")

    async def until_log(self, name: str, text: str) -> None:
        """Look until the log is this."""
        deadline = time.monotonic() + 20
        while (found := await self.log(name)) != text:
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.05)

    async def service(self, name: str, port: int, target: int | str, **spec: Any) -> dict[str, Any]:
        ports = [{"port": port, "targetPort": target, "name": "p"}]
        return await self.create(SERVICES, {"metadata": {"name": name}, "spec": {"ports": ports, **spec}})

    @property
    def folder(self) -> Path:
        return Path(self.options.data_dir)


async def until_true(look: Callable[[], bool], timeout_s: float = 20) -> None:
    """Look until something holds that tells nobody."""
    deadline = time.monotonic() + timeout_s
    while not look():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def status_of(pod: Mapping[str, Any], name: str = "main") -> dict[str, Any]:
    """Return a container's status, or an empty one."""
    status = pod.get("status") or {}
    every = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return dict(next((found for found in every if found["name"] == name), {"state": {}, "ready": False}))


def condition(pod: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return a condition, or an empty one."""
    return dict(
        next((found for found in (pod.get("status") or {}).get("conditions") or () if found["type"] == kind), {})
    )


def is_ready(pod: Mapping[str, Any]) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def marked(uid: str) -> list[int]:
    """Return the processes of a pod."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if f"RAYCTL_POD_UID={uid}".encode() in Path("/proc", entry, "environ").read_bytes():
                    found.append(int(entry))
            except OSError:
                continue
    return found


@asynccontextmanager
async def node(folder: Path, mode: str, tls: bool = False, **options: Any) -> AsyncIterator[Node]:
    """A node for the time of a block; nothing of it is left afterwards. ``tls``: as clients in pods insist on."""
    slot, held = next((slot, held) for slot in range(SLOTS - 1, -1, -1) if (held := claim(slot)) is not None)
    token = secrets.token_hex()
    network = service_network(slot)
    authority = Authority(folder / "tls", server_names(network)) if tls else None
    certificate = "" if authority is None else authority.certificate
    context = None if authority is None else authority.context()
    server = Server(Options(None, "memory", tokens=[(token, ADMIN)], service_network=network, tls=context))
    await server.start()
    kubeconfig = folder / "kubeconfig"
    write_kubeconfig(kubeconfig, server.url, token, certificate)  # with plain HTTP it is not looked at
    transport = HttpTransport(await load_configuration(str(kubeconfig)))
    settings = {"timing": FAST, "capacity": {"cpu": "16"}, **options}
    found = Node(KubeletOptions(str(folder / "node"), str(kubeconfig), slot, mode, **settings), server, transport)
    (folder / "node").mkdir()
    found.start()
    try:
        yield found
    finally:
        if found.process is None:
            found.start()
            await asyncio.sleep(1.5)  # it finds the pods that the test left, so that it can end them
        await asyncio.to_thread(found.stop)
        if found.proxy is not None:
            found.proxy.terminate()
            await asyncio.to_thread(found.proxy.wait, 20)
        await transport.close()
        await server.stop()
        held.close()
        _check_nothing_left(folder)


def _check_nothing_left(folder: Path) -> None:
    assert not (folder / "node" / "short").exists(), list(Path((folder / "node" / "short").read_text()).iterdir())
    assert list((folder / "node").glob("pods/*")) == []
