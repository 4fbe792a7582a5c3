"""What ``rayctl up`` was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from rayctl.errors import Conflict, InvalidRequest
from rayctl.selfhost.machine import Machine, object_store_bytes, worker_memory_bytes
from rayctl.selfhost.ports import DEFAULT_PORTS, Wanted
from rayctl.selfhost.upfile import UpFile

__all__ = ["NETWORK", "UpOptions"]

NETWORK = "ports"
"""How pods are kept apart by default: tasks reach the internet and the machine's files, as with a Ray head alone."""

_FLAGS = {
    "num_cpus": "--num-cpus",
    "memory": "--memory",
    "port": "--port",
    "ray_client_port": "--ray-client-port",
    "dashboard_port": "--dashboard-port",
    "address": "--address",
    "kubernetes": "--kubernetes",
    "network": "--network",
}


@dataclass(frozen=True)
class UpOptions:
    """The options of ``rayctl up``; None means: rayctl chooses. Memory in bytes."""

    num_cpus: int | None = None
    memory: int | None = None
    port: int | None = None
    ray_client_port: int | None = None
    dashboard_port: int | None = None
    address: str | None = None
    kubernetes: bool | None = None
    network: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> UpOptions:
        """Read what `to_dict` wrote."""
        return cls(**{each.name: document.get(each.name) for each in fields(cls)})

    def settled(self, running: UpFile | None) -> UpOptions:
        """Return the options with what is decided for who does not ask. ``running``: what the home was started with."""
        if self.kubernetes is not None:
            return self
        if running is not None and running.state != "failed":
            return replace(self, kubernetes=bool(running.options.get("kubernetes")))
        return replace(self, kubernetes=self.address is None)

    def wanted_ports(self) -> list[Wanted]:
        """Return the ports to choose; a cluster that exists already has its own, apart from the HTTP one."""
        asked = {"http": self.port}
        if self.address is None:
            own = "kubernetes" if self.kubernetes else "gcs"
            asked |= {"ray_client": self.ray_client_port, "dashboard": self.dashboard_port, own: None}
        return [Wanted(name, port or DEFAULT_PORTS[name], explicit=port is not None) for name, port in asked.items()]

    def check(self) -> None:
        """Refuse options that exclude each other.

        Raises:
            InvalidRequest: ``--kubernetes`` with what it decides itself.
        """
        if self.kubernetes and self.address is not None:
            raise InvalidRequest(
                "--kubernetes brings up a Ray cluster; --address uses one that is there.",
                hint="Leave one of the two out.",
            )
        if self.network is not None and not self.kubernetes:
            raise InvalidRequest("--network says how pods are kept apart.", hint="There are pods with --kubernetes.")

    def sizes(self, machine: Machine) -> tuple[int, int, int]:
        """Return CPUs, memory for workers and object store of the head."""
        store = object_store_bytes(machine)
        return (
            self.num_cpus if self.num_cpus is not None else machine.cpus,
            self.memory or worker_memory_bytes(machine),
            store,
        )

    def check_running(self, running: UpFile) -> None:
        """Refuse to promise what the running control plane does not have.

        Raises:
            Conflict: an option was given explicitly and differs.
        """
        there = {"kubernetes": False, **running.options}
        differing = [
            f"{_FLAGS[name]} is {there.get(name)}, not {value}"
            for name, value in self.to_dict().items()
            if value is not None and there.get(name) != value
        ]
        if differing:
            raise Conflict(
                f"rayctl is already up with other options: {'; '.join(differing)}.",
                code="up-with-other-options",
                hint="Run `rayctl down` first (it keeps all data), or `rayctl up` without these options.",
            )
