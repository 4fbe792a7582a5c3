"""What is wrong with an installation: each check from what was seen to a finding. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rayctl.clock import format_duration
from rayctl.core.compare import first_difference
from rayctl.views.readiness import condition_holds, judge, moment

__all__ = [
    "Finding",
    "check_access",
    "check_clock",
    "check_cluster",
    "check_definition",
    "check_kuberay",
    "check_lease",
    "check_server",
    "check_standby",
]

Document = Mapping[str, Any]
_OLDEST = (1, 25)
_SKEW_S = 5.0


@dataclass(frozen=True)
class Finding:
    """One check's result. ``ok``; ``warn``: it works, but; ``fail``: something will not work; ``unknown``."""

    check: str
    state: Literal["ok", "warn", "fail", "unknown"]
    message: str
    hint: str = ""

    def document(self) -> dict[str, str]:
        """Return it as JSON."""
        return {"check": self.check, "state": self.state, "message": self.message, "hint": self.hint}


def check_server(version: Document, latency_s: float) -> Finding:
    """Judge the server's version and how fast it answered one request."""
    text = str(version.get("gitVersion") or "?")
    numbers = tuple(int(re.sub(r"\D", "", str(version.get(part))) or 0) for part in ("major", "minor"))
    said = f"{text}, answered in {latency_s * 1000:.0f} ms"
    if numbers < _OLDEST:
        return Finding("server", "fail", said, "rayctl needs Kubernetes 1.25: server-side apply and typed conditions.")
    if latency_s > 1.0:
        return Finding("server", "warn", said, "A slow API server makes everything late; leases need 10 s at most.")
    return Finding("server", "ok", said)


def check_clock(server_at: float | None, before_at: float, after_at: float) -> Finding:
    """Judge the difference of clocks: the server's time (whole seconds), and ours before and after asking."""
    if server_at is None:
        return Finding("clock", "unknown", "the server does not tell the time")
    skew_s = before_at - (server_at + 1) if server_at + 1 < before_at else max(0.0, server_at - after_at)
    if skew_s > _SKEW_S:
        hint = "Ages and deadlines will look wrong; synchronise the clocks (NTP). Leases do not depend on it."
        return Finding("clock", "warn", f"differs from the server's by {format_duration(skew_s)}", hint)
    return Finding("clock", "ok", "agrees with the server's")


def check_definition(wanted: Document, live: Document | None, kuberay: bool) -> Finding:
    """Judge one definition of a kind."""
    name = str(wanted["metadata"]["name"])
    check = f"kind {wanted['spec']['names']['kind']}"
    if live is None:
        return Finding(check, "fail", f"{name} is not installed", "`rayctl install` installs it.")
    if not condition_holds(live, "Established"):
        return Finding(
            check, "fail", f"{name} is not served", "Another kind may have its names: `rayctl describe crd`."
        )
    versions = {version["name"]: version for version in live["spec"].get("versions") or ()}
    for version in wanted["spec"]["versions"]:
        there = versions.get(version["name"])
        if there is None or not there.get("served"):
            return Finding(check, "fail", f"{name} does not serve {version['name']}", "`rayctl install` changes that.")
        place = first_difference(there.get("schema"), version["schema"])
        if place is not None and kuberay and wanted["spec"]["group"] == "ray.io":
            return Finding(check, "ok", f"{version['name']}, as KubeRay defines it")
        if place is not None:
            text = f"{version['name']} differs from this rayctl's at {place[:120]}"
            return Finding(check, "warn", text, "It is of another version: `rayctl install` brings it up to date.")
    return Finding(check, "ok", ", ".join(versions) + ", up to date")


def check_kuberay(deployments: Sequence[Document] | None) -> Finding:
    """Say whether KubeRay's operator is there (None: may not be seen)."""
    if deployments is None:
        return Finding("KubeRay", "unknown", "Deployments may not be seen")
    if not deployments:
        return Finding("KubeRay", "ok", "is not here: rayctl reconciles RayClusters and RayServices itself")
    where = ", ".join(sorted(f"{item['metadata']['namespace']}/{item['metadata']['name']}" for item in deployments))
    return Finding(
        "KubeRay",
        "ok",
        f"{where} reconciles RayClusters and RayServices; rayctl does the fleets (`rayctl adopt` takes over)",
    )


def check_access(who: str, missing: Sequence[str], asked: int, leads_elsewhere: bool = False) -> Finding:
    """Judge what somebody may not do of what is needed (``verb resource``).

    ``leads_elsewhere``: a controller that was not installed here and works all the same, under somebody's account.
    """
    if leads_elsewhere:
        return Finding(f"access of {who}", "ok", "works under the account of whoever started it; it is not installed")
    if not missing:
        return Finding(f"access of {who}", "ok", f"has all of the {asked} rights that are needed")
    shown = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
    hint = (
        "`rayctl install` grants them." if who != "you" else "Ask an administrator, or have one run `rayctl install`."
    )
    return Finding(f"access of {who}", "warn" if who == "you" else "fail", f"may not {shown}", hint)


def check_lease(controller: str, lease: Document | None, now: float) -> Finding:
    """Judge who leads a controller."""
    check = f"leader of {controller}"
    if lease is None:
        return Finding(check, "fail", "there is no lease", "`rayctl install` makes it.")
    spec = lease.get("spec") or {}
    holder = spec.get("holderIdentity") or ""
    renewed_at = moment(spec.get("renewTime"))
    if not holder or renewed_at is None:
        return Finding(check, "fail", "nobody leads: nothing is reconciled", "Does the control plane run?")
    age_s = now - renewed_at
    if age_s > float(spec.get("leaseDurationSeconds") or 15) + _SKEW_S:
        text = f"{holder} has not renewed for {format_duration(age_s)}"
        return Finding(check, "fail", text, "Look at the pods of the control plane: `rayctl get po -n rayctl-system`.")
    return Finding(check, "ok", f"{holder}, epoch {spec.get('leaseTransitions') or 0}")


def check_standby(deployment: Document | None, status: Mapping[str, str]) -> Finding:
    """Judge the process beside a control plane of actors, and what it says of it (``state``, ``reason``)."""
    if deployment is None:
        return Finding("standby", "fail", "its Deployment is not there", "`rayctl install --actors` makes it.")
    if not (deployment.get("status") or {}).get("readyReplicas"):
        where = f"{deployment['metadata']['name']} -n {deployment['metadata']['namespace']}"
        hint = f"`kubectl describe deployment {where}`; without it nothing moves, and a lost head stays lost."
        return Finding("standby", "fail", "no pod of it is ready", hint)
    if status.get("state") != "ready":
        return Finding("standby", "warn", f"says {status.get('state') or 'nothing'}: {status.get('reason') or '?'}")
    return Finding("standby", "ok", "stands by; all is ready")


def check_cluster(document: Document | None, ray_version: str, led: bool = False) -> Finding:
    """Judge the control plane's own RayCluster, and whether its Ray is this one's (``ray_version``; empty: none).

    ``led``: all controllers are led by somebody.
    """
    if document is None and led:
        return Finding("control plane", "ok", "processes of their own; it has no RayCluster")
    if document is None:
        return Finding("control plane", "fail", "there is no RayCluster of it", "`rayctl install` makes it.")
    verdict = judge(document)
    theirs = str((document.get("spec") or {}).get("rayVersion") or "")
    if not verdict.ready:
        text = f"is not ready: {verdict.message or verdict.reason}"
        where = f" -n {document['metadata']['namespace']}"
        return Finding("control plane", "fail", text, f"`rayctl explain rc/{document['metadata']['name']}{where}`")
    if ray_version and theirs and theirs.split(".")[:2] != ray_version.split(".")[:2]:
        text = f"runs Ray {theirs}, here is {ray_version}"
        return Finding("control plane", "warn", text, "Ray Client needs the same version on both sides.")
    return Finding("control plane", "ok", f"ready, Ray {theirs or '?'}")
