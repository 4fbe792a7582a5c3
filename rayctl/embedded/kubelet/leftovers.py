"""Ending the pods of a node whose kubelet has died and is not to come back: processes, namespaces, mounts, folders."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from pathlib import Path

from rayctl.embedded.kubelet.launching import pod_folder
from rayctl.embedded.kubelet.network.namespaces import NamespaceNetwork
from rayctl.embedded.kubelet.network.port import Network
from rayctl.embedded.kubelet.network.shared import SharedNetwork
from rayctl.embedded.kubelet.processes import holding, send, strays
from rayctl.embedded.kubelet.shim import kernel
from rayctl.errors import Unavailable

__all__ = ["end_pods_of"]

WITHIN_S = 10.0


def end_pods_of(data: Path) -> list[str]:
    """End every pod of a kubelet's data folder without telling any API; return their uids.

    To be called when no kubelet works on the folder. The next kubelet starts anew what the API still wants.

    Raises:
        Unavailable: Something cannot be ended (code ``processes-left``).
        OSError: A folder or namespace cannot be removed.
    """
    pods = data / "pods"
    found = sorted(place.name for place in pods.iterdir() if place.is_dir()) if pods.is_dir() else []
    slot_file, short_file = data / "slot", data / "short"
    slot = int(slot_file.read_text()) if slot_file.exists() else 0
    short = Path(short_file.read_text()) if short_file.exists() else None
    network: Network = NamespaceNetwork(slot, pods)
    if not any(os.path.exists(network.namespace(uid) or "") for uid in found):
        network = SharedNetwork(slot, pods)
    for uid in found:
        below = [str(pods / uid)] + ([str(pod_folder(short, uid))] if short else [])
        _kill(uid, below, network.namespace(uid))
        volumes = pods / uid / "volumes"
        for place in volumes.iterdir() if volumes.is_dir() else ():
            if os.path.ismount(place):
                kernel.unmount(str(place))
        asyncio.run(network.detach(uid))
        for folder in below:
            shutil.rmtree(folder, ignore_errors=True)
    asyncio.run(network.close())
    if short is not None and short.is_dir():
        shutil.rmtree(short, ignore_errors=True)
    short_file.unlink(missing_ok=True)
    return found


def _kill(uid: str, folders: list[str], namespace: str | None) -> None:
    deadline = time.monotonic() + WITHIN_S
    with holding(namespace) as net:
        while left := strays(f"RAYCTL_POD_UID={uid}", folders, net):
            if time.monotonic() >= deadline:
                raise Unavailable(
                    f"Processes of pod {uid} could not be ended: {', '.join(str(each.pid) for each in left)}.",
                    code="processes-left",
                    hint="Look at them with `ps -fp <pid>`; they may hang in the kernel.",
                )
            for process in left:
                send(process.pid, process.start_time, signal.SIGKILL)
            time.sleep(0.05)
