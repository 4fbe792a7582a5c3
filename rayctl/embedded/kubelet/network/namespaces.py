"""A network namespace for each pod, joined by a bridge. Needs root and iproute2.

Pods have all ports for themselves. They reach each other and the addresses of services; the machine reaches them;
nobody outside of the machine does, and they reach nobody outside: packets that come from the bridge are not
forwarded. Service addresses are loopback addresses of the machine; pods keep 127.0.0.0/16 for themselves and find the
rest through the bridge, which is why ``route_localnet`` is set on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import os
import shutil
import subprocess
from pathlib import Path

from rayctl.embedded.kubelet.network.plan import bridge_name, free_address, pod_network, service_network
from rayctl.embedded.kubelet.network.port import Attached
from rayctl.embedded.kubelet.network.shared import Places
from rayctl.errors import Unavailable

__all__ = ["NamespaceNetwork", "why_not"]

_NAMED = Path("/run/netns")


@functools.cache
def why_not() -> str:
    """Return why this machine does not allow network namespaces, or nothing: it is tried, once per process."""
    if os.geteuid() != 0:
        return "not root"
    if shutil.which("ip") is None:
        return "the program `ip` (iproute2) is not installed"
    name = f"rktry{os.getpid()}"
    tries = (["netns", "add", name], ["link", "add", name, "type", "bridge"])
    failure = ""
    for words in tries:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
        if done.returncode and not failure:
            failure = f"`ip {' '.join(words[:2])}` says: {done.stderr.strip() or 'nothing'}"
    for words in (["link", "del", name], ["netns", "del", name]):
        subprocess.run(["ip", *words], capture_output=True)
    return failure


async def _ip(*words: str, lines: str | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        "ip",
        *words,
        stdin=asyncio.subprocess.PIPE if lines is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(None if lines is None else lines.encode())
    if process.returncode:
        raise OSError(f"ip {' '.join(words)}: {err.decode(errors='replace').strip()}")
    return out.decode()


class NamespaceNetwork:
    """Args: the node's slot; the folder with a folder per pod."""

    mode = "netns"

    def __init__(self, slot: int, pods: Path) -> None:
        self._slot = slot
        self._network = pod_network(slot, self.mode)
        self._gateway = str(ipaddress.IPv4Network(self._network)[1])
        self._bridge = bridge_name(slot)
        self._places = Places(pods)
        self._foreign: set[str] = set()

    async def prepare(self) -> None:
        """See `Network.prepare`."""
        prefix = self._network.partition("/")[2]
        try:
            with contextlib.suppress(OSError):  # there already
                await _ip("link", "add", self._bridge, "type", "bridge")
            await _ip("addr", "replace", f"{self._gateway}/{prefix}", "dev", self._bridge)
            await _ip("link", "set", self._bridge, "up")
            self._settings()
            await self._look_around()
        except OSError as error:
            raise Unavailable(
                f"Network namespaces cannot be used here: {error}",
                code="no-network-namespaces",
                hint="Use --network ports.",
            ) from error

    def _settings(self) -> None:
        for name, value in (("route_localnet", "1"), ("forwarding", "0")):
            Path(f"/proc/sys/net/ipv4/conf/{self._bridge}/{name}").write_text(value)
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            Path(f"/proc/sys/net/ipv6/conf/{self._bridge}/disable_ipv6").write_text("1")

    async def _look_around(self) -> None:
        """Remove the namespaces that a killed kubelet of another folder left behind, whose addresses would be given
        again; where pods still run in one, keep away from its address. The slot is this kubelet's alone by now."""
        for name in self._others():
            if (await _ip("netns", "pids", name)).strip():
                shown = await _ip("-n", name, "-o", "-4", "addr", "show", "dev", "eth0")
                self._foreign |= {word.partition("/")[0] for word in shown.split() if "/" in word}
            else:
                await self._remove(name)

    def _others(self) -> list[str]:
        """Return the names of this slot's namespaces that belong to none of this kubelet's pods."""
        own = {self._name(uid) for uid in self._places.pods()}
        names = os.listdir(_NAMED) if _NAMED.is_dir() else []
        return sorted(name for name in names if name.startswith(self._name("")) and name not in own)

    async def attach(self, uid: str, wanted: tuple[int, ...]) -> Attached:
        """See `Network.attach`."""
        place = self._places.get(uid)
        if place is None:
            taken = {*self._places.addresses(), *self._foreign, self._gateway}
            place = Attached(free_address(self._network, taken, self._places.last_address))
            self._places.put(uid, place)
        name = self._name(uid)
        if not await self._complete(name, place.ip):
            await self._remove(name)
            await self._make(name, place.ip)
        return place

    async def _complete(self, name: str, ip: str) -> bool:
        if not (_NAMED / name).exists():
            return False
        try:
            return f" {ip}/" in await _ip("-n", name, "-o", "addr", "show", "dev", "eth0") and "default" in await _ip(
                "-n", name, "route"
            )
        except OSError:
            return False

    async def _make(self, name: str, ip: str) -> None:
        prefix = self._network.partition("/")[2]
        link = self._link(name)
        await _ip("netns", "add", name)
        lines = [
            f"link add {link} type veth peer name eth0 netns {name}",
            f"link set {link} master {self._bridge}",
            f"link set {link} up",
        ]
        await _ip("-batch", "-", lines="\n".join(lines) + "\n")
        inside = [
            "link set lo up",
            "addr del 127.0.0.1/8 dev lo",
            "addr add 127.0.0.1/16 dev lo",
            f"addr add {ip}/{prefix} dev eth0",
            "link set eth0 up",
            f"route add default via {self._gateway}",
        ]
        await _ip("-n", name, "-batch", "-", lines="\n".join(inside) + "\n")
        settings = (
            "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"
        )
        await _ip("netns", "exec", name, "sh", "-c", settings)

    async def _remove(self, name: str) -> None:
        if (_NAMED / name).exists():
            await _ip("netns", "del", name)
        # The pair would go with the namespace, but only a while later.
        with contextlib.suppress(OSError):
            await _ip("link", "del", self._link(name))

    def known(self, uid: str) -> Attached | None:
        """See `Network.known`."""
        return self._places.get(uid)

    async def detach(self, uid: str) -> None:
        """See `Network.detach`."""
        await self._remove(self._name(uid))
        self._places.drop(uid)

    def namespace(self, uid: str) -> str | None:
        """See `Network.namespace`."""
        return str(_NAMED / self._name(uid))

    async def close(self) -> None:
        """See `Network.close`."""
        if not self._places.addresses() and not self._attached():
            with contextlib.suppress(OSError):
                await _ip("link", "del", self._bridge)

    def _attached(self) -> list[str]:
        """Return the pods' ends that hang on the bridge, be they ours or another node's by mistake."""
        try:
            return os.listdir(f"/sys/class/net/{self._bridge}/brif")
        except FileNotFoundError:
            return []

    def _name(self, uid: str) -> str:
        return f"rayctl{self._slot}-{uid}"

    def _link(self, name: str) -> str:
        # Interface names have at most 15 characters; 12 of a random uid's are enough to tell pods apart.
        return "rk" + name.partition("-")[2].replace("-", "")[:12]

    @property
    def services(self) -> str:
        """The network of service addresses that pods reach through the bridge."""
        return service_network(self._slot)
