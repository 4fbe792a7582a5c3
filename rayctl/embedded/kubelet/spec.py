"""A pod's document as the kubelet's decisions need it: containers in order, probes, policies; what is refused, and
why."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["ContainerSpec", "PodSpec", "ProbeSpec", "Role", "parse_pod", "refusal", "safe_name"]

Role = Literal["init", "sidecar", "main"]
"""``init``: runs to its end before the next; ``sidecar``: an init container that stays; ``main``: the others."""

VOLUME_KINDS = ("emptyDir", "configMap", "secret", "projected", "downwardAPI", "persistentVolumeClaim")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_UID = re.compile(r"[A-Za-z0-9][-A-Za-z0-9]{0,63}")


@dataclass(frozen=True)
class ProbeSpec:
    """How a container is asked, and how its answers count. ``action``: the part of the document that says what to do.
    How a container is asked, and how its answers count. ``action``: the part of the document that says what to do."""

    kind: Literal["exec", "http", "tcp", "none"]
    action: Mapping[str, Any]
    delay_s: float = 0.0
    period_s: float = 10.0
    timeout_s: float = 1.0
    successes: int = 1
    failures: int = 3
    grace_s: int | None = None


@dataclass(frozen=True)
class ContainerSpec:
    """One container. ``document`` is its part of the pod."""

    name: str
    role: Role
    document: Mapping[str, Any]
    startup: ProbeSpec | None = None
    liveness: ProbeSpec | None = None
    readiness: ProbeSpec | None = None
    pre_stop: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class PodSpec:
    """One pod. ``containers``: init containers and sidecars first, in their order."""

    namespace: str
    name: str
    uid: str
    containers: tuple[ContainerSpec, ...]
    restart_policy: str
    grace_s: int
    document: Mapping[str, Any]
    deadline_s: int | None = None

    def of(self, *roles: Role) -> tuple[ContainerSpec, ...]:
        """Return the containers with one of these roles."""
        return tuple(container for container in self.containers if container.role in roles)


def safe_name(text: str) -> bool:
    """Tell whether a name may become a part of a path."""
    return _NAME.fullmatch(text) is not None and ".." not in text


def parse_pod(document: Mapping[str, Any]) -> PodSpec:
    """Read a pod's document, as an API server with defaults returns it.

    Raises:
        ValueError: Names in it cannot be names of files (an API server refuses them as well).
    """
    metadata, spec = document["metadata"], document["spec"]
    first = [_container(found, True) for found in spec.get("initContainers") or ()]
    containers = (*first, *(_container(found, False) for found in spec.get("containers") or ()))
    for text in (metadata.get("namespace", "default"), metadata["name"], *(found.name for found in containers)):
        if not safe_name(str(text)):
            raise ValueError(f"{str(text)[:80]!r} cannot be the name of a file")
    if _UID.fullmatch(str(metadata["uid"])) is None:
        raise ValueError(f"the uid {str(metadata['uid'])[:80]!r} cannot be the name of a file")
    grace = spec.get("terminationGracePeriodSeconds", 30)
    return PodSpec(
        namespace=metadata.get("namespace", "default"),
        name=metadata["name"],
        uid=metadata["uid"],
        containers=containers,
        restart_policy=spec.get("restartPolicy", "Always"),
        grace_s=max(0, int(grace)),
        document=document,
        deadline_s=spec.get("activeDeadlineSeconds"),
    )


def _container(document: Mapping[str, Any], is_init: bool) -> ContainerSpec:
    role: Role = "main"
    if is_init:
        role = "sidecar" if document.get("restartPolicy") == "Always" else "init"
    hook = (document.get("lifecycle") or {}).get("preStop")
    return ContainerSpec(
        name=document["name"],
        role=role,
        document=document,
        startup=_probe(document.get("startupProbe")),
        liveness=_probe(document.get("livenessProbe")),
        readiness=_probe(document.get("readinessProbe")),
        pre_stop=hook,
    )


def _probe(document: Mapping[str, Any] | None) -> ProbeSpec | None:
    if not document:
        return None
    kind: Literal["exec", "http", "tcp", "none"] = "none"
    action: Mapping[str, Any] = {}
    for field, name in (("exec", "exec"), ("httpGet", "http"), ("tcpSocket", "tcp")):
        if document.get(field) is not None:
            kind, action = name, document[field]  # type: ignore[assignment]
    return ProbeSpec(
        kind=kind,
        action=action,
        delay_s=float(document.get("initialDelaySeconds", 0)),
        period_s=max(1.0, float(document.get("periodSeconds", 10))),
        timeout_s=max(1.0, float(document.get("timeoutSeconds", 1))),
        successes=max(1, int(document.get("successThreshold", 1))),
        failures=max(1, int(document.get("failureThreshold", 3))),
        grace_s=document.get("terminationGracePeriodSeconds"),
    )


def refusal(spec: PodSpec, shared: Collection[Path] = ()) -> str | None:
    """Return why a pod is not run at all: what it asks for cannot be had from processes, or is not safe.

    ``shared``: files and folders of the machine that pods may have as hostPath volumes.
    """
    document = spec.document["spec"]
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if document.get(field):
            return f"spec.{field} is not allowed: pods of this node are kept apart from the machine"
    for volume in document.get("volumes") or ():
        kinds = [kind for kind in volume if kind != "name"]
        if "hostPath" in kinds and Path(volume["hostPath"]["path"]) in shared:
            continue
        if "hostPath" in kinds:
            return f"volume {volume['name']}: hostPath is not allowed on this node"
        if kinds and kinds[0] not in VOLUME_KINDS:
            return f"volume {volume['name']}: {kinds[0]} is not supported by this node"
    for container in spec.containers:
        if (container.document.get("securityContext") or {}).get("privileged"):
            return f"container {container.name}: privileged is not allowed on this node"
        for probe in (container.startup, container.liveness, container.readiness):
            if probe is not None and probe.kind == "none":
                return f"container {container.name}: only exec, httpGet and tcpSocket probes are supported by this node"
    return None
