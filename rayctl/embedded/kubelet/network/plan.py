"""Which addresses and ports this node, its services and its pods have. Pure.

A node has a number (its slot), and all its addresses follow from that, so that several nodes can live on one machine:
services 127.(64+slot).0.0/16; pods 127.(128+slot).0.0/16 where all share the machine's network, and 10.77.slot.0/24
where each has its own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable

__all__ = ["LOOPBACK", "SLOTS", "bridge_name", "free_address", "move_ports", "pod_network", "service_network"]

SLOTS = 56
"""Numbers 0 to 55."""
LOOPBACK = "127.0.0.1"
"""Where moved ports answer. Ray keeps to the loopback interface for this address alone; at any other one, those of
127.0.0.0/8 among them, its nodes bind all interfaces of the machine."""
FIRST_PORT, LAST_PORT = 24_000, 31_999
"""For moved ports: above those that Ray Client's servers take (23000 to 23999), below those that Linux gives out."""


def service_network(slot: int) -> str:
    """Return the network of service addresses."""
    return f"127.{64 + slot}.0.0/16"


def pod_network(slot: int, mode: str) -> str:
    """Return the network of pod addresses."""
    return f"10.77.{slot}.0/24" if mode == "netns" else f"127.{128 + slot}.0.0/16"


def bridge_name(slot: int) -> str:
    """Return the name of the bridge between the pods' network namespaces."""
    return f"rayctl{slot}"


def free_address(network: str, taken: Collection[str], after: str = "") -> str:
    """Return the next address after ``after`` that is free, so that one is not used again soon; .0 and .1 are not
    given.

    Raises:
        ValueError: None is left.
    """
    found = ipaddress.IPv4Network(network)
    size = found.num_addresses - 3
    start = int(ipaddress.IPv4Address(after)) - int(found.network_address) - 2 + 1 if after else 0
    for offset in range(size):
        address = str(found[2 + (start + offset) % size])
        if address not in taken:
            return address
    raise ValueError(f"no address is left in {network}")


def move_ports(wanted: Iterable[int], taken: Collection[int], after: int = 0) -> dict[int, int]:
    """Return for each port one that no pod has.

    Raises:
        ValueError: None is left.
    """
    moved: dict[int, int] = {}
    size = LAST_PORT - FIRST_PORT + 1
    at = after - FIRST_PORT + 1 if after >= FIRST_PORT else 0
    for port in wanted:
        for _ in range(size):
            candidate = FIRST_PORT + at % size
            at += 1
            if candidate not in taken:
                moved[port] = candidate
                break
        else:
            raise ValueError("no port is left for another Ray node")
    return moved
