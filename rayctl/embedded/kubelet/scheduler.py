"""Gives pods to the one node as long as they fit, and says of the others why they do not."""

from __future__ import annotations

import time
from typing import Any

from rayctl.embedded.apiserver.schema.formats import now_seconds
from rayctl.embedded.kubelet.claims import hindrance
from rayctl.embedded.kubelet.host import Host
from rayctl.embedded.kubelet.node import node_labels
from rayctl.embedded.kubelet.passes import Passes
from rayctl.embedded.kubelet.scheduling import lacking, used_by
from rayctl.kube.calls import MERGE, Call
from rayctl.kube.errors import ObjectNotFound, WriteConflict
from rayctl.kube.events import Happening
from rayctl.kube.kinds import PERSISTENT_VOLUME_CLAIMS, PODS
from rayctl.kube.store import Change, Object

__all__ = ["Scheduler"]

NAME = "default-scheduler"


class Scheduler(Passes):
    """Args: the node."""

    def __init__(self, host: Host) -> None:
        super().__init__(host, "scheduling")
        self._bound: dict[str, Object] = {}
        self._said: dict[str, str] = {}
        self._labels = node_labels(host.node_name, host.network.mode)

    def take_pod(self, change: Change, _: bool = True) -> None:
        """Take note of a change of a pod."""
        uid = change.object["metadata"]["uid"]
        if change.new is None or (change.new["spec"].get("nodeName")):
            self._bound.pop(uid, None)
            self._said.pop(uid, None)
        self.take(change)

    async def _pass(self) -> None:
        pods = list(self._host.informers.get(PODS).store)
        there = {pod["metadata"]["uid"]: pod for pod in pods if pod["spec"].get("nodeName")}
        waiting = [pod for pod in pods if self._is_waiting(pod)]
        for pod in sorted(waiting, key=_order):
            used = used_by([*there.values(), *self._bound.values()])
            claims = self._host.informers.get(PERSISTENT_VOLUME_CLAIMS).store
            words = hindrance(pod, claims)
            sentence = (
                f"0/1 nodes are available: {words}." if words else lacking(pod, self._host.capacity, used, self._labels)
            )
            if sentence:
                await self._refuse(pod, sentence)
            elif await self._bind(pod):
                self._bound[pod["metadata"]["uid"]] = pod

    def _is_waiting(self, pod: Object) -> bool:
        spec, metadata = pod["spec"], pod["metadata"]
        mine = spec.get("schedulerName", NAME) == NAME and not spec.get("nodeName") and not spec.get("schedulingGates")
        return mine and metadata["uid"] not in self._bound and not metadata.get("deletionTimestamp")

    async def _bind(self, pod: Object) -> bool:
        metadata = pod["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self._host.node_name},
        }
        path = PODS.path(metadata["namespace"], metadata["name"], "binding")
        try:
            await self._host.transport.request(Call("POST", path, body=body))
        except (ObjectNotFound, WriteConflict):
            return False
        text = f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {self._host.node_name}"
        self._tell(pod, "Normal", "Scheduled", text)
        return True

    async def _refuse(self, pod: Object, sentence: str) -> None:
        metadata = pod["metadata"]
        if self._said.get(metadata["uid"]) == sentence:
            return
        old = [found for found in (pod.get("status") or {}).get("conditions") or () if found["type"] != "PodScheduled"]
        condition: dict[str, Any] = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": sentence,
            "lastTransitionTime": now_seconds(time.time()),
        }
        body = {"metadata": {"uid": metadata["uid"]}, "status": {"conditions": [*old, condition]}}
        path = PODS.path(metadata["namespace"], metadata["name"], "status")
        try:
            await self._host.transport.request(Call("PATCH", path, body=body, content_type=MERGE))
        except (ObjectNotFound, WriteConflict):
            return
        self._said[metadata["uid"]] = sentence
        self._tell(pod, "Warning", "FailedScheduling", sentence)

    def _tell(self, pod: Object, kind: str, reason: str, message: str) -> None:
        metadata = pod["metadata"]
        self._host.events.add(
            Happening("v1", "Pod", metadata["namespace"], metadata["name"], metadata["uid"], kind, reason, message)
        )


def _order(pod: Object) -> tuple[int, str, str]:
    metadata = pod["metadata"]
    return -int(pod["spec"].get("priority") or 0), metadata.get("creationTimestamp", ""), metadata["name"]
