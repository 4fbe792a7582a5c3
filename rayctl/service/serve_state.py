"""What a Ray cluster's Serve API says about its applications, and whether they are what they should be.

The API's answer carries the configuration that was submitted, so that nobody has to remember it: after a restart of the
controller nothing is submitted again that is there already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rayctl.core.compare import covers
from rayctl.service.fingerprint import digest

__all__ = ["App", "Deployment", "ServeState", "is_current", "needs_submit", "parse_serve", "with_capacity"]

RUNNING = "RUNNING"
BROKEN = ("DEPLOY_FAILED", "UNHEALTHY")
FAILED_AFTER_S = 60.0
"""An application that failed to deploy is given up after this; Serve itself has tried several times by then."""


@dataclass(frozen=True)
class Deployment:
    """A deployment: its status, and how many of its replicas run of how many that are wanted."""

    status: str
    message: str = ""
    running: int = 0
    target: int = 0


@dataclass(frozen=True)
class App:
    """An application. ``config``: as it was submitted; ``deployed_at``: when, seconds since the epoch."""

    status: str
    message: str = ""
    config: Mapping[str, Any] | None = None
    deployed_at: float = 0.0
    deployments: Mapping[str, Deployment] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        """Its form in a RayService's status."""
        return {
            "status": self.status,
            "message": self.message,
            "serveDeploymentStatuses": {
                name: {"status": found.status, "message": found.message} for name, found in self.deployments.items()
            },
        }


@dataclass(frozen=True)
class ServeState:
    """The applications of one cluster.

    Args:
        known: The API answered; otherwise ``error`` says why not, and nothing else is known.
        apps: By name.
        target_capacity: Percent; None: not limited.
        head_proxy: The proxy on the head answers; None: unknown.
        accepted: Digest of the configuration that the API took last from this process; empty: none yet.
        rejected, rejection: Digest of the configuration that it refused last, and its reason.
    """

    known: bool = False
    error: str = ""
    apps: Mapping[str, App] = field(default_factory=dict)
    target_capacity: float | None = None
    head_proxy: bool | None = None
    accepted: str = ""
    rejected: str = ""
    rejection: str = ""

    @property
    def all_running(self) -> bool:
        """Whether there are applications, and all of them run."""
        return bool(self.apps) and all(app.status == RUNNING for app in self.apps.values())


def parse_serve(document: Mapping[str, Any] | None) -> ServeState:
    """Read what `rayctl.service.serve_api` found: ``ok``, ``error``, ``details`` (the API's own answer)."""
    if not document:
        return ServeState(error="the Serve API has not been asked yet")
    known = ServeState(
        accepted=str(document.get("accepted") or ""),
        rejected=str(document.get("rejected") or ""),
        rejection=str(document.get("rejection") or ""),
    )
    details = document.get("details")
    if not document.get("ok") or not isinstance(details, Mapping):
        return replace(known, error=str(document.get("error") or "the Serve API did not answer"))
    apps = {str(name): _app(found) for name, found in (details.get("applications") or {}).items()}
    capacity = details.get("target_capacity")
    return replace(
        known,
        known=True,
        apps=apps,
        target_capacity=None if capacity is None else float(capacity),
        head_proxy=_head_proxy(details, document),
    )


def _app(found: Mapping[str, Any]) -> App:
    deployments = {}
    for name, deployment in (found.get("deployments") or {}).items():
        replicas = deployment.get("replicas") or ()
        running = sum(1 for replica in replicas if replica.get("state") == RUNNING)
        deployments[str(name)] = Deployment(
            str(deployment.get("status") or ""),
            str(deployment.get("message") or ""),
            running,
            int(deployment.get("target_num_replicas") or 0),
        )
    config = found.get("deployed_app_config")
    return App(
        str(found.get("status") or ""),
        str(found.get("message") or ""),
        config if isinstance(config, Mapping) else None,
        float(found.get("last_deployed_time_s") or 0.0),
        deployments,
    )


def _head_proxy(details: Mapping[str, Any], document: Mapping[str, Any]) -> bool | None:
    """Whether the proxy next to the Serve controller, which Ray keeps on the head, is healthy."""
    proxies = details.get("proxies") or {}
    controller = details.get("controller_info") or {}
    node, address = controller.get("node_id"), document.get("headIP") or controller.get("node_ip")
    for name, proxy in proxies.items():
        if (node and name == node) or (not node and address and proxy.get("node_ip") == address):
            return str(proxy.get("status") or "") == "HEALTHY"
    return False


def with_capacity(config: Mapping[str, Any], percent: int) -> dict[str, Any]:
    """Return a configuration that asks for a share of its capacity only; 100: all of it, and nothing is added."""
    found = dict(config)
    if percent < 100:
        found["target_capacity"] = percent
    return found


def is_current(wanted: Mapping[str, Any], state: ServeState) -> bool:
    """Whether the cluster has taken over exactly this configuration."""
    if not state.known or not _capacity_is(wanted, state):
        return False
    taken = state.accepted == digest(wanted)
    names = set()
    for config in wanted.get("applications") or ():
        name = str(config.get("name", "default"))
        names.add(name)
        app = state.apps.get(name)
        if app is None:
            return False
        # An answer of an older Serve, or one without what it hides, is no reason to submit for ever.
        if not taken and (app.config is None or not (covers(app.config, config) and covers(config, app.config))):
            return False
    extra = [app for name, app in state.apps.items() if name not in names and app.status != "DELETING"]
    return taken or not extra


def _capacity_is(wanted: Mapping[str, Any], state: ServeState) -> bool:
    asked = wanted.get("target_capacity")
    return asked == state.target_capacity or {asked, state.target_capacity} <= {None, 100}


def needs_submit(wanted: Mapping[str, Any], state: ServeState) -> bool:
    """Whether the configuration is to be submitted now: the API answers, has something else, and has not refused it."""
    if not wanted.get("applications") or not state.known:
        return False
    return not is_current(wanted, state) and state.rejected != digest(wanted)
