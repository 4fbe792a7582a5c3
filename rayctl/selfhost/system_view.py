"""What the control plane's own cluster looks like from outside, and what is said about it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rayctl.kube.lease import Observed
from rayctl.manifests.access import CONTROLLERS

__all__ = ["ENVIRONMENT", "RAY_TOKEN", "STEPS", "SystemSeen", "judge", "leaders", "wanted_installation"]

Document = Mapping[str, Any]
RAY_TOKEN = "rayctl-ray-token"  # noqa: S105 - the name of a Secret
"""The Secret with Ray's token, which stays the same on every side: it is the home's."""
ENVIRONMENT = "rayctl-environment"
"""The Secret with the variables of who typed `rayctl up`, which tasks have as with a local Ray head."""
STEPS = ("installed", "cluster", "http", "handed_over")


@dataclass(frozen=True)
class SystemSeen:
    """One look. ``side``: the RayCluster that should be leading; ``gateway``: why it does not answer, empty: it does;
    ``installed``: all objects were applied by this process."""

    side: str
    installed: bool = False
    cluster: Document | None = None
    leases: tuple[Document, ...] = ()
    gateway: str = "not asked yet"
    trouble: str = ""
    steps: frozenset[str] = field(default_factory=frozenset)


def leaders(leases: Iterable[Document]) -> dict[str, str]:
    """Return who holds the controllers' leases: controller → identity (empty: nobody)."""
    holders = {lease["metadata"]["name"]: Observed(lease, 0.0).holder for lease in leases}
    return {name: holders.get(name, "") for name in CONTROLLERS}


def judge(seen: SystemSeen) -> tuple[str, str, frozenset[str]]:
    """Return the state (``starting``, ``ready``, ``broken``), why, and the steps that are done now."""
    done = _done(seen)
    missing = next((step for step in STEPS if step not in done), None)
    if missing is None and not seen.trouble:
        return "ready", "", done
    reason = seen.trouble or _missing(seen, str(missing))
    was_ready = seen.steps >= set(STEPS)
    return ("broken" if was_ready else "starting"), reason, done | seen.steps


def _done(seen: SystemSeen) -> frozenset[str]:
    held = leaders(seen.leases)
    answers = not seen.gateway  # before, status and leases may be those of an earlier life
    status = (seen.cluster or {}).get("status") or {}
    facts = {
        "installed": seen.installed,
        "cluster": answers and status.get("state") == "ready",
        "http": answers,
        "handed_over": answers and all(holder.startswith(f"{seen.side}_") for holder in held.values()),
    }
    return frozenset(step for step, done in facts.items() if done)


def _missing(seen: SystemSeen, step: str) -> str:
    if step == "installed":
        return "applying the control plane's objects"
    status = (seen.cluster or {}).get("status") or {}
    if step == "http" or (step == "cluster" and status.get("state") == "ready"):
        return f"the HTTP API does not answer: {seen.gateway}"
    if step == "cluster":
        if seen.cluster is None:
            return f"RayCluster {seen.side} is not there"
        known = [item for item in status.get("conditions") or () if item.get("type") == "HeadPodReady"]
        why = next((item.get("message") or item.get("reason") for item in known if item.get("status") != "True"), "")
        return f"RayCluster {seen.side} is {status.get('state') or 'not ready'}{': ' if why else ''}{why or ''}"
    others = sorted(name for name, holder in leaders(seen.leases).items() if not holder.startswith(f"{seen.side}_"))
    return f"the actors do not lead yet: {', '.join(others)}"


def wanted_installation(
    home: str,
    settings: Mapping[str, str],
    sizes: tuple[int, int, int],
    ports: Mapping[str, int],
    folders: Iterable[tuple[str, str]],
) -> dict[str, Any]:
    """Return the arguments of `rayctl.manifests.installation.Installation` for a control plane on this machine.

    Args:
        home: RAYCTL_HOME.
        settings: Variables of the service.
        sizes: What the head offers to tasks: CPUs, bytes of memory, bytes of its object store.
        ports: Where the HTTP API (``http``), Ray Client (``ray_client``) and Ray's dashboard are.
        folders: (path, ``Directory`` or ``File``) that hold the state.
    """
    num_cpus, memory, store = sizes
    return {
        "actors": True,
        "home": home,
        "settings": tuple(sorted(settings.items())),
        "num_cpus": num_cpus,
        "cpu": str(num_cpus),
        "memory": f"{memory // 2**20}Mi",
        # An upgrade needs room for two.
        "requested_memory": f"{memory // 2**21}Mi",
        "port": ports["http"],
        "ray_client_port": ports["ray_client"],
        "dashboard_port": ports["dashboard"],
        "object_store": store,
        "ray_token": RAY_TOKEN,
        "environment": ENVIRONMENT,
        "folders": tuple(folders),
    }
