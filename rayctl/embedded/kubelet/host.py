"""What the pods of a node share: the API's objects, the network, environments, and the ways to report."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rayctl.embedded.kubelet.account import ApiPlace
from rayctl.embedded.kubelet.environment import Missing
from rayctl.embedded.kubelet.images import Images
from rayctl.embedded.kubelet.network.port import Attached, Network
from rayctl.embedded.kubelet.spec import PodSpec
from rayctl.embedded.kubelet.timing import Timing
from rayctl.kube.calls import MERGE, Call, Transport
from rayctl.kube.errors import ObjectNotFound, WriteConflict
from rayctl.kube.events import EventRecorder, Happening
from rayctl.kube.informer import Informers
from rayctl.kube.kinds import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PODS, SECRETS, SERVICES
from rayctl.kube.store import Object

__all__ = ["ADDRESS", "PORTS", "Host", "host_lines"]

_log = logging.getLogger(__name__)

PORTS = "rayctl.io/ports"
"""Annotation of a pod: which of its ports are at another number (JSON, wanted → real)."""
ROOT_CA = "kube-root-ca.crt"
"""The ConfigMap that volumes with a token name beside it."""
ADDRESS = "rayctl.io/address"
"""Annotation of a headless Service where pods share the machine's network: the address that stands for its name."""


@dataclass
class Host:
    """One node. ``pods``, ``short``: folders with a folder per pod; ``hidden``: folders that pods may not see."""

    node_name: str
    capacity: Mapping[str, str]
    transport: Transport
    informers: Informers
    events: EventRecorder
    network: Network
    images: Images
    timing: Timing
    pods: Path
    short: Path
    programs: Path
    hidden: tuple[Path, ...]
    claims: Path = Path("claims")
    """Folder with a folder per claim of a volume, named after its uid."""
    server: ApiPlace | None = None
    """Where the API server is on this machine."""
    shared: frozenset[Path] = frozenset()
    """Files and folders of the machine that pods may have as hostPath volumes."""

    def __post_init__(self) -> None:
        self._written: dict[str, Object] = {}

    # -- what the API has

    def config_map(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        """Return a ConfigMap's data, or None. The server's authority is there for all, whether it is stored or not."""
        found = self.informers.get(CONFIG_MAPS).store.get(namespace, name)
        if found is None:
            if name != ROOT_CA or self.server is None:
                return None
            return {"ca.crt": self.server.authority.encode()}
        data = {key: str(value).encode() for key, value in (found.get("data") or {}).items()}
        return data | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}

    def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        """Return a Secret's data, or None."""
        found = self.informers.get(SECRETS).store.get(namespace, name)
        if found is None:
            return None
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}

    def claim_folder(self, namespace: str, name: str) -> Path:
        """Return the folder of a claim.

        Raises:
            Missing: There is no such claim, it is not bound, or its folder is gone.
        """
        claim = self.informers.get(PERSISTENT_VOLUME_CLAIMS).store.get(namespace, name)
        if claim is None:
            raise Missing(f'persistentvolumeclaim "{name}" not found')
        folder = self.claims / str(claim["metadata"]["uid"])
        if (claim.get("status") or {}).get("phase") != "Bound":
            raise Missing(f'persistentvolumeclaim "{name}" is not bound')
        if not folder.is_dir():
            raise Missing(f'the folder of persistentvolumeclaim "{name}" is not there any more')
        return folder

    def config_map_text(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return a ConfigMap's data as texts, or None."""
        found = self.informers.get(CONFIG_MAPS).store.get(namespace, name)
        return None if found is None else dict(found.get("data") or {})

    def secret_text(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return a Secret's data as texts, or None."""
        found = self.secret(namespace, name)
        return None if found is None else {key: value.decode(errors="surrogateescape") for key, value in found.items()}

    def service_address(self, namespace: str, name: str) -> str | None:
        """Return the stable address of a Service, or None when there is none (yet)."""
        found = self.informers.get(SERVICES).store.get(namespace, name)
        if found is None:
            return None
        cluster_ip = (found.get("spec") or {}).get("clusterIP")
        if cluster_ip and cluster_ip != "None":
            return str(cluster_ip)
        return (found["metadata"].get("annotations") or {}).get(ADDRESS)

    def api_place(self) -> ApiPlace | None:
        """Return where pods find the API server; None as long as that is not known.

        Pods with a network of their own do not see the machine's loopback address: they go through the service
        ``default/kubernetes``, which the proxy carries.
        """
        if self.server is None or self.network.mode != "netns":
            return self.server
        found = self.informers.get(SERVICES).store.get("default", "kubernetes")
        spec = {} if found is None else found.get("spec") or {}
        if not spec.get("ports"):
            return None
        return replace(self.server, host=str(spec["clusterIP"]), port=int(spec["ports"][0]["port"]))

    def names(self, namespace: str) -> str:
        """Return the lines of /etc/hosts for all Services, as a pod of this namespace sees them."""
        return host_lines(self.informers.get(SERVICES).store, self.informers.get(PODS).store, namespace)

    # -- reporting

    def store_pod(self, spec: PodSpec, folder: Path) -> None:
        """Remember a pod, so that the next kubelet knows it though the API may no longer have it. Raises OSError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = folder / "pod.json.new"
        temporary.write_text(json.dumps(spec.document))
        temporary.replace(folder / "pod.json")

    def tell(self, spec: PodSpec, kind: str, reason: str, message: str) -> None:
        """Have an event about a pod sent."""
        self.events.add(Happening("v1", "Pod", spec.namespace, spec.name, spec.uid, kind, reason, message))

    async def annotate(self, spec: PodSpec, place: Attached) -> None:
        """Have the pod say which of its ports are elsewhere. Raises KubernetesError."""
        if not place.ports:
            return
        text = json.dumps({str(wanted): real for wanted, real in sorted(place.ports.items())}, separators=(",", ":"))
        body = {"metadata": {"uid": spec.uid, "annotations": {PORTS: text}}}
        path = PODS.path(spec.namespace, spec.name)
        await self.transport.request(Call("PATCH", path, body=body, content_type=MERGE))

    async def report(self, spec: PodSpec, make: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
        """Write a pod's status if it is another than the one that stands there.

        Args:
            make: From the status that stands there to the one that should.

        Raises:
            KubernetesError: The write failed for another reason than that the pod has gone.
        """
        known = self.informers.get(PODS).store.get(spec.namespace, spec.name)
        written = self._written.get(spec.uid)
        if written is not None and (known is None or _revision(written) > _revision(known)):
            known = written
        if known is None or known["metadata"]["uid"] != spec.uid:
            return
        before = known.get("status") or {}
        wanted = make(before)
        if wanted == before:
            return
        changes = {**{key: None for key in before if key not in wanted}, **wanted}
        body = {"metadata": {"uid": spec.uid}, "status": changes}
        path = PODS.path(spec.namespace, spec.name, "status")
        try:
            self._written[spec.uid] = await self.transport.request(Call("PATCH", path, body=body, content_type=MERGE))
        except (ObjectNotFound, WriteConflict):
            return  # the pod has gone; the watch will say so

    async def finish(self, spec: PodSpec) -> None:
        """Tell the API that nothing of a pod is left. Raises KubernetesError."""
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": spec.uid}}
        with contextlib.suppress(ObjectNotFound, WriteConflict):  # somebody else was faster
            await self.transport.request(Call("DELETE", PODS.path(spec.namespace, spec.name), body=body))
        self._written.pop(spec.uid, None)


def _revision(document: Object) -> int:
    return int(document["metadata"].get("resourceVersion") or 0)


def host_lines(services: Iterable[Object], pods: Iterable[Object], namespace: str) -> str:
    """Return the lines of /etc/hosts for all Services. Pure.

    A Service with an address has that; a headless one has those of its pods: the ready ones, or all if it wants so.
    """
    lines = []
    every = list(pods)
    for service in sorted(
        services, key=lambda found: (found["metadata"].get("namespace", ""), found["metadata"]["name"])
    ):
        spec, where = service.get("spec") or {}, service["metadata"].get("namespace", "default")
        name = service["metadata"]["name"]
        names = [f"{name}.{where}.svc.cluster.local", f"{name}.{where}.svc", f"{name}.{where}"]
        names += [name] if where == namespace else []
        if spec.get("clusterIP") not in (None, "", "None"):
            lines.append(f"{spec['clusterIP']} {' '.join(names)}")
        elif spec.get("selector"):
            for pod in every:
                address = _endpoint(pod, where, spec)
                if address:
                    lines.append(f"{address} {' '.join(names)}")
                    host = pod["spec"].get("hostname") or pod["metadata"]["name"]
                    lines.append(f"{address} {host}.{names[0]} {host}.{names[1]}")
    return "".join(line + "\n" for line in lines)


def _endpoint(pod: Object, namespace: str, spec: Mapping[str, Any]) -> str:
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels = metadata.get("labels") or {}
    if metadata.get("namespace") != namespace or status.get("phase") in ("Succeeded", "Failed"):
        return ""
    if any(labels.get(key) != value for key, value in spec["selector"].items()):
        return ""
    ready = any(found["type"] == "Ready" and found["status"] == "True" for found in status.get("conditions") or ())
    if not ready and not spec.get("publishNotReadyAddresses"):
        return ""
    return str(status.get("podIP") or "")
