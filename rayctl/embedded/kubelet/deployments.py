"""Keeps the pods of Deployments, where no controller manager does: as many as wanted, of the present template.

Old pods end before new ones are made (``strategy: Recreate``), whatever the Deployment says, and there are no
ReplicaSets between. `plan_deployment` decides, purely; `Deployments` does it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rayctl.embedded.apiserver.schema.formats import now_seconds
from rayctl.embedded.kubelet.host import Host
from rayctl.embedded.kubelet.passes import Passes
from rayctl.kube.calls import MERGE, Call
from rayctl.kube.errors import AlreadyExists, ObjectNotFound, WriteConflict
from rayctl.kube.kinds import DEPLOYMENTS, PODS

__all__ = ["DeploymentPlan", "Deployments", "plan_deployment"]

HASH = "pod-template-hash"
Document = Mapping[str, Any]


@dataclass(frozen=True)
class DeploymentPlan:
    """``create``: pods; ``delete``: pods that are there; ``status``: of the Deployment."""

    create: tuple[dict[str, Any], ...]
    delete: tuple[Document, ...]
    status: dict[str, Any]


def plan_deployment(deployment: Document, pods: Iterable[Document], now: str) -> DeploymentPlan:
    """Return what is to be done. ``pods``: of its namespace; ``now``: in RFC 3339, for conditions that change."""
    metadata, spec = deployment["metadata"], deployment["spec"]
    own = sorted((pod for pod in pods if _owner(pod) == metadata["uid"]), key=lambda pod: str(pod["metadata"]["name"]))
    there = [pod for pod in own if not pod["metadata"].get("deletionTimestamp")]
    wanted = 0 if metadata.get("deletionTimestamp") else int(spec.get("replicas", 1))
    text = json.dumps(spec["template"], sort_keys=True)
    sign = hashlib.sha256(text.encode()).hexdigest()[:10]
    over = [pod for pod in there if _is_over(pod)]
    old = [pod for pod in there if pod not in over and (pod["metadata"].get("labels") or {}).get(HASH) != sign]
    new = [pod for pod in there if pod not in over and pod not in old]
    delete = [*over, *old, *new[wanted:]]
    lacking = 0 if len(own) > len(new) else max(0, wanted - len(new))
    taken = {pod["metadata"]["name"] for pod in own}
    names = (f"{metadata['name']}-{sign}-{index}" for index in range(wanted + len(taken)))
    free = [name for name in names if name not in taken][:lacking]
    ready = sum(_is_ready(pod) for pod in new)
    return DeploymentPlan(
        tuple(_pod(deployment, name, sign) for name in free),
        tuple(delete),
        _status(deployment, len(there), len(new), ready, wanted, now),
    )


def _owner(pod: Document) -> str:
    references = pod["metadata"].get("ownerReferences") or ()
    return next((str(found["uid"]) for found in references if found.get("controller")), "")


def _is_over(pod: Document) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _is_ready(pod: Document) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)


def _pod(deployment: Document, name: str, sign: str) -> dict[str, Any]:
    metadata, template = deployment["metadata"], deployment["spec"]["template"]
    of_template = template.get("metadata") or {}
    owner = {
        "apiVersion": DEPLOYMENTS.api_version,
        "kind": DEPLOYMENTS.kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    own: dict[str, Any] = {"name": name, "namespace": metadata["namespace"], "ownerReferences": [owner]}
    own["labels"] = {**(of_template.get("labels") or {}), HASH: sign}
    if of_template.get("annotations"):
        own["annotations"] = of_template["annotations"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": own, "spec": template["spec"]}


def _status(deployment: Document, there: int, new: int, ready: int, wanted: int, now: str) -> dict[str, Any]:
    before = {found["type"]: found for found in (deployment.get("status") or {}).get("conditions") or ()}
    state = "True" if ready >= wanted else "False"
    condition = {
        "type": "Available",
        "status": state,
        "reason": "MinimumReplicasAvailable" if state == "True" else "MinimumReplicasUnavailable",
    }
    same = before.get("Available", {}).get("status") == state
    condition["lastTransitionTime"] = before["Available"]["lastTransitionTime"] if same else now
    return {
        "observedGeneration": deployment["metadata"].get("generation", 1),
        "replicas": there,
        "updatedReplicas": new,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(0, wanted - ready),
        "conditions": [*(found for kind, found in before.items() if kind != "Available"), condition],
    }


class Deployments(Passes):
    """Args: the node."""

    def __init__(self, host: Host) -> None:
        super().__init__(host, "Deployments")

    async def _pass(self) -> None:
        for deployment in list(self._host.informers.get(DEPLOYMENTS).store):
            await self._keep(deployment)

    async def _keep(self, deployment: Document) -> None:
        metadata = deployment["metadata"]
        namespace = metadata["namespace"]
        pods = [pod for pod in self._host.informers.get(PODS).store if pod["metadata"]["namespace"] == namespace]
        found = plan_deployment(deployment, pods, now_seconds(time.time()))
        request = self._host.transport.request
        for pod in found.delete:
            body = {"preconditions": {"uid": pod["metadata"]["uid"]}}
            with suppress(ObjectNotFound, WriteConflict):
                await request(Call("DELETE", PODS.path(namespace, pod["metadata"]["name"]), body=body))
        for pod in found.create:
            with suppress(AlreadyExists):  # by the pass before, which the cache has not seen yet
                await request(Call("POST", PODS.path(namespace), body=pod))
        before = deployment.get("status") or {}
        if any(before.get(name, 0 if value == 0 else None) != value for name, value in found.status.items()):
            path = DEPLOYMENTS.path(namespace, metadata["name"], "status")
            body = {"metadata": {"uid": metadata["uid"]}, "status": found.status}
            with suppress(ObjectNotFound, WriteConflict):
                await request(Call("PATCH", path, body=body, content_type=MERGE))
