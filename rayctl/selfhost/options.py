"""What ``rayctl up`` was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from rayctl.errors import Conflict, InvalidRequest
from rayctl.selfhost.machine import Machine, object_store_bytes, worker_memory_bytes
from rayctl.selfhost.ports import DEFAULT_PORTS, Wanted
from rayctl.selfhost.upfile import UpFile

__all__ = ["UpOptions"]

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

    def wanted_ports(self) -> list[Wanted]:
        """Return the ports to choose; a cluster that exists already has its own, apart from the HTTP one."""
        if self.kubernetes:
            return [Wanted("kubernetes", DEFAULT_PORTS["kubernetes"])]
        asked = {"http": self.port}
        if self.address is None:
            asked |= {"ray_client": self.ray_client_port, "dashboard": self.dashboard_port, "gcs": None}
        return [Wanted(name, port or DEFAULT_PORTS[name], explicit=port is not None) for name, port in asked.items()]

    def check(self) -> None:
        """Refuse options that exclude each other.

        Raises:
            InvalidRequest: ``--kubernetes`` with what it decides itself.
        """
        others = ("address", "ray_client_port", "dashboard_port")
        if self.kubernetes and any(getattr(self, name) is not None for name in others):
            raise InvalidRequest(
                "With --kubernetes the Ray cluster is a pod's, with an address of its own.",
                hint=f"Leave {', '.join(_FLAGS[name] for name in others)} out.",
            )
        if self.network is not None and not self.kubernetes:
            raise InvalidRequest("--network says how pods are kept apart.", hint="It goes with --kubernetes.")

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
        differing = [
            f"{_FLAGS[name]} is {running.options.get(name)}, not {value}"
            for name, value in self.to_dict().items()
            if value is not None and running.options.get(name) != value
        ]
        if differing:
            raise Conflict(
                f"rayctl is already up with other options: {'; '.join(differing)}.",
                code="up-with-other-options",
                hint="Run `rayctl down` first (it keeps all data), or `rayctl up` without these options.",
            )
