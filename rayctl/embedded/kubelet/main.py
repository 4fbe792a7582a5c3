"""The kubelet as a process of its own: ``python -m rayctl.embedded.kubelet.main OPTIONS`` (JSON, no secrets in it)."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import shlex
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rayctl.embedded.kubelet.account import ApiPlace
from rayctl.embedded.kubelet.containers import shim_command
from rayctl.embedded.kubelet.host import Host
from rayctl.embedded.kubelet.images import Images
from rayctl.embedded.kubelet.kubelet import Kubelet
from rayctl.embedded.kubelet.network.namespaces import NamespaceNetwork, why_not
from rayctl.embedded.kubelet.network.plan import pod_network
from rayctl.embedded.kubelet.network.port import Network
from rayctl.embedded.kubelet.network.shared import SharedNetwork
from rayctl.embedded.kubelet.node import machine_capacity
from rayctl.embedded.kubelet.scheduling import default_capacity
from rayctl.embedded.kubelet.shim import kernel
from rayctl.embedded.kubelet.timing import Timing
from rayctl.errors import Conflict, InvalidRequest, RayctlError, Unavailable
from rayctl.kube.events import EventRecorder
from rayctl.kube.http import HttpTransport, load_configuration
from rayctl.kube.informer import Informers

__all__ = ["KubeletOptions", "build", "choose_mode", "claim", "run"]


@dataclass(frozen=True)
class KubeletOptions:
    """``data_dir``: folder of pods' state; ``slot``: number of the node on this machine; ``hidden``: folders that pods
    may not see; ``shared``: files and folders that they may have as hostPath volumes; ``images``: name → folder of a
    Python environment; ``timing``: fields of `Timing` that differ."""

    data_dir: str
    kubeconfig: str
    slot: int
    network: str = "auto"
    node_name: str = "rayctl"
    capacity: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    keep_pods: bool = False
    timing: Mapping[str, float] = field(default_factory=dict)

    def text(self) -> str:
        """Return the form that the process takes."""
        return json.dumps(asdict(self))


def choose_mode(asked: str) -> tuple[str, str]:
    """Return the network mode, and the sentence that says why.

    Raises:
        InvalidRequest: What was asked for cannot be had.
    """
    hindrance = why_not()
    if asked == "netns" and hindrance:
        raise InvalidRequest(
            f"Network namespaces cannot be used: {hindrance}.",
            code="no-network-namespaces",
            hint="Use --network ports, or let it be chosen.",
        )
    if asked == "ports":
        return "ports", "Pods share the machine's network (--network ports): own addresses, ports moved apart."
    if hindrance:
        return "ports", f"Pods share the machine's network, with ports moved apart ({hindrance})."
    return "netns", "Each pod has a network namespace: default ports, not reachable from outside of this machine."


def claim(slot: int) -> socket.socket | None:
    """Take a node's number on this machine; kept as long as the socket is open. None: somebody has it."""
    found = socket.socket(socket.AF_UNIX)
    try:
        found.bind(f"\0rayctl-node-{slot}")
    except OSError:
        found.close()
        return None
    return found


def _short_folder(data: Path) -> Path:
    """Return a folder for sockets, whose paths have to be short; nobody else can guess or enter it."""
    known = data / "short"
    if known.exists():
        found = Path(known.read_text())
        if found.is_dir() and found.stat().st_uid == os.geteuid():
            return found
    found = Path(tempfile.mkdtemp(prefix="rk-", dir="/tmp"))
    known.write_text(str(found))
    return found


def _forget_short_folder(data: Path) -> None:
    known = data / "short"
    if known.exists():
        with contextlib.suppress(OSError):  # pods are in it still
            os.rmdir(known.read_text())
            known.unlink()


def _lock(data: Path) -> int:
    """Make sure that nobody else looks after the pods of this folder, for example a kubelet whose parent has just died.

    Raises:
        Conflict: Somebody does.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(found)
        raise Conflict(f"Another kubelet looks after {data}.", code="node-in-use") from None
    return found


def _programs(data: Path) -> Path:
    folder = data / "bin"
    folder.mkdir(mode=0o755, exist_ok=True)
    ray = folder / "ray"
    ray.write_text(f'#!/bin/sh\nexec {shlex.join(shim_command("raystart"))} "$@"\n')
    ray.chmod(0o755)
    return folder


def _server(configuration: Any) -> ApiPlace | None:
    """Return where the API server of a configuration is, for pods."""
    found = urlsplit(str(configuration.host))
    if not found.hostname:
        return None
    port = found.port or {"https": 443, "http": 80}[found.scheme]
    authority = Path(configuration.ssl_ca_cert).read_text() if configuration.ssl_ca_cert else ""
    return ApiPlace(found.hostname, port, found.scheme, authority)


def build(options: KubeletOptions, transport: Any, server: ApiPlace | None = None) -> Kubelet:
    """Return the kubelet. To be called where the event loop runs. ``server``: where the API server is, for pods.

    Raises:
        RayctlError: The network mode cannot be had.
        OSError: Folders cannot be used.
    """
    mode, _ = choose_mode(options.network)
    data = Path(options.data_dir).absolute()
    pods = data / "pods"
    pods.mkdir(mode=0o700, parents=True, exist_ok=True)
    network: Network = SharedNetwork(options.slot, pods) if mode == "ports" else NamespaceNetwork(options.slot, pods)
    host = Host(
        node_name=options.node_name,
        capacity={**default_capacity(*machine_capacity()), **options.capacity},
        transport=transport,
        informers=Informers(transport),
        events=EventRecorder(transport, "kubelet", options.node_name, time.time),
        network=network,
        images=Images({name: Path(folder) for name, folder in options.images.items()}),
        timing=Timing(**options.timing),  # type: ignore[arg-type]
        pods=pods,
        short=_short_folder(data),
        programs=_programs(data),
        hidden=(data, *(Path(folder) for folder in options.hidden)),
        claims=data / "claims",
        server=server,
        shared=frozenset(Path(place) for place in options.shared),
    )
    return Kubelet(host, pod_network(options.slot, "ports").replace(".0.0/16", ".128.0/17") if mode == "ports" else "")


async def run(options: KubeletOptions) -> None:
    """Work until SIGTERM or SIGINT. Pods end then, unless they are to be kept."""
    configuration = await load_configuration(options.kubeconfig)
    transport = HttpTransport(configuration)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    lock = _lock(Path(options.data_dir))
    kubelet = build(options, transport, _server(configuration))
    working = asyncio.create_task(kubelet.run())
    waiting = asyncio.create_task(ended.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done() and not options.keep_pods:
            await kubelet.end_pods()
    finally:
        waiting.cancel()
        working.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        try:
            await working
        except asyncio.CancelledError:
            pass
        finally:
            await transport.close()
            _forget_short_folder(Path(options.data_dir))
            os.close(lock)


def main() -> None:
    """Run with the options of the command line."""
    if "--die-with-parent" in sys.argv:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    logging.basicConfig(level=logging.WARNING, format="kubelet: %(message)s")
    document = json.loads(sys.argv[1])
    for name in ("hidden", "shared"):
        document[name] = tuple(document.get(name) or ())
    try:
        asyncio.run(run(KubeletOptions(**document)))
    except (RayctlError, OSError) as error:
        known = error if isinstance(error, RayctlError) else Unavailable(str(error))
        sys.exit(f"kubelet: {known}")


if __name__ == "__main__":
    main()
