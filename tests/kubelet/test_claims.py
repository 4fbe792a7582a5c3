"""A claim's folder outlives its pods and the kubelet, and goes with the claim, but not before the last pod."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from rayctl.kube.calls import Call
from rayctl.kube.kinds import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from tests.kubelet.node import MODES, condition, is_ready, node, until_true

pytestmark = pytest.mark.timeout(120)

USES = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "kept"}}]}
MOUNT = {"volumeMounts": [{"name": "data", "mountPath": "/data/kept", "subPath": "below"}]}
ONE_MORE = "echo $(( $(cat /data/kept/n 2>/dev/null || echo 0) + 1 )) > /data/kept/n"
COUNT = f"{ONE_MORE}; echo run $(cat /data/kept/n); sleep 1000"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.anyio
async def test_a_claim_outlives_its_pods(tmp_path: Path, mode: str) -> None:
    async with node(tmp_path, mode) as here:
        waiting = await here.pod("first", COUNT, container=MOUNT, spec=USES)
        pending = await here.until("first", lambda pod: condition(pod, "PodScheduled").get("message"))
        assert 'persistentvolumeclaim "kept" not found' in condition(pending, "PodScheduled")["message"]
        asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        claim = await here.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "kept"}, "spec": asked})
        await here.until("first", is_ready)
        await here.until_log("first", "run 1\n")
        bound = await here.get("kept", PERSISTENT_VOLUME_CLAIMS)
        assert bound is not None
        assert (bound["status"]["phase"], bound["status"]["capacity"]) == ("Bound", {"storage": "1Gi"})
        assert (await here.get("first") or {})["metadata"]["uid"] == waiting["metadata"]["uid"]

        here.stop(signal.SIGKILL)
        here.start()
        await here.delete("first")
        await here.pod("second", COUNT, container=MOUNT, spec=USES)
        await here.until("second", is_ready)
        await here.until_log("second", "run 2\n")

        await here.transport.request(Call("DELETE", PERSISTENT_VOLUME_CLAIMS.path("default", "kept")))
        folder = here.folder / "claims" / claim["metadata"]["uid"]
        going = await here.get("kept", PERSISTENT_VOLUME_CLAIMS)
        assert going is not None, "a claim in use stays"
        assert (folder / "below" / "n").read_text() == "2\n"
        await here.delete("second")
        await here.until_gone("kept", resource=PERSISTENT_VOLUME_CLAIMS)
        await until_true(lambda: not folder.exists())
        volumes = await here.transport.request(Call.get(PERSISTENT_VOLUMES.path()))
        assert volumes["items"] == []
