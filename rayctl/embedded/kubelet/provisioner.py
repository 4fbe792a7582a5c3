"""Gives claims of volumes their folders, and removes these with them; what to do is decided in `claims`."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import Any

from rayctl.embedded.kubelet.claims import (
    PROTECTED,
    ClaimStep,
    bound_status,
    plan_claims,
    volume_document,
    volume_name,
)
from rayctl.embedded.kubelet.host import Host
from rayctl.embedded.kubelet.passes import Passes
from rayctl.kube.calls import MERGE, Call
from rayctl.kube.errors import AlreadyExists, ObjectNotFound, WriteConflict
from rayctl.kube.events import Happening
from rayctl.kube.kinds import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS

__all__ = ["Provisioner"]


class Provisioner(Passes):
    """Args: the node, whose ``claims`` is the folder of the claims' folders."""

    def __init__(self, host: Host) -> None:
        super().__init__(host, "claims of volumes")
        self._said: dict[str, str] = {}

    async def _pass(self) -> None:
        for step in self._plan():
            await self._act(step)

    def _plan(self) -> list[ClaimStep]:
        kinds = (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS)
        claims, volumes, pods = (self._host.informers.get(kind).store for kind in kinds)
        folders = [found.name for found in self._host.claims.iterdir()] if self._host.claims.is_dir() else []
        return plan_claims(claims, volumes, pods, folders)

    async def _act(self, step: ClaimStep) -> None:
        if step.do == "refuse":
            if self._said.get(step.uid) != step.why:
                self._said[step.uid] = step.why
                self._tell(step, "Warning", "ProvisioningFailed", step.why)
            return
        self._said.pop(step.uid, None)
        with contextlib.suppress(ObjectNotFound, WriteConflict):  # the claim has gone; the watch will say so
            if step.do == "bind":
                await self._bind(step)
                return
            await self._remove(step.uid)
            if step.do == "release":
                await self._let_go(step)

    async def _bind(self, step: ClaimStep) -> None:
        claim = step.claim
        assert claim is not None
        folder = self._host.claims / step.uid
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        volume = volume_document(claim, folder, self._host.node_name)
        with contextlib.suppress(AlreadyExists):  # by the pass that did not come further
            await self._host.transport.request(Call("POST", PERSISTENT_VOLUMES.path(), body=volume))
        metadata = claim["metadata"]
        finalizers = list(metadata.get("finalizers") or ())
        changes: dict[str, Any] = {
            "metadata": {
                "uid": step.uid,
                "resourceVersion": metadata["resourceVersion"],
                "finalizers": finalizers if PROTECTED in finalizers else [*finalizers, PROTECTED],
            },
            "spec": {
                "volumeName": volume_name(step.uid),
                "storageClassName": volume["spec"]["storageClassName"],
            },
        }
        path = PERSISTENT_VOLUME_CLAIMS.path(metadata["namespace"], metadata["name"])
        await self._host.transport.request(Call("PATCH", path, body=changes, content_type=MERGE))
        status = {"metadata": {"uid": step.uid}, "status": bound_status(claim)}
        await self._host.transport.request(Call("PATCH", f"{path}/status", body=status, content_type=MERGE))
        path = PERSISTENT_VOLUMES.path("", volume_name(step.uid), "status")
        body = {"status": {"phase": "Bound"}}
        await self._host.transport.request(Call("PATCH", path, body=body, content_type=MERGE))
        self._tell(
            step, "Normal", "ProvisioningSucceeded", f"the volume {volume_name(step.uid)} is a folder of the node"
        )

    async def _remove(self, uid: str) -> None:
        folder = self._host.claims / uid
        if folder.exists():
            await asyncio.to_thread(shutil.rmtree, folder)
        with contextlib.suppress(ObjectNotFound):
            await self._host.transport.request(Call("DELETE", PERSISTENT_VOLUMES.path("", volume_name(uid))))

    async def _let_go(self, step: ClaimStep) -> None:
        assert step.claim is not None
        metadata = step.claim["metadata"]
        left = [found for found in metadata.get("finalizers") or () if found != PROTECTED]
        own = {"uid": step.uid, "resourceVersion": metadata["resourceVersion"], "finalizers": left}
        path = PERSISTENT_VOLUME_CLAIMS.path(metadata["namespace"], metadata["name"])
        await self._host.transport.request(Call("PATCH", path, body={"metadata": own}, content_type=MERGE))

    def _tell(self, step: ClaimStep, kind: str, reason: str, message: str) -> None:
        assert step.claim is not None
        metadata = step.claim["metadata"]
        self._host.events.add(
            Happening(
                "v1", "PersistentVolumeClaim", metadata["namespace"], metadata["name"], step.uid, kind, reason, message
            )
        )
