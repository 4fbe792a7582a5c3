"""All pods on the machine's own network: an address of 127.0.0.0/8 and moved ports for each. Needs no privileges."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from rayctl.embedded.kubelet.network.plan import free_address, move_ports, pod_network
from rayctl.embedded.kubelet.network.port import Attached

__all__ = ["Places", "SharedNetwork"]


class Places:
    """Who has which address and ports: one file per pod, so that a new kubelet knows as well."""

    def __init__(self, pods: Path) -> None:
        self._pods = pods
        self._known: dict[str, Attached] = {}
        self.last_address = ""
        self.last_port = 0
        for file in pods.glob("*/network.json"):
            found = json.loads(file.read_text())
            ports = {int(wanted): int(real) for wanted, real in found["ports"].items()}
            self._known[file.parent.name] = Attached(found["ip"], ports)

    def get(self, uid: str) -> Attached | None:
        """Return a pod's place."""
        return self._known.get(uid)

    def pods(self) -> set[str]:
        """Return the uids of the pods that have a place."""
        return set(self._known)

    def addresses(self) -> set[str]:
        """Return the addresses that are taken."""
        return {place.ip for place in self._known.values()}

    def ports(self) -> set[int]:
        """Return the ports that are taken."""
        return {real for place in self._known.values() for real in place.ports.values()}

    def put(self, uid: str, place: Attached) -> None:
        """Remember a place, also over a restart. Raises OSError."""
        document = {"ip": place.ip, "ports": {str(wanted): real for wanted, real in place.ports.items()}}
        folder = self._pods / uid
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = folder / "network.json.new"
        temporary.write_text(json.dumps(document))
        temporary.replace(folder / "network.json")
        self._known[uid] = place
        self.last_address = place.ip
        self.last_port = max(place.ports.values(), default=self.last_port)

    def drop(self, uid: str) -> None:
        """Forget a place."""
        (self._pods / uid / "network.json").unlink(missing_ok=True)
        self._known.pop(uid, None)


class SharedNetwork:
    """Args: the node's slot; the folder with a folder per pod."""

    mode = "ports"

    def __init__(self, slot: int, pods: Path) -> None:
        self._network = pod_network(slot, self.mode)
        self._places = Places(pods)

    async def prepare(self) -> None:
        """See `Network.prepare`; Linux answers on all of 127.0.0.0/8 without being asked to."""

    async def attach(self, uid: str, wanted: tuple[int, ...]) -> Attached:
        """See `Network.attach`."""
        known = self._places.get(uid)
        if known is not None:
            return known
        ip = free_address(self._network, self._places.addresses(), self._places.last_address)
        taken = self._places.ports()
        while True:
            ports = move_ports(wanted, taken, self._places.last_port)
            busy = {port for port in ports.values() if not _is_free(port)}
            if not busy:
                break
            taken |= busy
        place = Attached(ip, ports)
        self._places.put(uid, place)
        return place

    def known(self, uid: str) -> Attached | None:
        """See `Network.known`."""
        return self._places.get(uid)

    async def detach(self, uid: str) -> None:
        """See `Network.detach`."""
        self._places.drop(uid)

    def namespace(self, uid: str) -> str | None:
        """See `Network.namespace`."""
        return None

    async def close(self) -> None:
        """See `Network.close`."""


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
