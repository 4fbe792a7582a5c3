"""What a killed kubelet of another folder left on the bridge does not get into the way of the next one's pods."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from rayctl.embedded.kubelet.main import claim
from rayctl.embedded.kubelet.network.namespaces import NamespaceNetwork
from rayctl.embedded.kubelet.network.plan import SLOTS
from tests.kubelet.node import MODES

pytestmark = pytest.mark.skipif("netns" not in MODES, reason="needs root and iproute2")


def test_namespaces_of_another_folder(tmp_path: Path) -> None:
    slot, held = next((slot, held) for slot in reversed(range(SLOTS)) if (held := claim(slot)) is not None)
    before, after = (NamespaceNetwork(slot, tmp_path / name) for name in ("before", "after"))
    run = asyncio.run
    run(before.prepare())
    for uid in ("used", "empty"):
        run(before.attach(uid, ()))
    used, empty = (str(before.namespace(uid)) for uid in ("used", "empty"))
    command = ["ip", "netns", "exec", Path(used).name, "sleep", "1000"]
    process = subprocess.Popen(command)
    try:
        while not subprocess.run(["ip", "netns", "pids", Path(used).name], capture_output=True).stdout:
            assert process.poll() is None
        run(after.prepare())
        assert (os.path.exists(used), os.path.exists(empty)) == (True, False)
        mine = [run(after.attach(uid, ())).ip for uid in ("a", "b")]
        assert len({*mine, before.known("used").ip}) == 3  # type: ignore[union-attr]
    finally:
        process.kill()
        process.wait()
        for uid in ("a", "b"):
            run(after.detach(uid))
        run(before.detach("used"))
        run(after.close())
        held.close()
    assert not [name for name in os.listdir("/run/netns") if name.startswith(f"rayctl{slot}-")]
