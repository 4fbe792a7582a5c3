"""A fleet of three real Ray clusters rolls to another environment while a client calls; a broken one is rolled back."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import pytest

from tests.benchmarks.fleet_roll import fleet_document, rolling_fleet
from tests.kubelet.node import MODES

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif("netns" not in MODES, reason="needs root and iproute2"),
]
OPTIONS = {"deadline_s": 60, "onFailure": "RollBack"}


async def test_clients_notice_nothing() -> None:
    with tempfile.TemporaryDirectory(prefix="rfr-") as name:
        async with rolling_fleet(Path(name), **OPTIONS) as here:
            begin = time.time()
            await here.apply(fleet_document("two", **OPTIONS))
            most, fewest = here.sizes.since(begin)
            assert most <= 4
            assert fewest >= 3
            await asyncio.sleep(2.0)  # calls that old clusters still answer
            assert here.answers(time.time() - 1.0).keys() == {"two"}
            await here.apply(fleet_document("broken", **OPTIONS), codes=(4,))
            said = await here.rayctl("rollout", "status", "fleet/answer", codes=(4,))
            assert "Rolled back 3/3" in said
            assert here.answers(time.time() - 1.0).keys() == {"two"}
            assert here.sizes.since(begin)[1] >= 3
        assert here.load.failed == []
        assert len(here.load.done) > 1000
